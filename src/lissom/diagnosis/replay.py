"""Both networks over the samples: what is off by the time it gets to a layer, and made there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network
from lissom.diagnosis.reals import Quantizer, Reals
from lissom.diagnosis.section import Section
from lissom.graph.capture import capture
from lissom.labelled import batch_rows
from lissom.quantize.output_error import RelativeError, is_signal, largest
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Bytes of the tensors of one batch that are looked at in one pass over the data.
HELD = 256 * 2**20


@dataclass(frozen=True)
class Watch:
    """The tensor of the compressed file in which a layer's result can be seen while it runs."""

    name: str
    quantizer: Quantizer | None

    def real(self, array: Array) -> Array:
        """Codes as the reals they stand for."""
        if self.quantizer is None or array.dtype.kind == "f":
            return array
        scale = self.quantizer.scale
        assert scale is not None
        codes = array.astype(np.float32) - np.float32(self.quantizer.zero_point)
        reals: Array = codes * np.float32(scale)
        return reals


@dataclass
class Accumulated(RelativeError):
    """Running sums of the error of the whole compressed network at one tensor.

    Attributes:
        lost: values that are infinite or NaN where the original's are numbers.
        nan: how many of those are NaN.
        low, high: the extremes where it gives numbers; `truth_low`, `truth_high` the original's.
    """

    lost: int = 0
    nan: int = 0
    low: float = np.inf
    high: float = -np.inf
    truth_low: float = np.inf
    truth_high: float = -np.inf

    def add(self, truth: Array, found: Array) -> None:
        """Take in a batch."""
        if found.size != truth.size:
            return
        super().add(truth, found)
        here = is_signal(truth)
        truth, found = truth[here], found.reshape(truth.shape)[here]
        numbers = found[np.isfinite(found)]
        self.lost += found.size - numbers.size
        self.nan += int(np.count_nonzero(np.isnan(found)))
        if numbers.size:
            self.low = min(self.low, float(numbers.min()))
            self.high = max(self.high, float(numbers.max()))
        if truth.size:
            self.truth_low = min(self.truth_low, float(truth.min()))
            self.truth_high = max(self.truth_high, float(truth.max()))

    @property
    def problem(self) -> str | None:
        """ "dead" or "constant" where the original's tensor is not so."""
        if self.lost or self.truth_high <= self.truth_low or self.high > self.low:
            return None
        return "dead" if self.low == 0.0 else "constant"


@dataclass(frozen=True)
class Replayed:
    """The whole network's error.

    Attributes:
        accumulated: at every layer's result.
        ends: at the outputs, or what they are made of.
        samples: how many there were.
    """

    accumulated: list[Accumulated]
    ends: dict[str, Accumulated]
    samples: int

    @property
    def output_error(self) -> float:
        """Relative squared error, the largest output's; NaN where nothing can be compared."""
        return largest(each.relative for each in self.ends.values())


def watch(section: Section, reals: Reals, compressed: Network) -> Watch | None:
    """Where a layer's result can be seen without keeping the runtime from fusing operators."""
    root = section.matched.root
    quantizer = next(
        (q for q in reals.quantizers.values() if q.source == root and q.scale is not None), None
    )
    readers = compressed.readers.get(root, [])
    if root in compressed.maker or root in compressed.inputs:
        seen_as_float = root in compressed.outputs or any(
            node.op_type != "QuantizeLinear" for node in readers
        )
        if seen_as_float or quantizer is None:
            return Watch(root, None)
    if quantizer is not None and quantizer.codes in compressed.maker:
        return Watch(quantizer.codes, quantizer)
    return None


def replay(
    original: ir.Model,
    compressed: ir.Model,
    batches: Iterable[Batch],
    sums: Sequence[Sums],
    watches: Sequence[Watch | None],
    sizes: Mapping[str, int],
    outputs: Mapping[str, str],
    track: Track,
) -> Replayed:
    """Fill the sums of every layer; the whole network's error there and at the outputs.

    Args:
        original, compressed: the graphs as they run.
        batches: the samples; read once for each group of layers that fits in memory.
        sums: one for each layer, in order; they are filled.
        watches: where the layers' results are seen in the compressed graph.
        sizes: bytes of the original's tensors for one batch, about.
        outputs: where the two are compared, the compressed graph's tensor for the original's.
        track: shown one item a batch.
    """
    accumulated = [Accumulated() for _ in sums]
    ends = {name: Accumulated() for name in outputs}
    parts = list(groups([each.section.needs for each in sums], sizes))
    samples = 0
    for number, group in enumerate(parts):
        last = number == len(parts) - 1
        names = sorted({name for at in group for name in sums[at].section.needs})
        names += [name for name in outputs if last and name not in names]
        seen = [found.name for at in group if (found := watches[at]) is not None]
        seen += list(outputs.values()) if last else []
        label = "layers" if len(parts) == 1 else f"layers, {number + 1} of {len(parts)}"
        passes = zip(
            capture(original, names, batches),
            capture(compressed, seen, batches),
            track(batches, label),
            strict=True,
        )
        for values, others, batch in passes:
            known = {**batch, **values}
            samples += batch_rows(dict(batch)) if last else 0
            for at in group:
                found, matched = watches[at], sums[at].section.matched
                sums[at].add(known)
                if found is not None:
                    real = found.real(others[found.name])
                    real = real if matched.scaling is None else matched.scaling.undo(real)
                    accumulated[at].add(known[matched.tensor], real)
            for name, other in outputs.items() if last else ():
                ends[name].add(values[name], others[other])
            values.clear()
            others.clear()
        for at in group:
            sums[at].section.close()
    return Replayed(accumulated, ends, samples)


def groups(needs: Sequence[set[str]], sizes: Mapping[str, int]) -> Iterator[list[int]]:
    """Layers, in order, whose tensors are looked at together."""
    group: list[int] = []
    held: set[str] = set()
    for at, mine in enumerate(needs):
        more = held | mine
        if group and sum(sizes.get(name, 0) for name in more) > HELD:
            yield group
            group, more = [], mine
        group.append(at)
        held = more
    if group:
        yield group
