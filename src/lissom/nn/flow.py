"""How channels pass through each ATen operator of an exported graph.

A rule takes the labels of an operator's inputs to those of its output and unites what must be
removed together. An operator without a rule holds everything that enters it: what lissom cannot
follow it does not prune.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from lissom.nn.labels import Classes, Label, Labels, reshaped

# Element-wise in one tensor, or blind to the channel axis; in-place forms are found without "_".
POINTWISE = frozenset(
    [
        "relu",
        "relu6",
        "hardtanh",
        "gelu",
        "silu",
        "sigmoid",
        "tanh",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "mish",
        "softplus",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "clone",
        "contiguous",
        "to",
        "_to_copy",
        "alias",
        "detach",
        "neg",
        "abs",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "square",
        "erf",
        "sin",
        "cos",
        "clamp",
        "clamp_min",
        "clamp_max",
        "reciprocal",
        "sign",
        "round",
        "lift_fresh_copy",
        "type_as",
        "zeros_like",
        "ones_like",
        "logical_not",
    ]
)
COMBINING = frozenset(
    [
        "add",
        "sub",
        "rsub",
        "mul",
        "div",
        "pow",
        "maximum",
        "minimum",
        "where",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "masked_fill",
        "lerp",
        "addcmul",
        "addcdiv",
        "logical_and",
        "logical_or",
    ]
)
# Windows over the trailing axes, whose sizes they change.
SPATIAL = frozenset(
    [
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool2d",
        "max_pool2d_with_indices",
        "upsample_nearest2d",
        "upsample_bilinear2d",
        "upsample_nearest1d",
        "upsample_linear1d",
        "upsample_bicubic2d",
    ]
)
RESHAPES = frozenset(
    ["view", "reshape", "flatten", "unflatten", "_unsafe_view", "squeeze", "unsqueeze"]
)
REDUCING = frozenset(
    [
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "var",
        "std",
        "prod",
        "any",
        "all",
        "argmax",
        "argmin",
    ]
)
ALONG = frozenset(
    ["softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "flip", "roll", "sort", "topk"]
)
FIXED = "it has a fixed size where {} combines it with another"


class Flow:
    """Walks a graph once and labels every value.

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

    def walk(self, graph: fx.Graph) -> None:
        """Label every value of the graph, from its inputs to its outputs."""
        for node in graph.nodes:
            if node.op == "placeholder":
                self._labels[node] = self._placeholder(node)
            elif node.op == "output":
                entering = [self._labels[each] for each in node.all_input_nodes]
                self.classes.hold_all(entering, "it is an output of the network")
            else:
                self._labels[node] = self._call(node)

    def _placeholder(self, node: fx.Node) -> Labels:
        if node not in self._tensors:
            return _none(node)
        name, tensor = self._tensors[node]
        if name not in self._of_name:
            # Tied weights come under one name, so both uses share their classes.
            self._of_name[name] = [
                self.classes.fresh(size, name, axis) for axis, size in enumerate(tensor.shape)
            ]
        return self._of_name[name]

    def _call(self, node: fx.Node) -> Labels:
        if node.target is operator.getitem:
            source, place = node.args
            parts = self._parts.get(source)  # type: ignore[arg-type]
            return parts[place] if parts is not None else _none(node)  # type: ignore[index]
        rule = self._rule(_name(node))
        labels = rule(node) if rule is not None and _tensors_only(node) else None
        if labels is None:
            entering = [self._labels[each] for each in node.all_input_nodes]
            self.classes.hold_all(entering, f"lissom cannot follow it through {_where(node)}")
            return _none(node)
        return labels

    def _rule(self, name: str) -> Callable[[fx.Node], Labels | None] | None:
        if name in POINTWISE:
            return self._pointwise
        if name in COMBINING:
            return self._combined
        if name in SPATIAL:
            return self._spatial
        if name in RESHAPES:
            return self._reshaped
        if name in REDUCING:
            return self._reduced
        if name in ALONG:
            return self._along
        found: Callable[[fx.Node], Labels | None] | None = getattr(self, f"_aten_{name}", None)
        return found

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

    # Rules: one value in, one out.

    def _pointwise(self, node: fx.Node) -> Labels:
        return list(self._of(node.args[0]))

    def _spatial(self, node: fx.Node) -> Labels:
        labels, trailing = self._of(node.args[0]), node.meta["val"].dim() - 2
        self.classes.hold_all([labels[-trailing:]], f"{_where(node)} pools along it")
        return [*labels[:-trailing], *[None] * trailing]

    def _reshaped(self, node: fx.Node) -> Labels:
        before, after = _shape(node.args[0]), _shape(node)
        labels, lost = reshaped(self._of(node.args[0]), before, after)
        self.classes.hold_all([lost], f"{_where(node)} splits it into parts of fixed size")
        return labels

    def _reduced(self, node: fx.Node) -> Labels | None:
        labels = self._of(node.args[0])
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if isinstance(axes, int):
            axes = [axes]
        if axes is None or not isinstance(axes, Sequence) or len(node.meta["val"].shape) == 0:
            return None
        dropped = {int(axis) % len(labels) for axis in axes}  # type: ignore[call-overload]
        self.classes.hold_all(
            [[labels[axis] for axis in dropped]], f"{_where(node)} reduces along it"
        )
        if len(_shape(node)) == len(labels):
            return [None if axis in dropped else label for axis, label in enumerate(labels)]
        return [label for axis, label in enumerate(labels) if axis not in dropped]

    def _along(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        axis = node.args[1] if len(node.args) > 1 else -1
        for each in axis if isinstance(axis, (list, tuple)) else [axis]:
            self.classes.hold_all([[labels[each]]], f"{_where(node)} runs along it")  # type: ignore[index]
        return labels

    # Rules: several values.

    def _combined(self, node: fx.Node) -> Labels:
        shape, entering = _shape(node), node.all_input_nodes
        result: Labels = []
        for axis in range(-len(shape), 0):
            joined: Label | None = None
            fixed = False
            for each in entering:
                sizes, labels = _shape(each), self._of(each)
                if -axis > len(sizes):
                    continue
                label = labels[axis]
                if sizes[axis] != shape[axis]:
                    if label is not None:
                        self.classes.hold(label, f"{_where(node)} repeats it")
                elif label is None:
                    fixed = True
                elif joined is None:
                    joined = label
                else:
                    self.classes.unite(joined, label)
            if joined is not None and fixed:
                self.classes.hold(joined, FIXED.format(_where(node)))
            result.append(joined)
        return result

    def _aten_prelu(self, node: fx.Node) -> Labels:
        labels, (slope,) = self._of(node.args[0]), self._of(node.args[1])
        if slope is not None and len(slope) > 1:
            self._bind(labels[1], slope, FIXED.format(_where(node)))
        return labels

    def _aten_cat(self, node: fx.Node) -> Labels:
        entering = list(node.args[0])  # type: ignore[arg-type]
        axis = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
        axis %= len(_shape(node))
        result: Labels = []
        for position in range(len(_shape(node))):
            labels = [self._of(each)[position] for each in entering]
            known = [label for label in labels if label is not None]
            if position != axis:
                for label in known[1:]:
                    self.classes.unite(known[0], label)
                if known and len(known) < len(labels):
                    self.classes.hold(known[0], FIXED.format(_where(node)))
                result.append(known[0] if known else None)
            elif known:
                parts = [
                    self._constant(_shape(each)[axis], node) if label is None else label
                    for each, label in zip(entering, labels, strict=True)
                ]
                result.append(np.concatenate(parts))
            else:
                result.append(None)
        return result

    def _constant(self, count: int, node: fx.Node) -> Label:
        """Positions that the code makes in a fixed number."""
        label = self.classes.fresh(count)
        self.classes.hold(label, f"{_where(node)} adds a fixed number of channels beside it")
        return label

    def _aten_pad(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        amounts = list(node.args[1])  # type: ignore[arg-type]
        for place in range(0, len(amounts), 2):
            axis, (before, after) = len(labels) - 1 - place // 2, amounts[place : place + 2]
            label = labels[axis]
            if label is None or (before == 0 and after == 0):
                continue
            if before < 0 or after < 0 or (len(node.args) > 2 and node.args[2] != "constant"):
                self.classes.hold(label, f"{_where(node)} cuts or mirrors it")
                labels[axis] = None
                continue
            ends = self._constant(before, node), self._constant(after, node)
            labels[axis] = np.concatenate([ends[0], label, ends[1]])
        return labels

    _aten_constant_pad_nd = _aten_pad

    def _aten_chunk(self, node: fx.Node) -> Labels:
        labels, count = self._of(node.args[0]), int(node.args[1])  # type: ignore[call-overload]
        axis = int(node.args[2]) if len(node.args) > 2 else 0  # type: ignore[call-overload]
        label = labels[axis]
        pieces: list[Label | None] = [None] * count
        if label is not None:
            if len(label) % count:
                self.classes.hold(label, f"{_where(node)} cuts it unevenly")
            else:
                # The code cuts what is left into equal parts, so the parts lose the same.
                pieces = list(label.reshape(count, -1))
                for piece in pieces[1:]:
                    assert pieces[0] is not None and piece is not None
                    self.classes.unite(pieces[0], piece)
        self._parts[node] = [
            [piece if each is label and label is not None else each for each in labels]
            for piece in pieces
        ]
        return []

    def _aten_slice(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        axis = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[call-overload]
        if _shape(node) != _shape(node.args[0]) and labels[axis] is not None:
            self.classes.hold_all([[labels[axis]]], f"{_where(node)} takes fixed positions of it")
            labels[axis] = None
        return labels

    def _aten_select(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        gone = labels.pop(int(node.args[1]))  # type: ignore[call-overload]
        self.classes.hold_all([[gone]], f"{_where(node)} takes a fixed position of it")
        return labels

    def _aten_permute(self, node: fx.Node) -> Labels:
        labels = self._of(node.args[0])
        return [labels[axis] for axis in node.args[1]]  # type: ignore[index,union-attr]

    def _aten_transpose(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        a, b = node.args[1:3]
        labels[a], labels[b] = labels[b], labels[a]  # type: ignore[index]
        return labels

    def _aten_t(self, node: fx.Node) -> Labels:
        return list(reversed(self._of(node.args[0])))

    def _aten_expand(self, node: fx.Node) -> Labels:
        labels, before, after = self._of(node.args[0]), _shape(node.args[0]), _shape(node)
        result: Labels = [None] * (len(after) - len(before))
        for axis, label in enumerate(labels):
            repeated = before[axis] != after[axis - len(before)]
            if label is not None and repeated:
                self.classes.hold(label, f"{_where(node)} repeats it")
            result.append(None if repeated else label)
        return result

    def _aten_expand_as(self, node: fx.Node) -> Labels:
        return self._combined(node)

    # Rules: layers.

    def _aten_linear(self, node: fx.Node) -> Labels:
        values, weight = self._of(node.args[0]), self._of(node.args[1])
        self._layer(node, 0, 1)
        self._bind(values[-1], weight[1], "it reads the network's input")
        return [*values[:-1], self._biased(node, weight[0])]

    def _conv(self, node: fx.Node) -> Labels | None:
        groups = _argument(node, "groups", 6, 1)
        values, weight = self._of(node.args[0]), self._of(node.args[1])
        channel = len(values) - len(weight) + 1
        entering, inner, out = values[channel], weight[1], weight[0]
        assert inner is not None and out is not None
        self._layer(node, 0, 1)
        if groups == 1:
            self._bind(entering, inner, "it reads the network's input")
        elif entering is None:
            self.classes.hold(np.concatenate([inner, out]), "it reads the network's input")
        elif len(inner) == 1:
            # Depthwise: a channel goes with the filters that read it.
            self.classes.unite(np.repeat(entering, len(out) // groups), out)
            self.classes.hold(inner, "one channel per group")
        else:
            # Every group must keep the same number, so they lose the same positions.
            self.classes.unite(entering, np.tile(inner, groups))
            self.classes.unite(np.tile(out[: len(out) // groups], groups), out)
        return [*values[:channel], self._biased(node, out), *[None] * (len(weight) - 2)]

    _aten_conv1d = _aten_conv2d = _aten_conv3d = _conv

    def _transposed_conv(self, node: fx.Node) -> Labels | None:
        if _argument(node, "groups", 6, 1) != 1:
            return None
        values, weight = self._of(node.args[0]), self._of(node.args[1])
        self._layer(node, 1, 0)
        self._bind(values[1], weight[0], "it reads the network's input")
        return [values[0], self._biased(node, weight[1]), *[None] * (len(weight) - 2)]

    _aten_conv_transpose1d = _aten_conv_transpose2d = _transposed_conv

    def _layer(self, node: fx.Node, made: int, used: int) -> None:
        weight = node.args[1]
        if weight in self._tensors:
            name = self._tensors[weight][0]  # type: ignore[index]
            self.made[name, made] = None
            self.used[name, used] = None

    def _biased(self, node: fx.Node, out: Label | None) -> Label | None:
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        if bias is not None:
            self._bind(out, self._of(bias)[0], FIXED.format(_where(node)))
        return out

    def _aten_embedding(self, node: fx.Node) -> Labels:
        rows, columns = self._of(node.args[0])
        assert rows is not None
        self.classes.hold(rows, "it is a vocabulary")
        if node.args[0] in self._tensors:
            self.made[self._tensors[node.args[0]][0], 1] = None  # type: ignore[index]
        return [*_none(node)[:-1], columns]

    def _aten_batch_norm(self, node: fx.Node) -> Labels:
        labels = self._of(node.args[0])
        for each in node.all_input_nodes[1:]:
            self._bind(labels[1], self._of(each)[0], FIXED.format(_where(node)))
        return labels

    _aten_instance_norm = _aten_batch_norm

    def _aten_layer_norm(self, node: fx.Node) -> Labels | None:
        labels = self._of(node.args[0])
        if len(node.args[1]) != 1:  # type: ignore[arg-type]
            return None
        for each in node.all_input_nodes[1:]:
            self._bind(labels[-1], self._of(each)[0], FIXED.format(_where(node)))
        return labels

    _aten_rms_norm = _aten_layer_norm

    def _aten_group_norm(self, node: fx.Node) -> Labels:
        labels, groups = self._of(node.args[0]), int(node.args[1])  # type: ignore[call-overload]
        for each in node.all_input_nodes[1:]:
            self._bind(labels[1], self._of(each)[0], FIXED.format(_where(node)))
        if labels[1] is not None and groups > 1:
            parts = labels[1].reshape(groups, -1)
            self.classes.unite(np.tile(parts[0], groups), labels[1])
        return labels

    def _aten_matmul(self, node: fx.Node) -> Labels | None:
        a, b = self._of(node.args[0]), self._of(node.args[1])
        if len(a) < 2 or len(b) < 2:
            return None
        self.classes.hold_all([a[:-2], b[:-2]], f"{_where(node)} runs over it")
        self._bind(a[-1], b[-2], FIXED.format(_where(node)))
        return [*[None] * (len(_shape(node)) - 2), a[-2], b[-1]]

    _aten_bmm = _aten_mm = _aten_matmul


def _name(node: fx.Node) -> str:
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return node.target._schema.name.split("::")[1].rstrip("_")


def _argument(node: fx.Node, name: str, place: int, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _tensors_only(node: fx.Node) -> bool:
    return all(isinstance(each.meta.get("val"), torch.Tensor) for each in node.all_input_nodes)


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


def _none(node: fx.Node) -> Labels:
    value = node.meta.get("val")
    return [None] * (value.dim() if isinstance(value, torch.Tensor) else 0)


def _where(node: fx.Node) -> str:
    """The operator and the module whose forward calls it, as a reader of the code knows them."""
    inside = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return f"{_name(node) or node.name} in {inside[-1] if inside else 'the forward'}"
