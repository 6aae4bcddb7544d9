"""What `lissom diagnose` finds: where a compressed network's error comes from, layer by layer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lissom.recipe.schema import Step

Cause = Literal[
    "weights", "rounding", "clipping", "saturation", "bias", "activation", "unexplained"
]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parts(_Facts):
    """The error added at a layer, split by what makes it: shares of the signal's power there.

    Each is the mean squared error that this cause alone makes at the layer's output, divided by the
    output's mean square in the original; causes interact, so they need not add up to the whole.

    Attributes:
        weights: weights rounded (or stored with fewer bits), everything else exact.
        rounding: inputs rounded to their grid where they lie inside its range.
        clipping: inputs outside of the range of their grid.
        saturation: the kernel's own sums against exact integer arithmetic.
        bias: the stored bias against the original's, everything else exact.
        activation: the original's ReLU or Clip, which the compressed network does not have: it was
            left to codes whose grid reaches beyond its ends.
        shift: the constant part of the whole error, a shift of each channel's mean, whatever made
            it; no cause of its own but a part of the others, which bias correction takes away.
    """

    weights: float = 0.0
    rounding: float = 0.0
    clipping: float = 0.0
    saturation: float = 0.0
    bias: float = 0.0
    activation: float = 0.0
    shift: float = 0.0


class Channels(_Facts):
    """The channels of a tensor that decide its grid.

    Attributes:
        axis: "input" or "output" channels of the layer's weight, or "activation".
        count: how many channels there are.
        worst: indices of those that hold the range, at most eight, the widest first.
        spread: largest magnitude of the widest channel over the median channel's.
    """

    axis: Literal["input", "output", "activation"]
    count: int
    worst: tuple[int, ...]
    spread: float


class Grid(_Facts):
    """The range of codes of a layer's input next to what was seen of it.

    `counts` are values in equal bins between `low` and `high`, the extremes seen; `clip_low` and
    `clip_high` are the ends of the grid; `bits` its width; `dynamic` says that the range is found
    anew whenever the model runs.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    clip_low: float
    clip_high: float
    bits: int = 8
    clipped: float = 0.0
    dynamic: bool = False


class Gain(_Facts):
    """What a repair takes away: a part of the output's squared error, negative where that grows.

    `error` is its standard error, by the few samples that it was measured on.
    """

    part: float
    error: float

    @property
    def told(self) -> bool:
        """Whether it is known to a third."""
        return self.error <= abs(self.part) / 3


class LayerError(_Facts):
    """One layer of the original and what became of it.

    Attributes:
        name: of the original's node, or of its output where it has none.
        named: whether its node has that name.
        op_type: of the original's node.
        weight: the name of the original's constant that it multiplies by, "" where there is none.
        output: the tensor of the original that is compared.
        added: relative squared error made here, with the layer's inputs taken from the original.
        accumulated: relative squared error of the whole compressed network up to here.
        share: of the output's squared error that is made here: what is left when only this layer's
            added error is put into the original, over the sum of that of all layers. None where it
            was not measured.
        parts: `added` by cause.
        channels: those that matter most, or None.
        grid: of the layer's input, or None where it is not quantized to 8 bits or fewer.
        weight_bits: width of the stored weight codes; None if they are floats.
        problem: "dead" or "constant" where the compressed tensor is so and the original's is not.
        gains: the part of the output's squared error that goes when this layer alone is repaired
            in the compressed network, all others left as they are: under "layer" when it computes
            from its own inputs what the original does, under a cause when only that is taken away.
            Empty where it was not measured. Unlike shares these hold where errors cancel, or add
            up with one sign.
    """

    name: str
    op_type: str
    output: str
    added: float
    accumulated: float
    share: float | None = None
    parts: Parts = Parts()
    channels: tuple[Channels, ...] = ()
    grid: Grid | None = None
    weight_bits: int | None = None
    problem: Literal["dead", "constant"] | None = None
    gains: dict[str, Gain] = {}
    named: bool = True
    weight: str = ""


class Shift(_Facts):
    """A tensor of the original on the calibration data and on those it is diagnosed with.

    Attributes:
        tensor: its name.
        layer: the first layer that reads it through a quantizer, None for an input of the model.
        calibration, validation: the extremes seen on either.
        beyond_before, beyond: share of the values outside of the layer's grid, or of the extremes
            of calibration where there is no grid, on calibration and on validation data.
        distance: between the two distributions: total variation, 0 where they are alike, 1 where
            they have no value in common.
        usual: the same between two halves of the calibration data, what chance makes.
    """

    tensor: str
    layer: str | None
    calibration: tuple[float, float]
    validation: tuple[float, float]
    beyond_before: float
    beyond: float
    distance: float
    usual: float


