"""`LatencyTable`: what every layer takes in every format on this machine, and what changes cost."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from lissom.arrays import Batch, Hasher
from lissom.errors import ModelError
from lissom.graph.weights import embeddings, is_float_constant, linear_weights
from lissom.measurement.kernel_clock import clock_of, spread, time_kernels
from lissom.measurement.layer_times import layer_times
from lissom.onnx_file import read_onnx
from lissom.recipe.run import Built, run, versions
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store, digest
from lissom.search.formats import FLOAT, OPTIMIZED, recipe_of
from lissom.search.layer_costs import Pattern, changes, edges, pattern, regions
from lissom.tables import FORMATS, STATIC, Allocation, Format, LatencyTable
from lissom.targets.target import Target
from lissom.technique import Context

# The one of its kernels that is measured for all widths of weights: codes of fewer bits become
# int8 while the file is loaded.
CODES: Format = "w8a8"
# Runs of layers in one format within the patterns that mix two.
STRETCHES = (1, 2)
# Sums of layers are within a tenth of runs of whole networks where nobody else uses the machine.
STEADY = 0.1


def latency_table(
    source: Built,
    feeds: Batch,
    context: Context,
    store: Store,
    *,
    target: Target,
    formats: Sequence[Format] = (CODES,),
    threads: int = 1,
    seconds: float = 3.0,
) -> LatencyTable:
    """Build the network in every format, and in patterns that mix two, and time its layers.

    Uniform networks give the time of a layer among its like; networks in which every other layer
    is float, or every other two, and their complements give what a change between codes and
    floats costs at each edge. All are timed in turns, so that their sums can be compared.

    Args:
        source: a float network as `prepare` leaves it.
        feeds: one run's inputs.
        context: calibration data for static formats, and progress.
        store: keeps the built files, and the table for this machine.
        target: whose kernels are timed.
        formats: besides float32.
        threads: of the runtime.
        seconds: of running for each file, more or less.

    Raises:
        RequestError: the target is another machine, or one whose kernels cannot be timed one by
            one; or there are no calibration data for a static format.
        ModelError: there is no layer with weights, or none that a format applies to.
    """
    clock_of(target)
    kernels = {form: _kernel(form, target) for form in {FLOAT, *formats}}
    wanted = tuple(form for form in FORMATS if form in kernels.values())
    key = digest(
        table="latency",
        runtime=f"{target.name} {target.version}",
        source=source.key,
        feeds=_digest_of(feeds),
        formats=sorted(kernels),
        calibration="" if context.calibration is None else context.calibration.digest(),
        machine=target.machine.model_dump(mode="json"),
        threads=threads,
        seconds=seconds,
        code=versions(),
    )

    def made() -> LatencyTable:
        start = run(OPTIMIZED, source, context, store)
        found = _Built(start, context, store)
        allocations = found.allocations(wanted)
        files = [found.file(each) for each in context.track(allocations, "build formats")]
        timed = time_kernels(
            files,
            feeds,
            target=target,
            threads=threads,
            seconds=seconds * len(files),
            track=context.track,
        )
        graph = onnx.load(start.path, load_external_data=False).graph
        known = regions(graph, found.layers)
        patterns = [
            pattern(each, layer_times(times, known))
            for each, times in zip(allocations, timed, strict=True)
        ]
        uniform = dict(zip(wanted, patterns, strict=False))
        table = LatencyTable(
            target=target.name,
            machine=digest(machine=target.machine.model_dump(mode="json")),
            threads=threads,
            feeds=_digest_of(feeds),
            layers=_by_format(found, uniform, kernels),
            changes=changes(edges(graph, known), uniform, patterns[len(wanted) :]),
            rest=uniform[FLOAT].rest,
        )
        apart = max(spread(timed), *(_off(table, each) for each in patterns))
        return table.model_copy(update={"spread": apart})

    return store.record(key, LatencyTable, made)


def disturbed(table: LatencyTable) -> str:
    """That the times of a table are not to be relied on, as a sentence; "" where they are."""
    if table.spread <= STEADY:
        return ""
    return (
        "Others used this machine while layers were timed: times of the same file lay up to "
        f"{table.spread:.0%} apart. Limits on predicted times are as much wider; every file is "
        "measured all the same."
    )


def leeway(table: LatencyTable) -> float:
    """By how much limits on times that a table predicts are wider: 1 where it is steady."""
    return 1.0 + (table.spread if table.spread > STEADY else 0.0)


def _off(table: LatencyTable, built: Pattern) -> float:
    """How far the table's sum is from what a file it was made from took, as a share."""
    whole = built.rest + sum(built.layers.values())
    return abs(table.predict(built.allocation) / whole - 1) if whole else 0.0


