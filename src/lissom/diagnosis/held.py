"""Tensors of codes that hold reals now: what they were, and how operators go on with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.grids import Grids
from lissom.graph.edit import Editor, constant_of


@dataclass(frozen=True)
class Held:
    """What a tensor of codes was: its type and its zero point, which may be found while running."""

    dtype: ir.DataType
    zero: NDArray[Any] | ir.Value

    @property
    def middle(self) -> NDArray[Any]:
        """The zero point as reals; 0 where it is found while running."""
        if isinstance(self.zero, ir.Value):
            return np.zeros((), np.float32)
        return np.asarray(self.zero, np.float32)


def move(node: ir.Node, held: Held, editor: Editor) -> None:
    """Let a node that only moves codes do so with reals: constants beside them become such too."""
    for place, value in enumerate(node.inputs):
        array = constant_of(value)
        if value is not None and value.dtype == held.dtype and array is not None:
            less = array.astype(np.float32) - held.middle.reshape(-1)[0]
            wide = editor.constant(f"{value.name}_wide", np.asarray(less, np.float32))
            node.replace_input_with(place, wide)
    for value in node.outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)


def restore(node: ir.Node, codes: Mapping[ir.Value, Held], editor: Editor, grids: Grids) -> None:
    """Give codes back as integers to an operator that computes with them as such."""
    for place, value in enumerate(node.inputs):
        if value is None or value not in codes:
            continue
        held = codes[value]
        zero = held.zero
        if not isinstance(zero, ir.Value):
            zero = editor.constant(f"{value.name}_zero", held.middle)
        shifted = grids.node(node, "Add", [value, zero], f"{value.name}_shifted")
        whole = grids.node(node, "Round", [shifted], f"{value.name}_whole")
        to = {"to": held.dtype.value}
        cast = grids.node(node, "Cast", [whole], f"{value.name}_integers", to)
        node.replace_input_with(place, cast)
