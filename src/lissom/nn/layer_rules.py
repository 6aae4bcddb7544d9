"""How channels pass through layers: what reads them, what makes them, what is tied to them."""

from __future__ import annotations

import numpy as np
from torch import fx

from lissom.nn.labels import Label, Labels
from lissom.nn.values import FIXED, Values, argument, integer, shape_of, unlabelled, where


class LayerRules(Values):
    """One method per operator, named after it."""

    def _aten_linear(self, node: fx.Node) -> Labels:
        values, weight = self._of(node.args[0]), self._of(node.args[1])
        self._layer(node, 0, 1)
        self._bind(values[-1], weight[1], "it reads the network's input")
        return [*values[:-1], self._biased(node, weight[0])]

    def _conv(self, node: fx.Node) -> Labels | None:
        groups = argument(node, "groups", 6, 1)
        values, weight = self._of(node.args[0]), self._of(node.args[1])
        channel = len(values) - len(weight) + 1
        entering, inner, out = values[channel], weight[1], weight[0]
        if inner is None or out is None:
            return None  # the weight is computed: weight norm and the like
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
        if argument(node, "groups", 6, 1) != 1:
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
            self._bind(out, self._of(bias)[0], FIXED.format(where(node)))
        return out

    def _aten_embedding(self, node: fx.Node) -> Labels:
        rows, columns = self._of(node.args[0])
        assert rows is not None
        self.classes.hold(rows, "it is a vocabulary")
        if node.args[0] in self._tensors:
            self.made[self._tensors[node.args[0]][0], 1] = None  # type: ignore[index]
        return [*unlabelled(node)[:-1], columns]

    def _aten_batch_norm(self, node: fx.Node) -> Labels:
        labels = self._of(node.args[0])
        for each in node.all_input_nodes[1:]:
            self._bind(labels[1], self._of(each)[0], FIXED.format(where(node)))
        return labels

    _aten_instance_norm = _aten_batch_norm

    def _aten_layer_norm(self, node: fx.Node) -> Labels | None:
        labels = self._of(node.args[0])
        if len(node.args[1]) != 1:  # type: ignore[arg-type]
            return None
        for each in node.all_input_nodes[1:]:
            self._bind(labels[-1], self._of(each)[0], FIXED.format(where(node)))
        return labels

    _aten_rms_norm = _aten_layer_norm

    def _aten_group_norm(self, node: fx.Node) -> Labels:
        labels, groups = self._of(node.args[0]), integer(node, 1)
        for each in node.all_input_nodes[1:]:
            self._bind(labels[1], self._of(each)[0], FIXED.format(where(node)))
        if labels[1] is not None and groups > 1:
            parts = labels[1].reshape(groups, -1)
            self.classes.unite(np.tile(parts[0], groups), labels[1])
        return labels

    def _aten_matmul(self, node: fx.Node) -> Labels | None:
        a, b = self._of(node.args[0]), self._of(node.args[1])
        if len(a) < 2 or len(b) < 2:
            return None
        self.classes.hold_all([a[:-2], b[:-2]], f"{where(node)} runs over it")
        self._bind(a[-1], b[-2], FIXED.format(where(node)))
        return [*[None] * (len(shape_of(node)) - 2), a[-2], b[-1]]

    _aten_bmm = _aten_mm = _aten_matmul