def _kernel(form: Format, target: Target) -> Format:
    """The format whose kernels a format runs on: 16-bit floats become float32 while loading, and
    codes of fewer bits int8, unless the target does something slower with them."""
    if target.slow(form) is not None:
        return form
    return CODES if form in STATIC else FLOAT if form == "float16" else form


def _by_format(
    found: _Built, uniform: Mapping[Format, Pattern], kernels: Mapping[Format, Format]
) -> dict[str, dict[Format, float]]:
    return {
        layer: {
            form: uniform[kernel].layers.get(layer, 0.0)
            for form, kernel in sorted(kernels.items())
            if layer in found.taken[kernel]
        }
        for layer in found.layers
    }


class _Built:
    """One network in all its formats.

    Attributes:
        layers: names of the nodes with weights, in order.
        taken: for each format the layers that it applies to.
    """

    def __init__(self, start: Built, context: Context, store: Store) -> None:
        self.start, self.context, self.store = start, context, store
        graph = read_onnx(start.path, check_weights=False).graph
        self.layers = _layers(graph)
        self.taken: dict[Format, frozenset[str]] = {FLOAT: frozenset(self.layers)}
        if not self.layers:
            raise ModelError(
                "no layer to time: none has float32 weights that lissom quantizes",
                where=str(start.path),
                fix="give the original float32 model",
            )

    def allocations(self, formats: Sequence[Format]) -> list[Allocation]:
        """One for each format, then the patterns of codes and floats."""
        found = []
        for form in formats:
            if form != FLOAT:
                path = run(recipe_of(form), self.start, self.context, self.store).path
                self.taken[form] = self._changed(path)
            given = {} if form == FLOAT else dict.fromkeys(sorted(self.taken[form]), form)
            found.append(Allocation(formats=given))
        able = [name for name in self.layers if name in self.taken.get(CODES, ())]
        for length in STRETCHES:
            for side in (0, 1):
                chosen = [name for at, name in enumerate(able) if at // length % 2 == side]
                if 0 < len(chosen) < len(able):
                    found.append(Allocation(formats=dict.fromkeys(chosen, CODES)))
        return found

    def file(self, allocation: Allocation) -> Path:
        """The network in an allocation of one format, or of codes and floats."""
        kinds = set(allocation.formats.values())
        if not kinds:
            return self.start.path
        form = kinds.pop()
        kept = [name for name in sorted(self.taken[form]) if name not in allocation.formats]
        recipe = recipe_of(form)
        if kept:
            globs = [glob.escape(name) for name in kept]
            step = Step(technique="quantize.static", config={"keep_float": globs})
            recipe = Recipe(name="mixed", steps=(step,))
        return run(recipe, self.start, self.context, self.store).path

    def _changed(self, path: Path) -> frozenset[str]:
        """Layers whose weights are not read as floats any more."""
        left = set(_layers(read_onnx(path, check_weights=False).graph))
        return frozenset(name for name in self.layers if name not in left)


def _layers(graph: ir.Graph) -> list[str]:
    """Nodes with float32 weights that some format is for, in order."""
    kinds = {layer.node for layer in linear_weights(graph)} | set(embeddings(graph))
    return [
        node.name
        for node in graph
        if node.name
        and (
            node in kinds
            or (
                node.op_type == "Conv" and any(is_float_constant(node.inputs[1], n) for n in (3, 4))
            )
        )
    ]


def _digest_of(feeds: Batch) -> str:
    """Of what the runtime is fed."""
    hasher = Hasher()
    hasher.inputs(dict(feeds))
    return hasher.hexdigest()