class LayerTime(_Facts):
    """What one layer takes, in milliseconds of a run, in both files.

    Attributes:
        name: of the layer, as in `LayerError`.
        original, compressed: of its kernels, turning stored weights to floats among them.
        conversions: between codes and floats, or memory layouts, that the compressed file has
            around it beyond those of the original.
        fused: other layers that one of the files runs in the same kernel, so that only their
            sum with this one can be compared.
        difference: what the compressed file takes longer, negative where it is faster, of the
            layer and `fused` with their conversions: the least, the median and the most of all
            openings of the files.
        runs: how the compressed file runs it: as "integer", moving "codes", as "float", "gone".
        why, fix: why it runs as float although its input or weight is quantized; "" otherwise.
        node: of the compressed file that does most of the layer's work.
        kept_float: by how much a run of the compressed file took longer with this layer's weights
            in float: the least, the median and the most. None where that was not tried.
        bytes: of its tensors in the original and in the compressed file; None where unknown.
    """

    name: str
    original: float
    compressed: float
    conversions: float = 0.0
    fused: tuple[str, ...] = ()
    difference: tuple[float, float, float] = (0.0, 0.0, 0.0)
    runs: Literal["integer", "codes", "float", "gone", ""] = ""
    why: str = ""
    fix: str = ""
    node: str = ""
    kept_float: tuple[float, float, float] | None = None
    bytes: tuple[int, int] | None = None


class Times(_Facts):
    """Where the time of a run goes in both files: milliseconds on this machine.

    Attributes:
        original, compressed: of a whole run.
        conversions: in either file, between codes and floats and between memory layouts.
        rest: in either file, of what belongs to no layer.
        threads: of the runtime.
        inputs: shapes of one run's inputs, in words.
        layers: in graph order.
    """

    original: float
    compressed: float
    conversions: tuple[float, float]
    rest: tuple[float, float]
    threads: int
    inputs: str
    layers: tuple[LayerTime, ...]

    def of(self, layer: str) -> LayerTime | None:
        """The times of a layer."""
        return next((each for each in self.layers if each.name == layer), None)


Why = Literal["scale", "constant", "float16 weight", "float16", ""]


class NotFinite(_Facts):
    """Where the compressed network first gives what is infinite or NaN, and the original numbers.

    Attributes:
        layer: the first layer, in graph order, whose result has such values; None where only the
            outputs have.
        part, nan: of the values there, those that are infinite or NaN, and those that are NaN.
        largest: magnitude of the original's values there.
        why: a "scale" that is zero or no number, a "constant" that holds such values, a "float16
            weight" that does, arithmetic in "float16"; "" where none of these is found.
        tensor: the constant that is to blame, "" without one.
    """

    layer: str | None
    part: float
    nan: float
    largest: float
    why: Why = ""
    tensor: str = ""


class Verdict(_Facts):
    """A sentence about one layer or the whole network, and what to do.

    Attributes:
        layer: the layer's name, None for the network.
        cause: what it is about; beyond the causes of a layer's error also "data" (calibration does
            not represent validation), "dead", "not finite", "unknown" (nothing can be
            compared), "slow" and "healthy".
        share: of the output's error, as far as it is known.
        words: the whole sentence.
        remedy: what to do, in words that name a lissom setting; "" if nothing need be done.
        technique: the technique the remedy uses, and `config` its settings; None without one.
        gain: the part of the output's squared error that the remedy is expected to take away.
        ms, bytes: by how much a run and the file change with the remedy, None where unknown.
    """

    layer: str | None
    cause: str
    share: float | None
    words: str
    remedy: str = ""
    technique: str | None = None
    config: dict[str, object] = {}
    gain: float | None = None
    ms: float | None = None
    bytes: int | None = None


class Diagnosis(_Facts):
    """All that `lissom diagnose` tells.

    Attributes:
        schema_version: of this record; it changes when a field changes its meaning.
        original, compressed: the files' names.
        inputs: what it was looked at with, in words, and how many samples.
        made_up: whether the inputs are numbers that nobody measured, for want of data.
        output_error: relative squared error of the outputs, the largest of them, as this machine
            computes them. Infinite where numbers of the original are none in the compressed
            network, NaN where nothing can be compared; its masks and infinite values count for
            nothing.
        measured_at: tensors of the original that stand for its outputs in all errors, as the
            outputs are labels or of no fixed size; empty where they are compared themselves.
        not_finite: where the outputs lost numbers, None where they are all there.
        emulated_error: the same with what saturates on the processor asked for, on at most 128
            samples; None where this machine's kernels compute as that processor's do.
        alone: the errors of the output that each layer makes alone, in sum: near `output_error`
            where layers neither add to each other's errors nor take from them. On fewer samples.
        layers: in graph order.
        unmatched: layers of the original that have no counterpart, with the reason.
        verdicts: the most important first.
        saturates_here: whether this machine's kernels add in 16 bits; where not, saturation is
            emulated.
        pair_sums: whether saturation is counted in added errors and shares. Where it is not, it is
            what a machine that adds in 16 bits would make besides.
        shifts: how calibration and validation data differ, empty where that was not asked for.
        quality: the task's metric of original and compressed in words, "" without a task.
        times: where the time of a run goes, None where it was not measured.
        made_by: the steps of the recipe that made the compressed file, in order; none where
            its folder has no such recipe.
    """

    schema_version: int = 1
    original: str
    compressed: str
    inputs: str
    made_up: bool = False
    samples: int
    output_error: float
    emulated_error: float | None = None
    alone: float = 0.0
    layers: tuple[LayerError, ...]
    unmatched: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    saturates_here: bool = False
    pair_sums: bool = False
    shifts: tuple[Shift, ...] = ()
    quality: str = ""
    times: Times | None = None
    made_by: tuple[Step, ...] = ()
    measured_at: tuple[str, ...] = ()
    not_finite: NotFinite | None = None

    @property
    def error(self) -> float:
        """Of the outputs on the processor asked for."""
        return self.output_error if self.emulated_error is None else self.emulated_error
