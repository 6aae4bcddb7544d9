"""Mixed precision within a search: tables of the network, allocations from them, their files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

from lissom.errors import ModelError, RequestError, RunError, TaskError
from lissom.onnx_file import read_onnx
from lissom.recipe.schema import Recipe, Step
from lissom.report.mixed import FrontPoint, MixedFile, MixedLayer
from lissom.report.mixed_words import note
from lissom.report.results import Row, Skipped
from lissom.report.text import size
from lissom.search.attempts import Attempts
from lissom.search.candidates import BASELINE
from lissom.search.choose import UNNOTICED
from lissom.search.comparable import file_error
from lissom.search.formats import recipe_of, usual
from lissom.search.latency_table import disturbed, leeway
from lissom.search.layer_tables import PATTERNS, TIMING, Tables, tables_of
from lissom.search.learned_codes import left_by_learning, with_learned
from lissom.search.looked_at import FEWEST
from lissom.search.request import MIXED
from lissom.search.samples import are_enough
from lissom.tables import STATIC, Allocation, Format, Rounding, SizeTable

NAME = "mixed precision"
# Allocations that are built in one search.
MOST = 3
# Without a limit on the time of a run, an allocation may take so much longer than the fastest:
# single layers in float cost more than they are worth.
SLOWER = 1.02
# Of a limit on the size, what predictions of neighbouring allocations differ by: a thousandth.
MARGIN = 1000
# An allocation that turned out too slow is followed by one that is so many times faster.
FASTER = 1.1
# Sizes that the front of predicted error is looked for at.
LIMITS = 16
# Batches of calibration data that the error of a file is measured on.
BATCHES = 32
LEARNED = {"rounding": "learned"}
# What stands for the tables and a file from them where their time is expected.
TABLES = Recipe(name=NAME, steps=(Step(technique=MIXED, config=LEARNED),))


@dataclass
class Mixing:
    """The mixed precision of one search: rows are added to its attempts, the rest kept here.

    Attributes:
        attempts: the search so far.
        files: what was built, with what was predicted of it.
        notes: the same in sentences.
        front: what could have been built instead, as it is predicted.
    """

    attempts: Attempts
    files: list[MixedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    front: tuple[FrontPoint, ...] = ()

    def of(self) -> None:
        """Measure the tables; then build allocations: with a limit on the size the one of least
        error within it, without one such that would be smaller than what fits so far.

        An allocation that turns out larger or slower than predicted is followed by a tighter one;
        one that loses too much by a wider one.
        """
        why = self._why_not()
        if why is not None:
            self.attempts.skipped.append(Skipped(name=NAME, why=why))
            return
        formats = self._formats()
        if self.attempts.no_time_for(NAME, self._expected(formats)):
            return
        try:
            started = monotonic()
            tables = tables_of(self.attempts.ready, self.attempts.store, formats, self._rounding())
            self.attempts.costs.keep("table", TABLES, monotonic() - started)
            if tables.ms is not None and (told := disturbed(tables.ms)):
                self.notes.append(told)
            tables = with_learned(tables, left_by_learning(self.attempts, tables, BATCHES))
            self.front = self._front(tables)
            if self.attempts.ready.budget.most_bytes is None:
                self._between(tables)
            else:
                self._within(tables, int(self.attempts.ready.budget.most_bytes))
        except (ModelError, RequestError, RunError, TaskError) as error:
            if self.files and isinstance(error, RequestError):
                # Nothing is tighter than what was built.
                return
            where = f" ({error.where})" if error.where else ""
            self.attempts.skipped.append(Skipped(name=NAME, why=f"{error.what}{where}"))

    def _within(self, tables: Tables, limit: int) -> None:
        """The least error inside a limit on the size, tightened by what the files are above it."""
        most, ms = limit, self._most_ms(tables)
        # A time that nobody asked for gives way, to the size and to the drop.
        free = self._asked_ms() is None
        if free and ms is not None and tables.least_bytes(ms) > limit:
            ms = None
        for _ in range(MOST):
            allocation = tables.allocate(most, ms)
            row = self._built(tables, allocation)
            if row is None or not row.misses:
                return
            over = row.measurement.footprint.bytes - limit
            if over > 0:
                # It may be predicted well below the limit: the next one is to be smaller than it,
                # and not by as little as predictions are off.
                most = tables.bytes.predict(allocation) - over - limit // MARGIN
            elif ms is not None and self._is_slow(row):
                ms /= FASTER
            elif ms is not None and free:
                ms = None
            else:
                # It loses too much, and all else within the limits is predicted to lose more.
                return

    def _between(self, tables: Tables) -> None:
        """Sizes between the least possible and that of the smallest file that fits, halving."""
        ms = self._most_ms(tables)
        least = tables.least_bytes(ms)
        most = min(
            (row.measurement.footprint.bytes for row in self.attempts.rows if not row.misses),
            default=tables.bytes.predict(Allocation(formats={})),
        )
        for _ in range(MOST):
            if most - least < UNNOTICED * most:
                return
            row = self._built(tables, tables.allocate((least + most) // 2, ms))
            if row is None:
                return
            if not row.misses:
                most = row.measurement.footprint.bytes
            elif ms is not None and self._is_slow(row):
                ms /= FASTER
            else:
                least = row.measurement.footprint.bytes

    def _is_slow(self, row: Row) -> bool:
        """Whether a file takes longer than the budget allows."""
        return self.attempts.ready.budget.too_slow(row.measurement, 0.0) is not None

    def _built(self, tables: Tables, allocation: Allocation) -> Row | None:
        """The row of an allocation, which may be there already; None where it fails or has no
        time."""
        attempts = self.attempts
        recipe = recipe_for(allocation, tables.bytes)
        there = [r for r in attempts.rows if attempts.recipes[r.name].steps == recipe.steps]
        if there:
            return there[0]
        if recipe.name in attempts.recipes:
            named = f"{recipe.name}, {len(self.files) + 1}"
            recipe = recipe.model_copy(update={"name": named})
        if attempts.no_time_for(recipe.name, attempts.costs.expected(recipe)):
            return None
        row = attempts.attempt(recipe)
        if row is not None:
            self.files.append(self._told(tables, allocation, row))
            self.notes.append(note(self.files[-1]))
        return row

    def _told(self, tables: Tables, allocation: Allocation, row: Row) -> MixedFile:
        latency = row.measurement.latency
        scale = self._scale(tables)
        return MixedFile(
            row=row.name,
            layers=tuple(
                MixedLayer(
                    name=layer.name,
                    module=layer.module,
                    op_type=layer.op_type,
                    weights=layer.weights,
                    format=allocation.of(layer.name),
                    bytes=tables.bytes.layers.get(layer.name, {}),
                    errors=layer.errors,
                )
                for layer in tables.sensitivity.layers
            ),
            predicted_error=tables.sensitivity.predict(allocation),
            predicted_bytes=tables.bytes.predict(allocation),
            predicted_ms=None if tables.ms is None else scale * tables.ms.predict(allocation),
            error=self._error(row.name),
            bytes=row.measurement.footprint.bytes,
            ms=None if latency is None else latency.p50,
        )

    def _front(self, tables: Tables) -> tuple[FrontPoint, ...]:
        """What can be built, as it is predicted; none where the solver finds none in its time,
        without which files are built all the same."""
        try:
            found = tables.front(LIMITS, self.attempts.ready.request.track)
        except RequestError:
            return ()
        return tuple(
            FrontPoint(bytes=each.bytes, error=each.error)
            for each in found
            if each.bytes is not None and each.error is not None
        )

    def _error(self, name: str) -> float | None:
        """What a file's outputs are off on calibration data, None where they are labels alone."""
        ready = self.attempts.ready
        calibration = ready.context.calibration
        assert calibration is not None
        return file_error(
            ready.targets[0].open,
            ready.prepared.original.path,
            self.attempts.files[name].path,
            islice(calibration, BATCHES),
        )

    def _formats(self) -> tuple[Format, ...]:
        """What is worth trying on these targets, and the narrow widths that are between."""
        ready = self.attempts.ready
        found = set(usual(self.attempts.weights, ready.targets[0]))
        if found & set(STATIC):
            found |= set(STATIC) - {"w7a8"}
        return tuple(
            form
            for form in sorted(found)
            if all(target.slow(form) is None for target in ready.targets)
        )

    def _rounding(self) -> Rounding:
        """Of the files that layers are measured in: learning pays its time for convolutions."""
        weights = self.attempts.weights
        return "learned" if weights.convolutions > weights.linear else "nearest"

    def _why_not(self) -> str | None:
        ready = self.attempts.ready
        if ready.request.techniques and MIXED not in ready.request.techniques:
            return "left out by --technique"
        if ready.context.calibration is None:
            return "needs calibration data, and no task brings any"
        if not are_enough(ready.context.calibration):
            return f"layers are told apart on {FEWEST} calibration samples at least, here are fewer"
        if ready.judged is None:
            return "below 8 bits quality must be measured, and no task does"
        if not self.attempts.weights.quantizable:
            return "no layer has constant float32 weights"
        return None

    def _expected(self, formats: tuple[Format, ...]) -> float:
        """Seconds of the tables and of one file."""
        costs = self.attempts.costs
        if costs.took("table", TABLES) is not None:
            return costs.again(TABLES)
        built = sum(costs.building(recipe_of(form)) for form in formats)
        layers = len(read_onnx(self.attempts.ready.prepared.built.path).graph)
        timed = TIMING * (PATTERNS + 2)
        return built + layers * costs.one_pass + timed + costs.again(TABLES)

    def _most_ms(self, tables: Tables) -> float | None:
        """Milliseconds as the table predicts them that an allocation may take."""
        if tables.ms is None:
            return None
        limit = self._asked_ms()
        if limit is not None:
            return leeway(tables.ms) * limit / self._scale(tables)
        if self.attempts.ready.request.objective == "size":
            return None
        return leeway(tables.ms) * SLOWER * tables.least_ms()

    def _asked_ms(self) -> float | None:
        """Milliseconds that the user allows a run to take."""
        ready = self.attempts.ready
        return ready.budget.most_ms(ready.request.settings.batch)

    def _scale(self, tables: Tables) -> float:
        """How many times longer a run of the original takes than its layers together."""
        latency = self.attempts.first.measurement.latency
        if latency is None or tables.ms is None:
            return 1.0
        return latency.p50 / tables.ms.predict(Allocation(formats={}))


def recipe_for(allocation: Allocation, sizes: SizeTable) -> Recipe:
    """A recipe that builds an allocation: the commonest format, and the layers that differ."""
    formats = {name: allocation.of(name) for name in sizes.layers}
    default = Counter(formats.values()).most_common(1)[0][0]
    layers = {name: form for name, form in formats.items() if form != default}
    learned = LEARNED if any(form in STATIC for form in formats.values()) else {}
    config = {"default": default, "layers": layers, **learned}
    step = Step(technique=MIXED, config=config)
    return Recipe(name=f"mixed, {size(sizes.predict(allocation))}", steps=(*BASELINE.steps, step))
