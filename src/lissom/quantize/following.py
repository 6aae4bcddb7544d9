"""What a step before quantization knows of the quantization that follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from lissom.quantize.dynamic import Dynamic
from lissom.quantize.mixed import Mixed
from lissom.quantize.static import Static, widths
from lissom.quantize.weight_range import (
    ExactRange,
    WeightBits,
    WeightGrid,
    WeightRange,
    range_for,
)
from lissom.tables import STATIC
from lissom.technique import Config, Context


class Following(Config):
    """The quantization that follows, which a step before it is judged by.

    In a recipe these are taken from the next step that quantizes, but for those that are set here.

    Attributes:
        weight_bits, layer_bits, weight_range: codes that weights may have, as of quantize.static.
        rounding, bias_correction: how they are chosen, as of quantize.static. What gains with the
            nearest codes need not with learned ones.
        activations, symmetric: codes of activations, as of quantize.static.
    """

    weight_bits: WeightBits = 8
    layer_bits: dict[str, WeightBits] = Field(default_factory=dict)
    weight_range: WeightRange = "auto"
    rounding: Literal["nearest", "learned"] = "nearest"
    bias_correction: Literal["none", "empirical", "analytic"] = "none"
    activations: Literal["uint8", "int8"] = "uint8"
    symmetric: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether every weight takes the nearest code and biases stay."""
        return self.rounding == "nearest" and self.bias_correction == "none"

    def static(self, context: Context) -> Static:
        """The settings of quantize.static that come to the same."""
        told = {name: getattr(self, name) for name in Following.model_fields}
        return Static.model_validate(told | {"weight_range": self.span(context)})

    def span(self, context: Context) -> ExactRange:
        """How wide codes of eight bits are on the target."""
        return range_for(self.weight_range, context)

    def grids(self, layers: Iterable[ir.Node], context: Context) -> dict[ir.Node, WeightGrid]:
        """Which codes the weight of each layer will have, those of pairs taken for all.

        Codes of pairs take long to find, and are of the full width.
        """
        span: ExactRange = "reduced" if self.span(context) == "reduced" else "full"
        bits = widths(list(layers), self.static(context))
        return {node: WeightGrid(span, each) for node, each in bits.items()}


def following_of(config: Config) -> dict[str, object] | None:
    """What the settings of a quantization come to as those of a step before it, without defaults.

    Of quantize.mixed the commonest width counts for all layers. None for what is no quantization
    that such a step is judged by.
    """
    found: dict[str, object]
    if isinstance(config, Static):
        found = {name: getattr(config, name) for name in Following.model_fields}
    elif isinstance(config, Mixed):
        both = Following.model_fields.keys() & Mixed.model_fields.keys()
        found = {name: getattr(config, name) for name in Following.model_fields if name in both}
        forms = [form for form in (config.default, *config.layers.values()) if form in STATIC]
        if forms:
            found["weight_bits"] = STATIC[Counter(forms).most_common(1)[0][0]]
    elif isinstance(config, Dynamic):
        found = {"weight_range": config.weight_range}
    else:
        return None
    plain = Following()
    changed = {name: value for name, value in found.items() if value != getattr(plain, name)}
    return changed | ({"before": "quantize.dynamic"} if isinstance(config, Dynamic) else {})
