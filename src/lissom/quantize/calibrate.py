"""Ranges of activations from calibration data, each tensor by the observer set for it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from lissom.errors import ModelError
from lissom.graph.capture import capture
from lissom.graph.weights import names_of, refuse_idle_globs
from lissom.quantize.affine import Affine, affine_of_range
from lissom.quantize.existing import existing_affine
from lissom.quantize.histogram import Extremes, Histogram
from lissom.quantize.placement import Placement, is_absorbed
from lissom.quantize.ranges import (
    Range,
    auto_range,
    entropy_range,
    minmax_range,
    mse_range,
    percentile_range,
)
from lissom.technique import Config

Observer = Literal["auto", "minmax", "percentile", "mse", "entropy"]


class LayerRange(Config):
    """How the tensors of some layers differ from the rest.

    Attributes:
        match: a glob of names: of a tensor, or of a layer or its weight, for the tensors that the
            layer reads and makes.
        observer: as in `Calibration`; None leaves it as it is.
        percent: as in `Calibration`; None leaves it as it is.
    """

    match: str
    observer: Observer | None = None
    percent: float | None = Field(default=None, gt=50.0, le=100.0)


class Calibration(Config):
    """How ranges of activations are found.

    Attributes:
        observer: how the range of a tensor is chosen from the values seen: all of them ("minmax"),
            the central `percent` of them ("percentile"), the least squared error ("mse"), the
            least loss of information ("entropy"), or what suits the tensor ("auto").
        percent: share of the values inside the range when the observer is "percentile".
        activations: type of the codes. ONNX Runtime wants uint8 on x86: it rewrites int8 while it
            loads, and leaves float what several nodes read, residual sums for example.
        symmetric: zero in the middle of the codes, as TensorRT wants with int8: 0 of int8, 128 of
            uint8. A ReLU then leaves half of the codes unused and is no longer done by them.
        per_layer: layers that are set apart; the last that matches a tensor counts.
    """

    observer: Observer = "auto"
    percent: float = Field(default=99.99, gt=50.0, le=100.0)
    activations: Literal["uint8", "int8"] = "uint8"
    symmetric: bool = False
    per_layer: tuple[LayerRange, ...] = ()


def calibrate(
    model: ir.Model,
    placement: Placement,
    config: Calibration,
    batches: Iterable[Mapping[str, NDArray[Any]]],
) -> dict[ir.Value, Affine]:
    """Scale and zero point of every placed tensor, in graph order; those it came with stay.

    The data are read once, a batch at a time. There is one scale for a whole tensor and none per
    channel, because an integer kernel sums over the channels of its input before it scales.

    Raises:
        ModelError: a tensor becomes NaN or infinite.
        RequestError: a glob of `per_layer` matches nothing.
    """
    known = {value: affine for value in placement.tensors if (affine := existing_affine(value))}
    measured = [v for v in placement.tensors if v not in placement.same_as and v not in known]
    settings = _settings(placement, config)
    seen: dict[str, Extremes] = {
        value.name or "": Extremes() if settings[value].observer == "minmax" else Histogram()
        for value in measured
    }
    for tensors in capture(model, list(seen), batches if seen else ()):
        for name, array in tensors.items():
            seen[name].observe(array)
            if not seen[name].finite:
                raise ModelError(
                    f"the tensor {name!r} becomes NaN or infinite on the calibration data",
                    where="quantize.static",
                    fix="look for broken samples, or keep the layer float with keep_float",
                )
        del array
        tensors.clear()
    found: dict[ir.Value, Affine] = {}
    for value in placement.tensors:
        source = placement.same_as.get(value)
        if value in known:
            found[value] = known[value]
        elif source is not None:
            found[value] = found[source]
        else:
            low, high = range_of(seen[value.name or ""], settings[value])
            found[value] = codes_for(low, high, config.activations)
    return found


def range_of(seen: Extremes, config: Calibration) -> Range:
    """The range that the observer of a tensor reads from what was seen of it."""
    symmetric = config.symmetric
    if not isinstance(seen, Histogram):
        return minmax_range(seen.low, seen.high, symmetric=symmetric)
    match config.observer:
        case "percentile":
            return percentile_range(seen, config.percent, symmetric=symmetric)
        case "mse":
            return mse_range(seen, symmetric=symmetric)
        case "entropy":
            return entropy_range(seen, symmetric=symmetric)
        case "auto":
            return auto_range(seen, symmetric=symmetric)
        case "minmax":
            return minmax_range(seen.low, seen.high, symmetric=symmetric)


def codes_for(low: float, high: float, activations: Literal["uint8", "int8"]) -> Affine:
    """Scale and zero point of a range; int8 codes are uint8 codes less 128."""
    affine = affine_of_range(low, high)
    if activations == "uint8":
        return affine
    return Affine(affine.scale, np.int8(int(affine.zero_point) - 128))


def _settings(placement: Placement, config: Calibration) -> dict[ir.Value, Calibration]:
    """What holds for each tensor that is measured, `per_layer` applied."""
    layers = set(placement.layers)
    sources: dict[ir.Value, ir.Value] = {}
    names: dict[ir.Value, set[str]] = {}
    for value in placement.tensors:
        # A tensor that takes the parameters of another is set apart by setting that one apart.
        before = placement.same_as.get(value)
        sources[value] = value if before is None else sources[before]
        names.setdefault(sources[value], set()).update(_names(value, layers))
    refuse_idle_globs([each.match for each in config.per_layer], set().union(*names.values()))
    found: dict[ir.Value, Calibration] = {}
    for value, called in names.items():
        changes: dict[str, Any] = {}
        for each in config.per_layer:
            if any(fnmatch.fnmatchcase(name, each.match) for name in called):
                changes |= each.model_dump(exclude={"match"}, exclude_none=True)
        found[value] = config.model_copy(update=changes)
    return found


def _names(value: ir.Value, layers: set[ir.Node]) -> Iterator[str]:
    """Everything a tensor may be called by."""
    yield value.name or ""
    maker = value.producer()
    while maker is not None:
        yield from names_of(maker)
        source = maker.inputs[0] if maker.inputs and is_absorbed(maker) else None
        maker = source.producer() if source is not None else None
    for use in value.uses():
        if use.node in layers and use.idx == 0:
            yield from names_of(use.node)
