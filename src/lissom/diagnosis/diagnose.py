"""Where a compressed network's error comes from: the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.anchors import Anchor, anchors, original_network
from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network, network_of
from lissom.diagnosis.data import shifts
from lissom.diagnosis.kernel import integer_outputs, kernel
from lissom.diagnosis.match import Matched, match, watched
from lissom.diagnosis.reals import SWITCHES, Reals
from lissom.diagnosis.repaired import gains
from lissom.diagnosis.replay import Accumulated, replay, watch
from lissom.diagnosis.rescaled import rescaled
from lissom.diagnosis.rewrite import in_reals
from lissom.diagnosis.same import fitting, refuse_unrelated
from lissom.diagnosis.section import sections
from lissom.diagnosis.share import NEGLIGIBLE, alone
from lissom.onnx_file import read_onnx
from lissom.report.diagnosis import Diagnosis, Gain, LayerError
from lissom.targets.onnxruntime import kernels_saturate
from lissom.technique import Track, silent

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Samples on which shares are measured; gains, which are differences, vary more. A few at a time.
SHARING, REPAIRING, PIECE = 32, 128, 4


def diagnose(
    original: Path,
    compressed: Path,
    batches: Iterable[Batch],
    *,
    calibration: Iterable[Batch] | None = None,
    inputs: str = "given inputs",
    pair_sums: bool | None = None,
    track: Track = silent,
) -> Diagnosis:
    """Every layer's error and its causes; the verdicts are left empty.

    Args:
        original: a float ONNX file.
        compressed: another that computes the same, quantized by anyone.
        batches: inputs of the original by name, re-iterable, one batch in memory at a time.
        calibration: what the compressed file was calibrated with, to be compared with `batches`.
        inputs: what the batches are, in words.
        pair_sums: whether the processor that the file is for adds products of 8-bit codes in
            pairs of 16 bits, so that what saturates belongs to the error; this machine where left
            out. What saturates is always told as a part, emulated.
        track: shows progress.

    Raises:
        ModelError: the two do not compute the same, or one of them cannot be run.
    """
    names = fitting(original, compressed)
    first = original_network(original)
    reals = in_reals(read_onnx(compressed, check_weights=False))
    second = Network(reals.proto)
    pieces = _samples(batches, SHARING)
    layers = anchors(first)
    matches, without, sizes, values = _matched(first, second, reals, layers, pieces[0])
    plain = network_of(read_onnx(compressed, check_weights=False))
    parts = rescaled(sections(matches, reals, second, plain), values, first.outputs)
    refuse_unrelated(parts, values, compressed)
    counted = kernels_saturate() if pair_sums is None else pair_sums
    integers = integer_outputs(compressed)
    sums = [Sums(each, kernel(each, reals, integers), counted=counted) for each in parts]
    graph = ir.serde.deserialize_model(first.model)
    accumulated, ends, samples = replay(
        graph,
        read_onnx(compressed, check_weights=False),
        batches,
        sums,
        [watch(section, reals, plain) for section in parts],
        sizes,
        names,
        track,
    )
    made = alone(first, sums, pieces, sizes, track)
    whole = sum(made)
    repaired = gains(first, second, sums, made, _samples(batches, REPAIRING), names, track)
    told = [
        _told(each, seen, error / whole if whole > 0 else 0.0, gained)
        for each, seen, error, gained in zip(sums, accumulated, made, repaired, strict=True)
        if (each.section.layer is not None and not each.section.layer.looks_up)
        or each.added > NEGLIGIBLE
    ]
    return Diagnosis(
        original=original.name,
        compressed=compressed.name,
        inputs=inputs,
        samples=samples,
        output_error=max(each.relative for each in ends.values()),
        alone=whole,
        layers=tuple(told),
        unmatched=tuple(without),
        saturates_here=kernels_saturate(),
        pair_sums=counted,
        shifts=()
        if calibration is None
        else shifts(graph, parts, calibration, batches, sizes, track),
    )


def _told(
    sums: Sums, accumulated: Accumulated, share: float, gained: dict[str, Gain]
) -> LayerError:
    section = sums.section
    anchor = section.matched.anchor
    problem: Any = accumulated.problem
    return LayerError(
        name=anchor.name,
        op_type=anchor.op_type,
        output=section.matched.tensor,
        added=sums.added,
        accumulated=accumulated.relative,
        share=share,
        parts=sums.parts(),
        channels=sums.channels(),
        grid=sums.grid(),
        weight_bits=section.bits,
        problem=problem,
        gains=gained,
    )


def _samples(batches: Iterable[Batch], rows: int) -> list[Batch]:
    """So many rows in all, as evenly as may be from the first few batches."""
    first = list(islice(batches, rows // PIECE))
    each = -(-rows // max(1, len(first)))
    return [
        {name: array[at : min(at + PIECE, each)] for name, array in batch.items()}
        for batch in first
        for at in range(0, min(each, len(next(iter(batch.values())))), PIECE)
    ]


def _matched(
    first: Network,
    second: Network,
    reals: Reals,
    layers: Sequence[Anchor],
    sample: Batch,
) -> tuple[list[Matched], list[tuple[str, str]], dict[str, int], dict[str, Array]]:
    """Match on a sample; also the bytes of the original's tensors for a batch, and their values."""
    tensors = [name for layer in layers for name in layer.tensors]
    values = first.between((), tensors).session({})(sample)
    switches = {name: np.asarray(True) for name in SWITCHES}
    candidates = watched(reals, second)
    others = second.between((), candidates).session({})({**sample, **switches})
    found, without = match(layers, values, reals, others)
    rows = len(next(iter(sample.values())))
    sizes = {name: array.nbytes // max(1, rows) * 32 for name, array in values.items()}
    return found, without, sizes, {**sample, **values}
