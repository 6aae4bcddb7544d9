"""Nodes that put a tensor on a grid of codes, with switches for rounding and clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.reals import CLIP, CLIP_ZERO, ROUND
from lissom.graph.edit import Editor

# Far beyond any code: clipped to it, nothing is clipped.
UNBOUNDED = np.float32(3e38)


class Grids:
    """Writes grids into one graph; `inside` are the tensors between a source and its codes."""

    def __init__(self, editor: Editor, switches: Mapping[str, ir.Value]) -> None:
        self.editor, self.switches = editor, switches
        self.inside: set[str] = set()

    def codes(
        self,
        node: ir.Node,
        source: ir.Value,
        step: ir.Value,
        middle: NDArray[np.float32] | ir.Value,
        limits: tuple[int, int],
    ) -> ir.Value:
        """Codes of a tensor as reals, less their zero point.

        Args:
            node: the quantizer that they stand for.
            source: the tensor.
            step: the scale.
            middle: the zero point, a constant or found while running.
            limits: the least and the largest code.
        """
        name = node.outputs[0].name or "codes"
        if source.dtype is not None and source.dtype != ir.DataType.FLOAT:
            wide = {"to": ir.DataType.FLOAT.value}
            source = self.node(node, "Cast", [source], f"{name}_wide", wide)
        steps = self.node(node, "Div", [source, step], f"{name}_steps")
        whole = self.node(node, "Round", [steps], f"{name}_rounded")
        chosen = self.node(node, "Where", [self.switches[ROUND], whole, steps], f"{name}_chosen")
        low = self._end(node, limits[0], -UNBOUNDED, middle, name)
        high = self._end(node, limits[1], UNBOUNDED, middle, name)
        above = self.node(node, "Max", [chosen, low], f"{name}_above")
        return self.node(node, "Min", [above, high], f"{name}_within")

    def found_while_running(self, node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Codes, scale and zero point of a grid that just holds a tensor and zero.

        As the operator DynamicQuantizeLinear is defined.
        """
        source = node.inputs[0]
        assert source is not None
        name = node.outputs[0].name or "codes"
        zero = self._constant(f"{name}_nought", 0.0)
        ends = []
        for reduce, pick in (("ReduceMin", "Min"), ("ReduceMax", "Max")):
            extreme = self.node(node, reduce, [source], f"{name}_extreme", {"keepdims": 0})
            ends.append(self.node(node, pick, [extreme, zero], f"{name}_end"))
        span = self.node(node, "Sub", [ends[1], ends[0]], f"{name}_span")
        step = self.node(node, "Div", [span, self._constant(f"{name}_levels", 255.0)], f"{name}_s")
        least = self._constant(f"{name}_least", np.finfo(np.float32).tiny)
        step = self.node(node, "Max", [step, least], f"{name}_step")
        below = self.node(node, "Sub", [zero, ends[0]], f"{name}_below")
        below = self.node(node, "Div", [below, step], f"{name}_ratio")
        middle = self.node(node, "Round", [below], f"{name}_middle")
        return self.codes(node, source, step, middle, (0, 255)), step, middle

    def _end(
        self,
        node: ir.Node,
        limit: int,
        far: np.float32,
        middle: NDArray[np.float32] | ir.Value,
        name: str,
    ) -> ir.Value:
        """One end of the grid, or one far away where nothing is to be clipped."""
        switch = CLIP
        if isinstance(middle, ir.Value):
            code = self._constant(f"{name}_end", limit)
            end = self.node(node, "Sub", [code, middle], f"{name}_end")
        else:
            end = self.editor.constant(f"{name}_end", np.asarray(limit - middle, np.float32))
            switch = CLIP_ZERO if bool((middle == limit).all()) else CLIP
        none = self._constant(f"{name}_far", far)
        return self.node(node, "Where", [self.switches[switch], end, none], f"{name}_limit")

    def _constant(self, stem: str, number: float | np.floating[Any]) -> ir.Value:
        return self.editor.constant(stem, np.asarray(number, np.float32))

    def node(
        self,
        before: ir.Node,
        kind: str,
        inputs: list[ir.Value | None],
        stem: str,
        attributes: dict[str, Any] | None = None,
    ) -> ir.Value:
        """A node before another, one more of those between a source and its codes; its output."""
        (value,) = self.editor.node(before, kind, inputs, stem=stem, attributes=attributes)
        self.inside.add(value.name or "")
        return value
