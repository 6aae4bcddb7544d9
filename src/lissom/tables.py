"""What was found out about a network's layers, as frozen data that techniques and people take.

Layers are called as their nodes in the ONNX graph; where the network was exported from torch, also
as their modules. All of it goes to JSON or YAML and back unchanged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from lissom.errors import RequestError

Format = Literal[
    "float32", "float16",
    "w8a8", "w7a8", "w6a8", "w5a8", "w4a8", "w3a8", "w2a8",
    "w8a8 dynamic",
    "w8", "w4", "w2",
]  # fmt: skip
FORMATS: tuple[Format, ...] = get_args(Format)
# Weights of so many bits and activations of 8, with ranges from calibration data.
STATIC: dict[Format, int] = {
    "w8a8": 8, "w7a8": 7, "w6a8": 6, "w5a8": 5, "w4a8": 4, "w3a8": 3, "w2a8": 2,
}  # fmt: skip
# Weights of so many bits that become floats, or integers in groups, where they are used.
WEIGHT_ONLY: dict[Format, int] = {"w8": 8, "w4": 4, "w2": 2}
# How codes of weights are chosen in the static formats, as of quantize.static.
Rounding = Literal["nearest", "learned"]
Number = TypeVar("Number", int, float)


def _read_error(value: Any) -> Any:
    """JSON has no word for what is infinite, which is written as null."""
    return math.inf if value is None or value != value else value


# A squared error as a share of a power: infinite, and null in JSON, where outputs overflow.
Error = Annotated[
    float,
    BeforeValidator(_read_error),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]


class Table(BaseModel):
    """A frozen piece of what was found out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerSensitivity(Table):
    """What each format of one layer does to the outputs while all others stay as they were.

    Attributes:
        name: of its node in the graph.
        module: of the torch module it was exported from, or None.
        op_type: of its node.
        weights: how many there are.
        errors: mean squared error of the outputs over their mean square, by format; the output
            that it is largest for; infinite where they overflow. A format that does not apply to
            the layer is left out.
    """

    name: str
    module: str | None = None
    op_type: str
    weights: int = Field(ge=0)
    errors: dict[Format, Error]


class Pair(Table):
    """Two layers in one format at once: the sum of their errors against what was measured."""

    one: str
    other: str
    format: Format
    predicted: Error
    measured: Error


class Sensitivity(Table):
    """The error that every layer alone makes in every format.

    Attributes:
        schema_version: of this record; it changes when a field changes its meaning.
        model: digest of the network, "sha256:...".
        data: digest of the samples.
        samples: how many were looked at.
        formats: those that were tried, float32 not among them: it has no error.
        rounding: how codes were chosen in the static ones.
        layers: in the order of the graph.
        whole: the error of the network with all layers in one format, which tells how far the
            errors of layers add up.
        pairs: pairs of layers measured together, which tell the same.
        lost: layers that could not be found again in the file of a format.
    """

    schema_version: int = 1
    model: str
    data: str
    samples: int = Field(gt=0)
    formats: tuple[Format, ...]
    rounding: Rounding = "nearest"
    layers: tuple[LayerSensitivity, ...]
    whole: dict[Format, Error] = {}
    pairs: tuple[Pair, ...] = ()
    lost: dict[Format, tuple[str, ...]] = {}

    def predict(self, allocation: Allocation) -> float:
        """The outputs' relative error in an allocation: errors of layers add up.

        Raises:
            RequestError: a layer is given a format that it was not measured in, or is unknown.
        """
        layers = {layer.name: layer.errors for layer in self.layers}
        return sum(_at(layers, name, form) for name, form in allocation.quantized.items())


class SizeTable(Table):
    """What every layer takes in the file: bytes by layer and format, scales included.

    `rest` is what is in the file whatever the formats.
    """

    layers: dict[str, dict[Format, int]]
    rest: int = Field(ge=0)

    def predict(self, allocation: Allocation) -> int:
        """Bytes of the file in an allocation.

        Raises:
            RequestError: a layer is given a format that has no size here.
        """
        sizes = (_at(self.layers, name, allocation.of(name)) for name in self.layers)
        return self.rest + sum(sizes)


class Change(Table):
    """What it costs that a tensor is made as codes and read as floats, or the other way round.

    Attributes:
        tensor: its name in the graph.
        before: the layer that makes it, None for an input of the graph, which is floats.
        after: a layer that reads it, None for an output of the graph, which is floats.
        ms: milliseconds, whoever of its readers it is for: a tensor changes once for all of them.
    """

    tensor: str
    before: str | None
    after: str | None
    ms: float


class LatencyTable(Table):
    """Milliseconds of every layer in every format, measured on a target.

    Attributes:
        target: the runtime.
        machine: digest of what it ran on.
        threads: of the runtime.
        feeds: digest of shapes and values that it was fed.
        layers: milliseconds by layer and format.
        changes: costs where formats change between neighbours.
        rest: milliseconds of all else.
        spread: how far times of the same file lay apart, and sums of this table from runs of the
            files it was made from, as a share: the largest. Others used the machine where it is
            more than a tenth.
    """

    target: str
    machine: str
    threads: int = Field(gt=0)
    feeds: str
    layers: dict[str, dict[Format, float]]
    changes: tuple[Change, ...] = ()
    rest: float = 0.0
    spread: float = Field(default=0.0, ge=0)

    def predict(self, allocation: Allocation) -> float:
        """Milliseconds of the network in an allocation.

        Raises:
            RequestError: a layer is given a format that was not measured here.
        """
        layers = sum(_at(self.layers, name, allocation.of(name)) for name in self.layers)
        changed: dict[str, float] = defaultdict(float)
        for change in self.changes:
            if allocation.has_codes(change.before) != allocation.has_codes(change.after):
                changed[change.tensor] = max(changed[change.tensor], change.ms)
        return layers + self.rest + sum(changed.values())


class Allocation(Table):
    """A format for every layer, to be edited by hand: a layer that is not named stays float32.

    Attributes:
        formats: by layer.
        error, bytes, ms: what the tables predict of it, where they were asked.
    """

    formats: dict[str, Format]
    error: float | None = None
    bytes: int | None = None
    ms: float | None = None

    def of(self, layer: str) -> Format:
        """The format of a layer."""
        return self.formats.get(layer, "float32")

    def has_codes(self, layer: str | None) -> bool:
        """Whether a layer reads and gives 8-bit codes with fixed ranges; None does not."""
        return layer is not None and self.of(layer) in STATIC

    @property
    def quantized(self) -> dict[str, Format]:
        """The layers that do not stay float32."""
        return {name: form for name, form in self.formats.items() if form != "float32"}


def _at(layers: dict[str, dict[Format, Number]], name: str, form: Format) -> Number:
    """What a table holds of a layer in a format."""
    found = layers.get(name, {}).get(form)
    if found is None:
        known = ", ".join(layers[name]) if name in layers else "nothing"
        raise RequestError(
            f"layer {name!r} was not measured in {form}",
            where=f"known of it: {known}",
            fix="choose one of these formats for it, or make the table anew with that format",
        )
    return found
