"""Write a quantized graph with reals (reals.py): conversions become divisions and products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

from lissom.diagnosis.expand import expand
from lissom.diagnosis.grids import Grids
from lissom.diagnosis.halves import in_float32
from lissom.diagnosis.held import Held, move, restore
from lissom.diagnosis.reals import SWITCHES, Quantizer, Reals
from lissom.diagnosis.stored import CODES, StoredWeight, limits, rounded, stored_weight
from lissom.graph.bias_scales import fold_products
from lissom.graph.bit_planes import unpack_planes
from lissom.graph.edit import Editor, constant_of, tidy
from lissom.quantize.affine import along
from lissom.targets.fusion import MOVERS

Array = NDArray[Any]


def in_reals(model: ir.Model) -> Reals:
    """The model computed with reals; the model itself is used up."""
    if model.functions:
        passes.InlinePass()(model)
    in_float32(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    narrow = unpack_planes(model)
    fold_products(model)
    widths = expand(model)
    model.graph.sort()
    found = _Rewriting(model, narrow).run()
    found.widths = widths | {name: each.bits for name, each in found.weights.items()}
    tidy(model)
    ir.external_data.load_to_model(model)
    found.proto = ir.serde.serialize_model(model)
    del found.proto.graph.value_info[:]
    return found


class _Rewriting:
    """One pass over a graph in order, replacing conversions."""

    def __init__(self, model: ir.Model, narrow: Mapping[ir.Value, int]) -> None:
        self.model = model
        self.editor = Editor(model)
        self.found = Reals(onnx.ModelProto())
        # Tensors that held codes and hold reals now, with their type and zero point before.
        self.codes: dict[ir.Value, Held] = {}
        self.stored: dict[ir.Value, StoredWeight] = {}
        # Constant codes that were narrower before a Cast, in planes of bits or than numpy has them.
        self.narrow = dict(narrow)
        self.switches: dict[str, ir.Value] = {}

    def run(self) -> Reals:
        for name in SWITCHES:
            switch = ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
            self.switches[name] = switch
            self.model.graph.inputs.append(switch)
        self.grids = Grids(self.editor, self.switches)
        for node in list(self.model.graph):
            match node.op_type:
                case "QuantizeLinear":
                    self._quantize(node)
                case "DequantizeLinear":
                    self._dequantize(node)
                case "DynamicQuantizeLinear":
                    self._quantize_dynamically(node)
                case "Cast":
                    self._cast(node)
                case _:
                    self._other(node)
        self.found.inside = self.grids.inside
        self.found.weights = {
            value.name or "": stored for value, stored in self.stored.items() if value.name
        }
        return self.found

    def _quantize(self, node: ir.Node) -> None:
        source, _, zero = self._three(node)
        if source is None:
            return
        step, middle = constant_of(node.inputs[1]), constant_of(zero)
        dtype = zero.dtype if zero is not None and zero.dtype is not None else ir.DataType.UINT8
        kind = node.attributes.get("output_dtype")
        if zero is None and kind is not None and kind.value:
            dtype = ir.DataType(kind.value)
        if dtype not in CODES or step is None or (zero is not None and middle is None):
            return
        array = constant_of(source)
        axis = _axis(node)
        if array is not None:
            codes = rounded(array, step, middle, axis, dtype)
            value = self.editor.constant(f"{node.outputs[0].name}_constant", codes)
            self.narrow[value] = dtype.bitwidth
            node.outputs[0].replace_all_uses_with(value)
            return
        if step.size > 1:
            if source.shape is None:
                return
            rank = len(source.shape)
            step = along(step, axis % rank, rank)
            middle = None if middle is None else along(middle, axis % rank, rank)
        else:
            step, middle = step.reshape(()), None if middle is None else middle.reshape(())
        zeros = np.zeros(step.shape, np.float32) if middle is None else middle.astype(np.float32)
        steps = step.astype(np.float32)
        name = node.outputs[0].name or ""
        low, high = limits(dtype)
        result = self.grids.codes(
            node,
            source,
            self.editor.constant(f"{name}_step", steps),
            zeros,
            (low, high),
        )
        single = steps.size == 1
        grid: list[float | None] = [None, None]
        if single:
            grid = [float((end - zeros) * steps) for end in (low, high)]
        self._note(node, source, dtype, grid, float(steps) if single else None, zeros)
        self.editor.replace(node, result)
        self.codes[result] = Held(dtype, zeros)

    def _note(
        self,
        node: ir.Node,
        source: ir.Value,
        dtype: ir.DataType,
        grid: list[float | None],
        scale: float | None,
        zeros: NDArray[np.float32] | None,
        zero: str = "",
    ) -> None:
        name, before = node.outputs[0].name or "", source.name or ""
        middle = int(zeros.reshape(-1)[0]) if zeros is not None else 0
        self.found.quantizers[name] = Quantizer(
            before, name, grid[0], grid[1], scale, middle, dtype.bitwidth, dtype.is_signed(), zero
        )
        self.found.same[name] = before

    def _quantize_dynamically(self, node: ir.Node) -> None:
        source, zero = node.inputs[0], node.outputs[2].name or ""
        assert source is not None
        found = self.grids.found_while_running(node)
        self._note(node, source, ir.DataType.UINT8, [None, None], None, None, zero)
        for old, new in zip(node.outputs, found, strict=False):
            kept = old.name
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
            old.name, new.name = None, kept
        self.model.graph.remove(node, safe=True)
        self.codes[found[0]] = Held(ir.DataType.UINT8, found[2])

    def _dequantize(self, node: ir.Node) -> None:
        source, scale, zero = self._three(node)
        if source is None or scale is None:
            return
        axis = _axis(node)
        step, middle = constant_of(scale), constant_of(zero)
        array = constant_of(source)
        if array is not None and step is not None and (zero is None or middle is not None):
            block = int(node.attributes.get_int("block_size", 0) or 0)
            bits = 8 if source.dtype is None else source.dtype.bitwidth
            bits = self.narrow.get(source, bits)
            weight = stored_weight(array, step, middle, axis, block, bits)
            value = self.editor.constant(f"{node.outputs[0].name}_constant", weight.reals())
            self.stored[value] = weight
            node.outputs[0].replace_all_uses_with(value)
            return
        name = node.outputs[0].name or "reals"
        held = self.codes.get(source)
        if step is not None:
            shape = source.shape if source.shape is not None else node.outputs[0].shape
            if step.size > 1 and shape is not None:
                step = along(step, axis % len(shape), len(shape))
                middle = None if middle is None else along(middle, axis % len(shape), len(shape))
            elif step.size == 1:
                step, middle = step.reshape(()), None if middle is None else middle.reshape(())
        centred = self._centred(node, source, held, zero, middle, name)
        if step is not None:
            scale = self.editor.constant(f"{name}_step", step.astype(np.float32))
        result = self.grids.node(node, "Mul", [centred, scale], f"{name}_scaled")
        before = node.inputs[0]
        if before is not None and before in self.codes and before.name in self.found.quantizers:
            self.found.same[name] = before.name
        self.editor.replace(node, result)

    def _centred(
        self,
        node: ir.Node,
        source: ir.Value,
        held: Held | None,
        zero: ir.Value | None,
        middle: NDArray[Any] | None,
        name: str,
    ) -> ir.Value:
        """Codes less the zero point that DequantizeLinear has."""
        wide = {"to": ir.DataType.FLOAT.value}
        if held is None:
            source = self.grids.node(node, "Cast", [source], f"{name}_cast", wide)
        before: Array = np.zeros((), np.float32) if held is None else held.middle
        if held is not None and isinstance(held.zero, ir.Value):
            if zero is held.zero:
                return source
            source = self.grids.node(node, "Add", [source, held.zero], f"{name}_codes")
        if zero is not None and middle is None:
            if zero.dtype != ir.DataType.FLOAT:
                zero = self.grids.node(node, "Cast", [zero], f"{name}_zero", wide)
            source = self.grids.node(node, "Sub", [source, zero], f"{name}_centred")
            middle = np.zeros((), np.float32)
        shift = (0.0 if middle is None else middle.astype(np.float32)) - before
        if not np.any(shift):
            return source
        constant = self.editor.constant(f"{name}_shift", np.asarray(shift, np.float32))
        return self.grids.node(node, "Sub", [source, constant], f"{name}_centred")

    def _cast(self, node: ir.Node) -> None:
        """A Cast of stored codes is done now, so that DequantizeLinear finds them."""
        source = node.inputs[0]
        array = constant_of(source)
        if source in self.codes or source is None:
            if source in self.codes and node.attributes["to"].value != ir.DataType.FLOAT.value:
                self._restore(node)
            return
        if array is None or source.dtype not in CODES or source.dtype == ir.DataType.INT32:
            return
        target = ir.DataType(node.attributes["to"].value)
        if target not in CODES or target.bitwidth < 8:
            return
        value = self.editor.constant(
            f"{node.outputs[0].name}_constant", np.asarray(array).astype(target.numpy())
        )
        self.narrow[value] = source.dtype.bitwidth
        node.outputs[0].replace_all_uses_with(value)

    def _other(self, node: ir.Node) -> None:
        """Any other operator: codes go through what only moves them."""
        first = node.inputs[0] if node.inputs else None
        moved = next((v for v in node.inputs if v is not None and v in self.codes), None)
        if moved is None:
            return
        if (
            node.op_type not in MOVERS
            or node.domain
            or (first is not None and first not in self.codes and node.op_type != "Concat")
        ):
            self._restore(node)
            return
        held = self.codes[moved]
        move(node, held, self.editor)
        self.codes.update(dict.fromkeys(node.outputs, held))

    def _restore(self, node: ir.Node) -> None:
        restore(node, self.codes, self.editor, self.grids)

    def _three(self, node: ir.Node) -> list[ir.Value | None]:
        return [node.inputs[at] if at < len(node.inputs) else None for at in range(3)]


def _axis(node: ir.Node) -> int:
    found = node.attributes.get("axis")
    return 1 if found is None else int(found.value)
