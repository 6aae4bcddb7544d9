"""What allocations of mixed precision are computed from: errors, bytes and times of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lissom.onnx_file import read_onnx
from lissom.quantize.formats import layers_of, tied
from lissom.recipe.run import run
from lissom.recipe.store import Store
from lissom.search.allocate import allocate, front
from lissom.search.candidates import BASELINE
from lissom.search.formats import recipe_of
from lissom.search.latency_table import latency_table
from lissom.search.ready import Ready
from lissom.search.sensitivity import SAMPLES, measured_sensitivity
from lissom.search.size_table import size_table
from lissom.tables import Allocation, Format, LatencyTable, Rounding, Sensitivity, SizeTable
from lissom.technique import Track

# Seconds of timing for each file of the latency table, and files of it that mix two formats.
TIMING, PATTERNS = 3.0, 4


@dataclass(frozen=True)
class Tables:
    """What allocations are computed from; `ms` is None where layers cannot be timed."""

    sensitivity: Sensitivity
    bytes: SizeTable
    ms: LatencyTable | None
    tied: tuple[tuple[str, ...], ...]

    def allocate(self, most_bytes: int, most_ms: float | None) -> Allocation:
        """The allocation of least error within limits.

        Raises:
            RequestError: there is none.
        """
        return allocate(
            self.sensitivity,
            self.bytes,
            self.ms,
            most_bytes=most_bytes,
            most_ms=most_ms,
            tied=self.tied,
        )

    def uniform(self, form: Format) -> Allocation:
        """All layers that a format applies to in it."""
        layers = self.sensitivity.layers
        return Allocation(formats={layer.name: form for layer in layers if form in layer.errors})

    def front(self, limits: int, track: Track) -> tuple[Allocation, ...]:
        """The front of error against bytes, up to the largest network in one format of integers:
        beyond it are layers in float, many bytes for little.

        Raises:
            RequestError: the solver found no choice of formats in its time.
        """
        forms = set(self.sensitivity.formats)
        sizes = [self.bytes.predict(self.uniform(f)) for f in forms - {"float16"} or forms]
        return front(
            self.sensitivity,
            self.bytes,
            tied=self.tied,
            limits=limits,
            most=max(sizes, default=None),
            track=track,
        )

    def least_bytes(self, most_ms: float | None) -> int:
        """The fewest bytes that an allocation within a limit on the time takes.

        Raises:
            RequestError: there is none.
        """
        found = allocate(
            self.sensitivity, self.bytes, self.ms, most_ms=most_ms, tied=self.tied, least="bytes"
        )
        return self.bytes.predict(found)

    def least_ms(self) -> float:
        """Milliseconds of the fastest network in one format."""
        assert self.ms is not None
        forms = {form for known in self.ms.layers.values() for form in known}
        found = []
        for form in sorted(forms):
            layers = {name: form for name, known in self.ms.layers.items() if form in known}
            found.append(self.ms.predict(Allocation(formats=layers)))
        return min(found)


def tables_of(ready: Ready, store: Store, formats: Sequence[Format], rounding: Rounding) -> Tables:
    """Measure a network's layers in these formats; each table is kept in the store.

    Raises:
        ModelError: the network cannot be brought into a format, or its layers not be found.
    """
    start, context, task = ready.prepared.built, ready.context, ready.task
    assert task is not None
    target = ready.targets[0]
    sensitivity = measured_sensitivity(
        start, task, tuple(formats), SAMPLES, context, store, target, rounding=rounding
    )
    base = run(BASELINE, start, context, store)
    original = read_onnx(base.path, check_weights=False)
    uniform = {
        form: read_onnx(run(recipe_of(form), base, context, store).path, check_weights=False)
        for form in formats
    }
    ms = None
    if target.clock is not None and target.here:
        ms = latency_table(
            start,
            ready.feeds,
            context,
            store,
            target=target,
            formats=formats,
            threads=ready.request.settings.threads,
            seconds=TIMING,
        )
    return Tables(sensitivity, size_table(original, uniform), ms, tied(layers_of(original)))
