"""Which technique writes a layer in the form that a file has it in, and what settings call it."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.recipe.schema import Step
from lissom.report.diagnosis import LayerError

STATIC, DYNAMIC = "quantize.static", "quantize.dynamic"
WEIGHT_ONLY, FLOAT16, MIXED = "quantize.weight_only", "quantize.float16", "quantize.mixed"
TABLE = "Gather"
# Widths of weight-only codes, of layers and of tables.
PACKED, ROWS = (2, 4, 8), (4, 8)
# Bits more that leave a sixteenth of a weight's rounding error: each halves the step.
MORE = 2
# What weights that are the same make, in other kernels or scaled there and back.
NOTHING = 1e-10


@dataclass(frozen=True)
class Written:
    """The form of one layer.

    Attributes:
        layer: with its widths.
        technique: that writes such a layer by itself.
        mixed: whether quantize.mixed is what to set: it wrote the file, or layers of it are in
            several forms, as that writes them.
        made_by: the recipe's steps that made the file; none where they are not known.
    """

    layer: LayerError
    technique: str
    mixed: bool = False
    made_by: tuple[Step, ...] = ()

    @property
    def whole(self) -> str:
        """The technique that writes the whole file."""
        return MIXED if self.mixed else self.technique

    def has(self, name: str, default: object) -> object:
        """A setting of the step that wrote the file; None where no such step is known."""
        steps = [step for step in self.made_by if step.technique == self.whole]
        return steps[-1].config.get(name, default) if steps else None

    @property
    def calibrated(self) -> str:
        """The technique that has settings of biases and of ranges of activations."""
        return MIXED if self.mixed else STATIC

    @property
    def called(self) -> str:
        """Its node's name, or its weight's where the node has none; "" where neither is there."""
        return self.layer.name if self.layer.named else self.layer.weight

    @property
    def pattern(self) -> str:
        """The glob that matches nothing else: names of PyTorch's scopes have brackets."""
        return glob.escape(self.called)

    def kept_float(self) -> tuple[str, dict[str, object]]:
        """The technique and the settings that leave it float."""
        if self.mixed:
            return MIXED, {"layers": {self.layer.name: "float32"}}
        return self.technique, {"keep_float": [self.pattern]}

    def wider(self) -> tuple[int, str, dict[str, object]] | None:
        """More bits for its weights, with the technique and the settings that give them.

        None where its weights are no narrow codes.
        """
        bits = self.layer.weight_bits
        if bits is None or bits >= 8 or not self.called:
            return None
        name = self.layer.name
        if self.technique == WEIGHT_ONLY and self.layer.op_type == TABLE:
            wide = min(each for each in ROWS if each > bits)
            if self.mixed:
                return wide, MIXED, {"layers": {name: f"w{wide}"}}
            return wide, WEIGHT_ONLY, {"embeddings": wide}
        if self.technique == WEIGHT_ONLY:
            wide = min(each for each in PACKED if each > bits)
            default: dict[str, object] = {} if self.mixed else {"default": f"w{bits}"}
            return wide, MIXED, {**default, "layers": {name: f"w{wide}"}}
        wide = min(8, bits + MORE)
        if self.mixed:
            return wide, MIXED, {"layers": {name: f"w{wide}a8"}}
        return wide, STATIC, {"layer_bits": {self.pattern: wide}}


def written(
    layer: LayerError, layers: Sequence[LayerError] = (), made_by: Sequence[Step] = ()
) -> Written:
    """The form of a layer among those of its file, which such steps of a recipe made."""
    steps = tuple(made_by)
    techniques = {step.technique for step in steps}
    if MIXED in techniques:
        # A step of its own may have packed the tables.
        apart = layer.op_type == TABLE and WEIGHT_ONLY in techniques
        return Written(layer, _technique(layer), not apart, steps)
    # Tables have a technique of their own beside any other.
    weighted = [each for each in layers if each.weight and each.op_type != TABLE]
    forms = {_technique(each) for each in weighted if each.weight_bits or _is_rounded(each)}
    mixed = len(forms) > 1 and layer.op_type != TABLE
    return Written(layer, _technique(layer), mixed, steps)


def keeps_float(config: dict[str, object]) -> bool:
    """Whether settings leave layers float."""
    formats = config.get("layers")
    mixed = isinstance(formats, dict) and "float32" in formats.values()
    return mixed or "keep_float" in config


def is_left_float(layer: LayerError) -> bool:
    """Whether a layer has weights that the file keeps as the floats they were."""
    return bool(layer.weight) and layer.weight_bits is None and not _is_rounded(layer)


def _technique(layer: LayerError) -> str:
    grid = layer.grid
    if grid is not None:
        return DYNAMIC if grid.dynamic else STATIC
    if layer.weight_bits is not None:
        return WEIGHT_ONLY
    return FLOAT16 if _is_rounded(layer) else STATIC


def _is_rounded(layer: LayerError) -> bool:
    """Whether weights without codes are others than the original's: floats of fewer bits."""
    return bool(layer.weight) and layer.weight_bits is None and layer.parts.weights > NOTHING
