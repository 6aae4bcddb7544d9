"""What to do about a layer's error: the lissom setting that takes the cause away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lissom.report.diagnosis import Cause, LayerError, LayerTime
from lissom.report.diagnosis_words import figures

# Channels of a range this many times wider than the median one are worth evening out.
UNEVEN = 4.0
STATIC = "quantize.static"


@dataclass(frozen=True)
class Remedy:
    """What to do.

    Attributes:
        words: for one layer.
        technique, config: the step that does it; None if it is nothing lissom does.
        takes: what of the layer's error goes entirely: that of the "cause", the whole "layer"'s,
            or None where less goes than can be foretold.
        everywhere: the same for a whole network whose layers all have the cause.
        ms, bytes: by how much a run and the file change, None where unknown.
    """

    words: str
    technique: str | None = None
    config: dict[str, object] = field(default_factory=dict)
    takes: Literal["cause", "layer"] | None = None
    everywhere: str = ""
    ms: float | None = None
    bytes: int | None = None


NO_REMEDY = Remedy("")


def remedy_for(layer: LayerError, cause: Cause, time: LayerTime | None = None) -> Remedy:
    """The remedy for what makes most of a layer's error, with what it costs if that was timed."""
    match cause:
        case "saturation":
            words = "quantize.static with weight_range: pairs, whose sums are exact"
            return Remedy(words, STATIC, {"weight_range": "pairs"}, "cause")
        case "bias":
            words = "quantize.static with bias_correction: empirical, which fits the bias anew"
            return Remedy(words, STATIC, {"bias_correction": "empirical"}, "cause")
        case "activation":
            words = "quantize with a grid that ends where the activation does, as quantize.static"
            return Remedy(f"{words} does", STATIC, {}, "cause")
        case "clipping":
            return _for_clipping(layer)
        case "weights":
            return _for_weights(layer, time)
        case "rounding":
            return _for_rounding(layer, time)
        case _:
            return kept_float(layer.name, time)


def _for_clipping(layer: LayerError) -> Remedy:
    return Remedy(
        "calibrate with data like these; or let the range hold all that is seen: quantize.static "
        f"with per_layer: [{{match: {layer.name!r}, observer: minmax}}]",
        STATIC,
        {"per_layer": [{"match": layer.name, "observer": "minmax"}]},
        "cause",
        everywhere="calibrate with data like these, or with observer: minmax",
    )


def _for_weights(layer: LayerError, time: LayerTime | None) -> Remedy:
    learned = "quantize.static with rounding: learned"
    bits = layer.weight_bits or 8
    if bits < 8:
        more = None if time is None or time.bytes is None else time.bytes[0] * (8 - bits) // 32
        words = f"{learned}, or this layer at 8 bits{figures(more, None)}"
        return Remedy(words, STATIC, {"rounding": "learned"}, everywhere=f"{learned}, or 8 bits")
    if _uneven(layer, "input"):
        return Remedy("quantize.equalize before quantize.static", "quantize.equalize")
    return kept_float(layer.name, time, learned)


def _for_rounding(layer: LayerError, time: LayerTime | None) -> Remedy:
    if _uneven(layer, "activation"):
        name = "quantize.equalize" if layer.op_type == "Conv" else "quantize.smooth"
        return Remedy(f"{name} before quantize.static", name)
    fitted = "quantize.static with observer: auto, which fits the grid to the values"
    return kept_float(layer.name, time, fitted)


def kept_float(layer: str, time: LayerTime | None, first: str = "") -> Remedy:
    """Keep a layer float, or try first what costs nothing when the model runs."""
    ms = None if time is None or time.kept_float is None else time.kept_float[1]
    more = None if time is None or time.bytes is None else time.bytes[0] - time.bytes[1]
    kept = f"keep it float: quantize.static with keep_float: [{layer!r}]{figures(more, ms)}"
    words = f"{first}; or {kept}" if first else kept
    config: dict[str, object] = {"keep_float": [layer]}
    return Remedy(words, STATIC, config, "layer", everywhere=first, ms=ms, bytes=more)


def _uneven(layer: LayerError, axis: str) -> bool:
    return any(each.axis == axis and each.spread >= UNEVEN for each in layer.channels)
