"""How channels pass through operators without weights: arithmetic, pooling, reshaping, joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import fx

from lissom.nn.labels import Label, Labels, reshaped
from lissom.nn.values import FIXED, Values, integer, setting, shape_of, where


class ShapeRules(Values):
    """One method per operator, named after it, or per kind of operator."""

    def _pointwise(self, node: fx.Node) -> Labels:
        return list(self._of(node.args[0]))

    def _spatial(self, node: fx.Node) -> Labels:
        labels, trailing = self._of(node.args[0]), len(shape_of(node)) - 2
        self.classes.hold_all([labels[-trailing:]], f"{where(node)} pools along it")
        return [*labels[:-trailing], *[None] * trailing]

    def _reshaped(self, node: fx.Node) -> Labels:
        before, after = shape_of(node.args[0]), shape_of(node)
        labels, lost = reshaped(self._of(node.args[0]), before, after)
        self.classes.hold_all([lost], f"{where(node)} splits it into parts of fixed size")
        return labels

    def _reduced(self, node: fx.Node) -> Labels | None:
        labels = self._of(node.args[0])
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if isinstance(axes, int):
            axes = [axes]
        if axes is None or not isinstance(axes, Sequence) or not shape_of(node):
            return None
        dropped = {cast(int, axis) % len(labels) for axis in axes}
        self.classes.hold_all(
            [[labels[axis] for axis in dropped]], f"{where(node)} reduces along it"
        )
        if len(shape_of(node)) == len(labels):
            return [None if axis in dropped else label for axis, label in enumerate(labels)]
        return [label for axis, label in enumerate(labels) if axis not in dropped]

    def _along(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        axes = setting(node, "dim", "dims")
        # Without axes, roll runs over the flattened tensor.
        for axis in [axes] if isinstance(axes, int) else (axes or range(len(labels))):
            self.classes.hold_all([[labels[axis]]], f"{where(node)} runs along it")
            if shape_of(node)[axis] != shape_of(node.args[0])[axis]:
                labels[axis] = None
        return labels

    # Rules: several values.

    def _combined(self, node: fx.Node) -> Labels:
        shape, entering = shape_of(node), node.all_input_nodes
        result: Labels = []
        for axis in range(-len(shape), 0):
            joined: Label | None = None
            fixed = False
            for each in entering:
                sizes, labels = shape_of(each), self._of(each)
                if -axis > len(sizes):
                    continue
                label = labels[axis]
                if sizes[axis] != shape[axis]:
                    if label is not None:
                        self.classes.hold(label, f"{where(node)} repeats it")
                elif label is None:
                    fixed = True
                elif joined is None:
                    joined = label
                else:
                    self.classes.unite(joined, label)
            if joined is not None and fixed:
                self.classes.hold(joined, FIXED.format(where(node)))
            result.append(joined)
        return result

    def _aten_prelu(self, node: fx.Node) -> Labels:
        labels, (slope,) = self._of(node.args[0]), self._of(node.args[1])
        if slope is not None and len(slope) > 1:
            self._bind(labels[1], slope, FIXED.format(where(node)))
        return labels

    def _aten_cat(self, node: fx.Node) -> Labels:
        entering = list(node.args[0])  # type: ignore[arg-type]
        axis = integer(node, 1, 0)
        axis %= len(shape_of(node))
        result: Labels = []
        for position in range(len(shape_of(node))):
            labels = [self._of(each)[position] for each in entering]
            known = [label for label in labels if label is not None]
            if position != axis:
                for label in known[1:]:
                    self.classes.unite(known[0], label)
                if known and len(known) < len(labels):
                    self.classes.hold(known[0], FIXED.format(where(node)))
                result.append(known[0] if known else None)
            elif known:
                parts = [
                    self._constant(shape_of(each)[axis], node) if label is None else label
                    for each, label in zip(entering, labels, strict=True)
                ]
                result.append(np.concatenate(parts))
            else:
                result.append(None)
        return result

    def _constant(self, count: int, node: fx.Node) -> Label:
        """Positions that the code makes in a fixed number."""
        label = self.classes.fresh(count)
        self.classes.hold(label, f"{where(node)} adds a fixed number of channels beside it")
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
                self.classes.hold(label, f"{where(node)} cuts or mirrors it")
                labels[axis] = None
                continue
            ends = self._constant(before, node), self._constant(after, node)
            labels[axis] = np.concatenate([ends[0], label, ends[1]])
        return labels

    _aten_constant_pad_nd = _aten_pad

    def _aten_chunk(self, node: fx.Node) -> Labels:
        labels, count = self._of(node.args[0]), integer(node, 1)
        axis = integer(node, 2, 0)
        label = labels[axis]
        pieces: list[Label | None] = [None] * count
        if label is not None:
            if len(label) % count:
                self.classes.hold(label, f"{where(node)} cuts it unevenly")
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
        axis = integer(node, 1, 0)
        if shape_of(node) != shape_of(node.args[0]) and labels[axis] is not None:
            self.classes.hold_all([[labels[axis]]], f"{where(node)} takes fixed positions of it")
            labels[axis] = None
        return labels

    def _aten_select(self, node: fx.Node) -> Labels:
        labels = list(self._of(node.args[0]))
        gone = labels.pop(integer(node, 1))
        self.classes.hold_all([[gone]], f"{where(node)} takes a fixed position of it")
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
        labels, before, after = self._of(node.args[0]), shape_of(node.args[0]), shape_of(node)
        result: Labels = [None] * (len(after) - len(before))
        for axis, label in enumerate(labels):
            repeated = before[axis] != after[axis - len(before)]
            if label is not None and repeated:
                self.classes.hold(label, f"{where(node)} repeats it")
            result.append(None if repeated else label)
        return result

    def _aten_expand_as(self, node: fx.Node) -> Labels:
        return self._combined(node)
