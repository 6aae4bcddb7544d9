"""Chooses codes and biases again, so that the network says what the float one did.

Layers are taken in the order in which they run. For each, its inputs are those of the quantized
network with all layers before it done, its target what it gives in the float network (as He et al.
2017, section 3.3, do for pruning): so errors of earlier layers are made up for as far as they can
be. Layers that do not wait for each other share a stretch of the replay; the calibration data go
through both networks about once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor
from lissom.labelled import batch_rows
from lissom.quantize.integer_layer import IntegerLayer
from lissom.quantize.moments import Means, Moments
from lissom.quantize.observed import Observed
from lissom.quantize.recode import correct, recode, takes_bias
from lissom.quantize.replay import Replay, depths
from lissom.quantize.traced import Traced
from lissom.technique import Track

Batch = Mapping[str, NDArray[Any]]
Layers = Sequence[tuple[IntegerLayer, Traced]]

# Calibration samples that are looked at, and bytes of their inputs, which are kept in memory.
SAMPLES = 512
INPUT_BYTES = 2**28
# Bytes of the sums of one layer; a wider one keeps the nearest codes.
MOST_SUMS = 2**29


def learn(
    model: ir.Model,
    reference: ir.Model,
    layers: Layers,
    batches: Sequence[Batch],
    *,
    rounding: bool,
    seed: int,
    track: Track,
) -> dict[str, str]:
    """Recode the layers of a quantized graph in place, or with `rounding` off correct biases only.

    Args:
        model: the quantized graph.
        reference: the float graph that it was made from.
        layers: its integer layers, and what was around them in the float graph.
        batches: calibration data, some of them as `drawn` gives them.
        rounding: whether codes may change.
        seed: seeds the choice of places.
        track: shows progress.

    Returns:
        Why layers were left as they are, by name.
    """
    left: dict[str, str] = {}
    stages = _stages(model, layers, rounding, left)
    editor = Editor(model)
    said = Replay(reference, [[each.output for _, each in now] for now in stages], batches)
    read = Replay(model, [[_source(layer) for layer, _ in now] for now in stages], batches)
    rounds = zip(stages, said, read, strict=True)
    for now, wanted, found in track(rounds, "learn rounding", len(stages)):
        alone = [rounding and not _shared(layer, layers) for layer, _ in now]
        observed = [
            Observed(layer, traced.window, Moments if each else Means)
            for (layer, traced), each in zip(now, alone, strict=True)
        ]
        total, first = sum(map(batch_rows, batches)), 0
        for batch, one, other in zip(batches, wanted, found, strict=True):
            for each, (layer, traced) in zip(observed, now, strict=True):
                given = one[traced.output]
                each.add(batch, other[_source(layer)], given, first, total, seed)
            first += batch_rows(batch)
        for each, (_, traced), codes in zip(observed, now, alone, strict=True):
            why = recode(editor, each, traced) if codes else correct(editor, each, traced)
            if rounding and not codes:
                why = f"its weight has another use{'; ' * bool(why)}{why}"
            if why:
                left[traced.called] = why
    return left


def expect(
    editor: Editor,
    reference: ir.Model,
    layers: Layers,
    batches: Sequence[Batch],
    *,
    seed: int,
    track: Track,
) -> dict[str, str]:
    """Correct biases by what rounding the weights alone is expected to shift.

    That is (W - W^) E[x] with x as the float network has it (Nagel et al. 2019, eq. 17). They
    derive E[x] from batch norms, which a graph has no more once they are folded; here it is
    measured, in one pass. Arguments and result are those of `learn`.
    """
    left: dict[str, str] = {}
    taking = [(layer, each) for layer, each in layers if takes_bias(layer, each)]
    observed = [Observed(layer, each.window, Means) for layer, each in taking]
    names = [name for _, each in taking for name in (each.source, each.output)]
    (stretch,) = Replay(reference, [names], batches, most=0)
    total, first = sum(map(batch_rows, batches)), 0
    for batch, found in zip(batches, track(stretch, "expect biases", len(batches)), strict=True):
        for each, (_, traced) in zip(observed, taking, strict=True):
            each.add(batch, found[traced.source], found[traced.output], first, total, seed)
        first += batch_rows(batch)
    for each, (_, traced) in zip(observed, taking, strict=True):
        why = correct(editor, each, traced)
        if why:
            left[traced.called] = why
    return left


def drawn(batches: Iterable[Batch], seed: int) -> list[Batch]:
    """Some whole batches, each as likely as any other, in order (Vitter, Algorithm R, 1985).

    At least one, else no more than `SAMPLES` samples and `INPUT_BYTES` bytes, if all batches are
    as large as the first.
    """
    random = np.random.default_rng(seed)
    kept: dict[int, Batch] = {}
    most = 0
    for number, batch in enumerate(batches):
        if not number:
            size = sum(array.nbytes for array in batch.values())
            most = max(1, min(SAMPLES // max(1, batch_rows(batch)), INPUT_BYTES // max(1, size)))
        if len(kept) < most:
            kept[number] = batch
        elif (spot := int(random.integers(number + 1))) < most:
            del kept[sorted(kept)[spot]]
            kept[number] = batch
    return [kept[number] for number in sorted(kept)]


def _stages(
    model: ir.Model, layers: Layers, rounding: bool, left: dict[str, str]
) -> list[list[tuple[IntegerLayer, Traced]]]:
    """Layers that can be done together, in order."""
    depth = depths(model.graph, {layer.node for layer, _ in layers})
    stages: dict[int, list[tuple[IntegerLayer, Traced]]] = {}
    for layer, traced in layers:
        if rounding and (width := _sums(layer)) > MOST_SUMS:
            left[traced.called] = f"its sums would take {width / 1e9:.1f} GB"
            continue
        source = layer.node.inputs[0]
        assert source is not None
        stages.setdefault(depth.get(source, 0), []).append((layer, traced))
    return [stages[at] for at in sorted(stages)]


def _sums(layer: IntegerLayer) -> int:
    """Bytes of the second moments of a layer, those of held-out samples too."""
    channels = layer.scales.size
    depth = layer.weight.size // channels
    group = layer.node.attributes.get_int("group", 1)
    return 2 * 8 * (group * depth**2 + channels * depth)


def _shared(layer: IntegerLayer, layers: Layers) -> bool:
    """Whether another layer reads the same codes."""
    return sum(other.stored is layer.stored for other, _ in layers) > 1


def _source(layer: IntegerLayer) -> str:
    source = layer.node.inputs[0]
    assert source is not None
    return source.name or ""
