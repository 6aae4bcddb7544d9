"""Labels of the values in an exported graph, and what every rule needs to read and set them."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
from torch import fx

from lissom.nn.labels import Classes, Label, Labels

FIXED = "it has a fixed size where {} combines it with another"


class Values:
    """The labels found so far.

    Attributes:
        classes: what must be removed together.
        made: axes of weights that make channels: (tensor, axis).
        used: axes of weights that read channels.
    """

    def __init__(self, tensors: dict[fx.Node, tuple[str, torch.Tensor]]) -> None:
        self.classes = Classes()
        self.made: dict[tuple[str, int], None] = {}
        self.used: dict[tuple[str, int], None] = {}
        self._tensors = tensors
        self._labels: dict[fx.Node, Labels] = {}
        self._parts: dict[fx.Node, list[Labels]] = {}
        self._of_name: dict[str, Labels] = {}

    def _placeholder(self, node: fx.Node) -> Labels:
        if node not in self._tensors:
            return unlabelled(node)
        name, tensor = self._tensors[node]
        if name not in self._of_name:
            # Tied weights come under one name, so both uses share their classes.
            self._of_name[name] = [
                self.classes.fresh(size, name, axis) for axis, size in enumerate(tensor.shape)
            ]
        return self._of_name[name]

    def _of(self, node: Any) -> Labels:
        return self._labels[node]

    def _bind(self, values: Label | None, weights: Label | None, why: str) -> None:
        """Values that meet a weight's axis belong to it; values of fixed size hold it."""
        if values is not None and weights is not None:
            self.classes.unite(values, weights)
        else:
            for label in (values, weights):
                if label is not None:
                    self.classes.hold(label, why)


def operator_name(node: fx.Node) -> str:
    """The operator's name without its overload and in-place mark; "" for other calls."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return node.target._schema.name.split("::")[1].rstrip("_")


def argument(node: fx.Node, name: str, place: int, default: Any) -> Any:
    """An argument by its place or its name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def setting(node: fx.Node, *names: str) -> Any:
    """An argument by the name its operator gives it, or what the operator takes by default."""
    assert isinstance(node.target, torch._ops.OpOverload)
    for place, each in enumerate(node.target._schema.arguments):
        if each.name in names:
            return argument(node, each.name, place, each.default_value)
    return None


def integer(node: fx.Node, place: int, default: int = 0) -> int:
    """An integer argument by its place."""
    return operator.index(cast(int, argument(node, "", place, default)))


def tensors_only(node: fx.Node) -> bool:
    """Whether all values that enter are tensors, not lists of them."""
    return all(isinstance(each.meta.get("val"), torch.Tensor) for each in node.all_input_nodes)


def shape_of(node: Any) -> tuple[int, ...]:
    """A value's shape; that of the first of several."""
    value = node.meta["val"]
    first = value[0] if isinstance(value, (tuple, list)) else value
    return tuple(int(size) for size in first.shape)


def unlabelled(node: fx.Node) -> Labels:
    """Labels that follow nothing."""
    value = node.meta.get("val")
    return [None] * (value.dim() if isinstance(value, torch.Tensor) else 0)


def where(node: fx.Node) -> str:
    """The operator and the module whose forward calls it, as a reader of the code knows them."""
    inside = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return f"{operator_name(node) or node.name} in {inside[-1] if inside else 'the forward'}"
