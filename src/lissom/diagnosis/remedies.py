"""What to do about a layer's error: the lissom setting that takes the cause away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lissom.diagnosis.written import (
    DYNAMIC,
    FLOAT16,
    STATIC,
    TABLE,
    WEIGHT_ONLY,
    Written,
    is_left_float,
    written,
)
from lissom.report.diagnosis import Cause, LayerError, LayerTime
from lissom.report.diagnosis_words import figures
from lissom.report.main_cause import part_of

# Channels of a range this many times wider than the median one are worth evening out.
UNEVEN = 4.0
# Of the added error, from which on weights are all that matters to what goes.
MOSTLY = 0.9
LEFT_FLOAT = "it is float already, and reads what is rounded for the layers beside it: "


@dataclass(frozen=True)
class Remedy:
    """What to do.

    Attributes:
        words: for one layer.
        technique, config: the step that does it; None if it is nothing lissom does.
        takes: what of the layer's error goes: that of the "cause", the whole "layer"'s, or None
            where less goes than can be foretold.
        everywhere: the same for a whole network whose layers all have the cause.
        ms, bytes: by how much a run and the file change, None where unknown.
        left: the part of it that stays.
    """

    words: str
    technique: str | None = None
    config: dict[str, object] = field(default_factory=dict)
    takes: Literal["cause", "layer"] | None = None
    everywhere: str = ""
    ms: float | None = None
    bytes: int | None = None
    left: float = 0.0


NO_REMEDY = Remedy("")


def remedy_for(layer: LayerError | Written, cause: Cause, time: LayerTime | None = None) -> Remedy:
    """The remedy for what makes most of a layer's error, with what it costs if that was timed."""
    form = written(layer) if isinstance(layer, LayerError) else layer
    match cause:
        case "saturation":
            name = form.whole if form.technique == DYNAMIC else form.calibrated
            words = f"{name} with weight_range: pairs, whose sums are exact"
            return Remedy(words, name, {"weight_range": "pairs"}, "cause")
        case "bias" if form.has("bias_correction", "none") == "empirical":
            return kept_float(form, time)
        case "bias":
            name = form.calibrated
            words = f"{name} with bias_correction: empirical, which fits the bias anew"
            return Remedy(words, name, {"bias_correction": "empirical"}, "cause")
        case "activation":
            words = "quantize with a grid that ends where the activation does, as"
            return Remedy(f"{words} {form.calibrated} does", form.calibrated, {}, "cause")
        case "clipping":
            return _for_clipping(form)
        case "weights":
            return _for_weights(form, time)
        case "rounding":
            return _for_rounding(form, time)
        case _:
            return kept_float(form, time)


def kept_float(form: Written, time: LayerTime | None, first: str = "") -> Remedy:
    """Keep a layer float, or try first what costs nothing when the model runs.

    Of quantize.mixed's formats none is for a layer without weights.
    """
    unnamed = not form.called or (form.mixed and not form.layer.weight)
    if unnamed or is_left_float(form.layer):
        return Remedy(first, everywhere=first)
    ms = None if time is None or time.kept_float is None else time.kept_float[1]
    more = None if time is None or time.bytes is None else time.bytes[0] - time.bytes[1]
    name, config = form.kept_float()
    kept = f"keep it float: {name} with {_settings(config)}{figures(more, ms)}"
    words = f"{first}; or {kept}" if first else kept
    return Remedy(words, name, config, "layer", everywhere=first, ms=ms, bytes=more)


def _for_clipping(form: Written) -> Remedy:
    everywhere = "calibrate with data like these, or with observer: minmax"
    if is_left_float(form.layer) or not form.called:
        left = LEFT_FLOAT if is_left_float(form.layer) else ""
        return Remedy(f"{left}{everywhere}", form.calibrated, {"observer": "minmax"}, "cause")
    config: dict[str, object] = {"per_layer": [{"match": form.pattern, "observer": "minmax"}]}
    return Remedy(
        "calibrate with data like these; or let the range hold all that is seen: "
        f"{form.calibrated} with {_settings(config)}",
        form.calibrated,
        config,
        "cause",
        everywhere=everywhere,
    )


def _for_weights(form: Written, time: LayerTime | None) -> Remedy:
    if form.technique == FLOAT16:
        return kept_float(form, time)
    learned = f"{form.whole} with rounding: learned" if _can_learn(form) else ""
    wider = form.wider()
    if wider is not None:
        return _with_more_bits(form, learned, wider, time)
    if form.technique in (STATIC, DYNAMIC) and _uneven(form.layer, "input"):
        return Remedy(f"quantize.equalize before {form.whole}", "quantize.equalize")
    return kept_float(form, time, learned)


def _can_learn(form: Written) -> bool:
    """Whether learned codes are something that the file does not have."""
    return form.technique == STATIC and form.has("rounding", "nearest") != "learned"


def _with_more_bits(
    form: Written,
    first: str,
    wider: tuple[int, str, dict[str, object]],
    time: LayerTime | None,
) -> Remedy:
    """Codes of more bits: each halves the step, which leaves a quarter of the squared error."""
    bits, name, config = wider
    layer = form.layer
    more = bits - (layer.weight_bits or bits)
    size = None if time is None or time.bytes is None else time.bytes[0] * more // 32
    words = f"{bits} bits for this layer: {name} with {_settings(config)}{figures(size, None)}"
    if layer.op_type == TABLE:
        words = f"{bits} bits: {name} with {_settings(config)}{figures(size, None)}"
    alone = part_of(layer, "weights") >= MOSTLY
    everywhere = f"{first}, or more bits" if first else "more bits"
    return Remedy(
        f"{first}; or {words}" if first else words,
        name,
        config,
        "layer" if alone else None,
        everywhere=everywhere,
        bytes=size,
        left=4.0**-more,
    )


def _for_rounding(form: Written, time: LayerTime | None) -> Remedy:
    layer = form.layer
    if form.technique == WEIGHT_ONLY:
        words = f"{form.whole} with int8_arithmetic: false, which multiplies in float"
        return Remedy(words, form.whole, {"int8_arithmetic": False}, "cause")
    if _uneven(layer, "activation"):
        name = "quantize.equalize" if layer.op_type == "Conv" else "quantize.smooth"
        return Remedy(f"{name} before {form.whole}", name)
    if form.technique == DYNAMIC:
        return kept_float(form, time)
    fitted = f"{form.whole} with observer: auto, which fits the grid to the values"
    if form.has("observer", "auto") == "auto" and not form.has("per_layer", []):
        return kept_float(form, time)
    if is_left_float(layer):
        return Remedy(f"{LEFT_FLOAT}{fitted}", form.whole, {"observer": "auto"}, everywhere=fitted)
    return kept_float(form, time, fitted)


def _settings(config: dict[str, object]) -> str:
    """Settings as a recipe has them: layer_bits: {'conv': 5}."""
    return ", ".join(f"{name}: {_plain(value)}" for name, value in config.items())


def _plain(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_plain(each) for each in value)}]"
    if isinstance(value, dict):
        pairs = (
            f"{name if name in ('match', 'observer') else repr(name)}: {_plain(each)}"
            for name, each in value.items()
        )
        return f"{{{', '.join(pairs)}}}"
    return repr(value) if isinstance(value, str) else str(value)


def _uneven(layer: LayerError, axis: str) -> bool:
    return any(each.axis == axis and each.spread >= UNEVEN for each in layer.channels)
