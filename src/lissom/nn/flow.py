"""How channels pass through each ATen operator of an exported graph.

A rule takes the labels of an operator's inputs to those of its output and unites what must be
removed together. An operator without a rule holds everything that enters it: what lissom cannot
follow it does not prune.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from torch import fx

from lissom.nn.labels import Labels
from lissom.nn.layer_rules import LayerRules
from lissom.nn.shape_rules import ShapeRules
from lissom.nn.values import operator_name, tensors_only, unlabelled, where

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


class Flow(ShapeRules, LayerRules):
    """Walks a graph once and labels every value."""

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

    def _call(self, node: fx.Node) -> Labels:
        if node.target is operator.getitem:
            source, place = node.args
            parts = self._parts.get(source)  # type: ignore[arg-type]
            return parts[place] if parts is not None else unlabelled(node)  # type: ignore[index]
        rule = self._rule(operator_name(node))
        labels = rule(node) if rule is not None and tensors_only(node) else None
        if labels is None:
            entering = [self._labels[each] for each in node.all_input_nodes]
            self.classes.hold_all(entering, f"lissom cannot follow it through {where(node)}")
            return unlabelled(node)
        values = node.meta.get("val")
        if isinstance(values, (tuple, list)) and node not in self._parts:
            # Values and indices, of one shape.
            self._parts[node] = [labels for _ in values]
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
