"""Every layer in a format of its own, each written by the technique of that format."""

from __future__ import annotations

import difflib
import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from lissom.errors import ModelError, RequestError
from lissom.graph.edit import Editor
from lissom.graph.weights import names_of
from lissom.quantize.calibrate import Calibration
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.float16 import Float16, fits_float16, float16
from lissom.quantize.formats import Layer, layers_of
from lissom.quantize.static import Static, static
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.quantize.weight_range import WeightRange
from lissom.tables import STATIC, WEIGHT_ONLY, Format
from lissom.technique import Context, technique

WHERE = "quantize.mixed"
# Names that are offered for an unknown one.
OFFERED = 3


class Mixed(Calibration):
    """Settings of mixed precision, besides those of quantize.static's calibration.

    Attributes:
        layers: the format of each layer, by the name of its node or of its weight: "float32",
            "float16" (stored so), "w8a8", "w7a8" ... "w2a8" (weights of so many bits and
            activations of 8, as quantize.static), "w8a8 dynamic" (as quantize.dynamic), "w8", "w4",
            "w2" (as quantize.weight_only). What `lissom sensitivity` and an allocation call layers.
            Layers with activations of 8 bits that share a weight share its widest codes.
        default: the format of the layers that are not named and that it applies to; those that it
            does not apply to stay float32.
        weight_range, rounding, bias_correction: as of quantize.static, the first also as of
            quantize.dynamic.
        block, int8_arithmetic: as of quantize.weight_only.
    """

    layers: dict[str, Format] = Field(default_factory=dict)
    default: Format = "float32"
    weight_range: WeightRange = "auto"
    rounding: Literal["nearest", "learned"] = "nearest"
    bias_correction: Literal["none", "empirical", "analytic"] = "none"
    block: int = WeightOnly.model_fields["block"].default
    int8_arithmetic: bool = True

    @property
    def formats(self) -> frozenset[Format]:
        """All that are asked for."""
        return frozenset((*self.layers.values(), self.default))


@technique(
    "quantize.mixed",
    config=Mixed,
    needs=lambda config: (
        ["float weights", "calibration"] if config.formats & set(STATIC) else ["float weights"]
    ),
    leaves=["mixed weights"],
    destroys=["float weights"],
)
def mixed(model: ir.Model, config: Mixed, context: Context) -> ir.Model:
    """Bring every layer into the format that the settings give it, several in one graph.

    Each format is written by its own technique, with everything else kept as it is; static layers
    come first, so ranges of activations and learned codes are found beside layers in float.

    Raises:
        RequestError: a layer is unknown, or a format does not apply to it; nothing was done yet.
        ModelError: there is no layer, or none in another format than float32.
    """
    chosen = chosen_formats(layers_of(model), config)
    _name_apart(model, chosen)
    counts = Counter(chosen.values())
    if not counts.keys() - {"float32"}:
        raise ModelError(
            "nothing to quantize: every layer is to stay float32",
            where=WHERE,
            fix="name layers with other formats, or give a default that applies to some",
        )
    halves = _halves(model, config, chosen)
    widths = {layer: STATIC[form] for layer, form in chosen.items() if form in STATIC}
    if widths:
        model = static(model, _static(config, chosen, widths), context)
    for form in WEIGHT_ONLY:
        if counts[form]:
            model = weight_only(model, _weight_only(config, chosen, form), context)
    if counts["w8a8 dynamic"]:
        kept = _others(chosen, ["w8a8 dynamic"])
        settings = Dynamic(weight_range=config.weight_range, keep_float=kept)
        model = dynamic(model, settings, context)
    if counts["float16"]:
        model = float16(model, Float16(keep_float=_kept_wide(model, halves)), context)
    return model


