"""Where a compressed network's error comes from: the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.anchors import Anchor, anchors, original_network
from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network, network_of
from lissom.diagnosis.data import shifts
from lissom.diagnosis.elsewhere import emulated_error
from lissom.diagnosis.ends import ends
from lissom.diagnosis.halves import computes_in_halves, in_float32
from lissom.diagnosis.kept import Keep, unkept
from lissom.diagnosis.kernel import integer_outputs, kernel
from lissom.diagnosis.match import Matched, match, watched
from lissom.diagnosis.not_finite import not_finite
from lissom.diagnosis.pieces import free_inputs, pieces
from lissom.diagnosis.reals import SWITCHES, Reals
from lissom.diagnosis.repaired import REPAIRING, gains
from lissom.diagnosis.replay import Accumulated, replay, watch
from lissom.diagnosis.rescaled import rescaled
from lissom.diagnosis.rewrite import in_reals
from lissom.diagnosis.running import Running
from lissom.diagnosis.same import fitting, refuse_unrelated
from lissom.diagnosis.section import sections
from lissom.diagnosis.share import NEGLIGIBLE, alone, shares
from lissom.diagnosis.summed import as_numbers, fill
from lissom.labelled import batch_rows
from lissom.onnx_file import read_onnx
from lissom.report.diagnosis import Diagnosis, Gain, LayerError, Shift
from lissom.targets.onnxruntime import kernels_saturate
from lissom.technique import Track, silent

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Samples on which shares are measured.
SHARING = 32


def diagnose(
    original: Path,
    compressed: Path,
    batches: Iterable[Batch],
    *,
    calibration: Iterable[Batch] | None = None,
    inputs: str = "given inputs",
    pair_sums: bool | None = None,
    keep: Keep = unkept,
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
        keep: keeps what takes long, part by part: one that is there already is not computed again.
        track: shows progress.

    Raises:
        ModelError: the two do not compute the same, or one of them cannot be run.
    """
    outputs = fitting(original, compressed)
    first = original_network(original)
    reals = in_reals(read_onnx(compressed, check_weights=False))
    second = Network(reals.proto)
    free = free_inputs(original, compressed)
    few = pieces(batches, free, SHARING)
    layers = anchors(first)
    matches, without, sizes, values = matched(first, second, reals, layers, few[0])
    file = read_onnx(compressed, check_weights=False)
    plain = wide = network_of(file)
    if computes_in_halves(file):
        wide = network_of(in_float32(file))
    names = ends(first, plain, second, outputs)
    parts = rescaled(sections(matches, reals, second, wide), values, first.outputs)
    refuse_unrelated(parts, values, compressed)
    counted = kernels_saturate() if pair_sums is None else pair_sums
    integers = integer_outputs(compressed)
    sums = [Sums(each, kernel(each, reals, integers), counted=counted) for each in parts]
    graph = ir.serde.deserialize_model(first.model)

    def measured() -> dict[str, Any]:
        watches = [watch(section, reals, plain) for section in parts]
        as_it_runs = read_onnx(compressed, check_weights=False)
        found = replay(graph, as_it_runs, batches, sums, watches, sizes, names, track)
        return as_numbers(sums, found)

    replayed = fill(sums, keep("layers", measured))
    answers = list(Running(second, sums, few, names).outputs())
    made = alone(first, sums, few, answers, sizes, track, keep)
    whole = sum(each.error for each in made)
    running = Running(second, sums, pieces(batches, free, REPAIRING), names)
    repaired = gains(first, running, sums, made, track, keep)
    emulates = counted and not kernels_saturate() and any(each.kernel for each in sums)
    emulated = keep("emulated", lambda: emulated_error(first, running)) if emulates else None
    parts_of_it = shares(made) if names else [None] * len(made)
    told = [
        _told(each, seen, share, gained)
        for each, seen, share, gained in zip(
            sums, replayed.accumulated, parts_of_it, repaired, strict=True
        )
        if (each.section.layer is not None and not each.section.layer.looks_up)
        or each.added > NEGLIGIBLE
    ]

    def compared() -> list[dict[str, Any]]:
        if calibration is None:
            return []
        found = shifts(graph, parts, calibration, batches, sizes, track)
        return [each.model_dump() for each in found]

    return Diagnosis(
        original=original.name,
        compressed=compressed.name,
        inputs=inputs,
        samples=replayed.samples,
        output_error=replayed.output_error,
        measured_at=tuple(name for name in names if name not in outputs),
        not_finite=not_finite(sums, replayed, compressed),
        emulated_error=emulated,
        alone=whole,
        layers=tuple(told),
        unmatched=tuple(without),
        saturates_here=kernels_saturate(),
        pair_sums=counted,
        shifts=tuple(Shift.model_validate(each) for each in keep("shifts", compared)),
    )


def _told(
    sums: Sums, accumulated: Accumulated, share: float | None, gained: dict[str, Gain]
) -> LayerError:
    section = sums.section
    anchor = section.matched.anchor
    problem: Any = accumulated.problem
    return LayerError(
        name=anchor.name,
        named=anchor.named,
        op_type=anchor.op_type,
        weight=anchor.weight,
        output=section.matched.tensor,
        added=sums.added,
        accumulated=accumulated.relative if accumulated.count else 0.0,
        share=share,
        parts=sums.parts(),
        channels=sums.channels(),
        grid=sums.grid(),
        weight_bits=section.bits,
        problem=problem,
        gains=gained,
    )


def matched(
    first: Network,
    second: Network,
    reals: Reals,
    layers: Sequence[Anchor],
    sample: Batch,
) -> tuple[list[Matched], list[tuple[str, str]], dict[str, int], dict[str, Array]]:
    """Match on a sample; also bytes of the original's tensors for 32 samples, and their values."""
    tensors = [name for layer in layers for name in layer.tensors]
    values = first.between((), tensors).session({})(sample)
    switches = {name: np.asarray(True) for name in SWITCHES}
    candidates = watched(reals, second)
    others = second.between((), candidates).session({})({**sample, **switches})
    found, without = match(layers, values, reals, others, second)
    rows = batch_rows(dict(sample))
    sizes = {name: array.nbytes // max(1, rows) * 32 for name, array in values.items()}
    return found, without, sizes, {**sample, **values}
