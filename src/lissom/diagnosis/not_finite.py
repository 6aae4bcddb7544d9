"""Numbers that became infinite or NaN: the first layer that gives such, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Part, network_of
from lissom.diagnosis.remedies import kept_float
from lissom.diagnosis.replay import Accumulated, Replayed
from lissom.diagnosis.written import FLOAT16, Written, written
from lissom.onnx_file import read_onnx
from lissom.report.diagnosis import Diagnosis, NotFinite, Verdict, Why
from lissom.report.diagnosis_words import percent

# The largest number of float16.
HALF = 65504
# Where the steps of grids stand among what an operator reads.
SCALES = {
    "QuantizeLinear": (1,), "DequantizeLinear": (1,), "MatMulNBits": (2,),
    "GatherBlockQuantized": (2,), "QLinearConv": (1, 4, 6), "QLinearMatMul": (1, 4, 6),
    "QGemm": (1, 4, 7),
}  # fmt: skip
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def not_finite(sums: Sequence[Sums], replayed: Replayed, compressed: Path) -> NotFinite | None:
    """Where numbers of the outputs were lost, None if all of them are there.

    Args:
        sums: the layers, in order.
        replayed: the whole network's error at their results and at the outputs.
        compressed: the file, whose halves are looked at as such.
    """
    worst = max(replayed.ends.values(), key=lambda each: each.lost, default=None)
    if worst is None or not worst.lost:
        return None
    file = network_of(read_onnx(compressed, check_weights=False))
    roots = {each.section.root for each in sums}
    for each, seen in zip(sums, replayed.accumulated, strict=True):
        if seen.lost:
            root = each.section.root
            part = file.between(roots - {root}, [root])
            return _told(each.section.matched.anchor.name, seen, part)
    return _told(None, worst, file.between(roots, file.outputs))


def _told(layer: str | None, seen: Accumulated, part: Part) -> NotFinite:
    why, tensor = _why(part)
    return NotFinite(
        layer=layer,
        part=seen.lost / seen.count,
        nan=seen.nan / seen.count,
        largest=max(abs(seen.truth_low), abs(seen.truth_high)),
        why=why,
        tensor=tensor,
    )


def _why(part: Part) -> tuple[Why, str]:
    """What in a part of the file gives no numbers, and the constant that is to blame."""
    constants = part.network.constants
    for node in part.nodes:
        for place, name in enumerate(node.input):
            if name not in constants or constants[name].data_type not in FLOATS:
                continue
            array = numpy_helper.to_array(constants[name])
            divides = place == 1 and node.op_type in ("Div", "QuantizeLinear")
            if np.isfinite(array).all() and not (divides and np.any(array == 0)):
                continue
            if place in SCALES.get(node.op_type, ()) or divides:
                return "scale", name
            half = constants[name].data_type == TensorProto.FLOAT16
            return ("float16 weight" if half else "constant"), name
    return ("float16" if any(_in_halves(node, part) for node in part.nodes) else ""), ""


def _in_halves(node: onnx.NodeProto, part: Part) -> bool:
    """Whether an operator computes in float16, or turns numbers into it."""
    if node.op_type == "Cast":
        return any(each.name == "to" and each.i == TensorProto.FLOAT16 for each in node.attribute)
    constants = part.network.constants
    kinds = {constants[name].data_type for name in node.input if name in constants}
    return TensorProto.FLOAT16 in kinds and node.op_type != "DequantizeLinear"


def lost(found: Diagnosis) -> Verdict | None:
    """The verdict on outputs that are no numbers, None where they are."""
    fault = found.not_finite
    if fault is None:
        return None
    layer = next((each for each in found.layers if each.name == fault.layer), None)
    form = None if layer is None else written(layer, found.layers, found.made_by)
    kind = "NaN" if fault.nan >= fault.part else "infinite or NaN" if fault.nan else "infinite"
    values = (
        f"{percent(fault.part)} of what it gives is {kind}, where the original gives numbers; it "
        "is the first layer that does so"
    )
    if fault.layer is None:
        values = (
            f"{percent(fault.part)} of the outputs is {kind}, where the original's are numbers; "
            "what layers give is finite, so it comes about behind the last of them"
        )
    where = "" if fault.layer is None else f"{fault.layer}: "
    reason = _reason(fault)
    remedy, technique, config = _remedy(fault, found, form)
    return Verdict(
        layer=fault.layer,
        cause="not finite",
        share=None,
        words=f"{where}{values}{reason and f': {reason}'}",
        remedy=remedy,
        technique=technique,
        config=config,
    )


def _reason(fault: NotFinite) -> str:
    match fault.why:
        case "float16 weight":
            return f"the constant {fault.tensor!r} goes beyond float16, which ends at {HALF:,}"
        case "float16":
            reach = f", and the original goes to {fault.largest:.3g}" * (fault.largest > HALF)
            return f"it is computed in float16, which ends at {HALF:,}{reach}"
        case "scale":
            return f"the scale {fault.tensor!r} is zero or no number"
        case "constant":
            return f"the constant {fault.tensor!r} holds what is infinite or NaN"
        case _:
            return ""


def _remedy(
    fault: NotFinite, found: Diagnosis, form: Written | None
) -> tuple[str, str | None, dict[str, object]]:
    """In words, with the technique and its settings."""
    kept = None if form is None else kept_float(form, None)
    # A file of codes would be another file in float16.
    halves = None if any(each.weight_bits for each in found.layers) else FLOAT16
    match fault.why:
        case "float16 weight":
            words = f"store it as float32, as {FLOAT16} does with all that float16 does not hold"
            return words, halves, {}
        case "float16":
            words = f"compute in float32, as what {FLOAT16} writes does: it only stores halves"
            return words, halves, {}
        case "scale":
            words = "quantize anew, calibrated with data for which not all of its values are zero"
        case "constant":
            words = "write the file anew from the original"
        case _:
            words = ""
    if kept is None or not kept.words:
        return words, None, {}
    return f"{words}; or {kept.words}" if words else kept.words, kept.technique, kept.config