def chosen_formats(layers: Sequence[Layer], config: Mixed) -> dict[Layer, Format]:
    """The format of every layer.

    Raises:
        RequestError: a name is no layer's, or a format does not apply to one.
        ModelError: there are no layers.
    """
    if not layers:
        raise ModelError(
            "nothing to quantize: no layer has a constant float32 weight",
            where=WHERE,
            fix="`lissom techniques` lists what else there is",
        )
    named = {name: layer for layer in layers for name in (layer.weight.name, layer.name) if name}
    for name in config.layers:
        if name not in named:
            near = difflib.get_close_matches(name, named, n=OFFERED, cutoff=0.4)
            offered = near or [layer.name for layer in layers[:OFFERED]]
            raise RequestError(
                f"no layer or weight is called {name!r}",
                where=WHERE,
                fix="names here are like " + ", ".join(map(repr, offered)),
            )
    found: dict[Layer, Format] = {}
    for layer in layers:
        fits = config.default in layer.formats
        form: Format = config.default if fits else "float32"
        for name in (layer.weight.name or "", layer.name):
            form = config.layers.get(name, form)
        if form not in layer.formats:
            raise RequestError(
                f"{form!r} does not apply to the layer {layer.name!r} ({layer.node.op_type})",
                where=WHERE,
                fix="what does: " + ", ".join(layer.formats),
            )
        found[layer] = form
    return found


def _static(config: Mixed, chosen: Mapping[Layer, Format], widths: Mapping[Layer, int]) -> Static:
    """Settings of the layers with calibrated activations: the commonest width, and the others."""
    commonest = Counter(widths.values()).most_common(1)[0][0]
    others = {each.glob: n for each, n in widths.items() if n != commonest}
    given = {name: getattr(config, name) for name in Calibration.model_fields}
    return Static.model_validate(
        given
        | {
            "weight_bits": commonest,
            "layer_bits": others,
            "weight_range": config.weight_range,
            "rounding": config.rounding,
            "bias_correction": config.bias_correction,
            "keep_float": _others(chosen, STATIC),
        }
    )


def _weight_only(config: Mixed, chosen: Mapping[Layer, Format], form: Format) -> WeightOnly:
    bits = WEIGHT_ONLY[form]
    mine = [layer for layer, each in chosen.items() if each == form]
    return WeightOnly.model_validate(
        {
            "bits": bits,
            "block": config.block,
            "layers": any(not layer.table for layer in mine),
            "embeddings": bits if any(layer.table for layer in mine) else None,
            "int8_arithmetic": config.int8_arithmetic,
            "keep_float": _others(chosen, [form]),
        }
    )


def _halves(model: ir.Model, config: Mixed, chosen: Mapping[Layer, Format]) -> frozenset[str]:
    """Names of the weights to store as float16: where it is the default, also of no layer."""
    found = {layer.weight for layer, form in chosen.items() if form == "float16"}
    if config.default == "float16":
        layers = {layer.weight for layer in chosen}
        found |= {value for value in model.graph.initializers.values() if value not in layers}
    return frozenset(value.name or "" for value in found)


def _kept_wide(model: ir.Model, halves: frozenset[str]) -> tuple[str, ...]:
    """Globs of all else that float16 would take, scales of the layers in other formats too."""
    return tuple(
        glob.escape(name)
        for name, value in model.graph.initializers.items()
        if name not in halves and fits_float16(value, Float16())
    )


def _name_apart(model: ir.Model, layers: Iterable[Layer]) -> None:
    """Give layers names that no glob confuses: nodes may have none, or that of another's weight."""
    editor = Editor(model)
    known = Counter(name for node in model.graph for name in set(names_of(node)))
    for layer in layers:
        if known[layer.node.name or ""] != 1:
            layer.node.name = editor.free_name(layer.name)


def _others(chosen: Mapping[Layer, Format], forms: Iterable[Format]) -> tuple[str, ...]:
    """Globs of the layers that are in no such format, and that such a format would apply to."""
    mine = set(forms)
    return tuple(
        layer.glob
        for layer, form in chosen.items()
        if form not in mine and mine & set(layer.formats)
    )
