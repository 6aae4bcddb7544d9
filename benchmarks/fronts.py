"""Mixed precision: quality against size and latency, beside other ways to choose formats.

    python benchmarks/fronts.py DATA_FOLDER --network resnet20|mobilenet|minilm
        [--work FOLDER] [--limit 600] [--quick] [--only GLOB]

Needs what static_int8.py needs, and works as it does. lissom's tables of sensitivities, sizes and
times are made once and kept in the work folder. From these the integer program, two greedy ways
and random draws choose a format for every layer at the same sizes, and one technique builds them
all, so that nothing differs but the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import numpy as np
import ours
from isolated import Build
from publish import facts, publish, table
from repair_peers import nncf_rows
from rows import Bench, Found, Row, as_told, finished
from scipy.stats import spearmanr
from static_int8 import HEADS, NOTE, QUICK, arguments, first_line, opened

import lissom
from lissom.onnx_file import read_onnx
from lissom.recipe.run import Built, run
from lissom.recipe.store import Store
from lissom.search.allocate import allocate
from lissom.search.formats import OPTIMIZED
from lissom.search.latency_table import latency_table
from lissom.search.size_table import in_one_format, size_table
from lissom.tables import STATIC, Allocation, Format, LatencyTable, Rounding, Sensitivity, SizeTable
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.technique import Context

CONVOLUTIONS: tuple[Format, ...] = tuple(STATIC)
PRODUCTS: tuple[Format, ...] = ("w8a8", "w6a8", "w4a8", "w3a8", "w8", "w4")
# Sizes asked for, as shares of the file with 8 bits everywhere, and times as shares of float32's.
SIZES = (0.85, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4)
COMPARED = (0.7, 0.55, 0.45)
TIMES = (0.9, 0.8, 0.7)
RANDOM = 4


@dataclass(frozen=True)
class Tables:
    """What the layers of a network cost."""

    sensitivity: Sensitivity
    sizes: SizeTable
    latency: LatencyTable

    @property
    def names(self) -> list[str]:
        """The layers, in order."""
        return [layer.name for layer in self.sensitivity.layers]

    def uniform(self, form: Format) -> Allocation:
        """A format wherever it applies, and 8 bits elsewhere where these do."""
        found: dict[str, Format] = {}
        for layer in self.sensitivity.layers:
            forms = [each for each in (form, "w8a8", "w8") if each in layer.errors]
            if forms:
                found[layer.name] = forms[0]
        return self.told(found)

    def told(self, formats: dict[str, Format]) -> Allocation:
        """An allocation with what the tables foretell of it."""
        found = Allocation(formats=formats)
        return Allocation(
            formats=formats,
            error=self.sensitivity.predict(found),
            bytes=self.sizes.predict(found),
            ms=self.latency.predict(found),
        )


@dataclass(frozen=True)
class Choice:
    """A row of the table with what was foretold of it, None for peers."""

    row: Row
    told: Allocation | None = None


def tables_of(
    bench: Bench, task: lissom.Task, formats: tuple[Format, ...], rounding: Rounding
) -> Tables:
    """lissom's tables of a network, made in the work folder once for each version of the code."""
    folder = bench.work / "tables"
    found = lissom.sensitivity(
        bench.original, task, formats=formats, rounding=rounding, folder=folder
    )
    target = onnxruntime_target()
    context = Context(pair_sums=target.pair_sums, calibration=task.calibration)
    store = Store(folder)
    source = Built(bench.original, bench.original.stem)
    latency = latency_table(source, bench.feeds, context, store, target=target, formats=formats)
    base = read_onnx(run(OPTIMIZED, source, context, store).path)
    uniform = {form: in_one_format(base, form, context) for form in formats}
    return Tables(found, size_table(base, uniform), latency)


def narrowing(
    tables: Tables, most: float, next_layer: Callable[[dict[str, Format]], str | None]
) -> Allocation:
    """From 8 bits everywhere, one layer after the other one format narrower until it fits."""
    chosen = dict(tables.uniform("w8a8").formats)
    while tables.sizes.predict(Allocation(formats=chosen)) > most:
        layer = next_layer(chosen)
        if layer is None:
            break
        chosen[layer] = narrower(tables, layer, chosen[layer])
    return tables.told(chosen)


def narrower(tables: Tables, layer: str, form: Format) -> Format:
    """The next smaller format of a layer, or the same where there is none."""
    sizes = tables.sizes.layers[layer]
    errors = next(each.errors for each in tables.sensitivity.layers if each.name == layer)
    below = [each for each in errors if each in sizes and sizes[each] < sizes[form]]
    return max(below, key=lambda each: sizes[each], default=form)


def greedy(tables: Tables, most: float, *, by_byte: bool) -> Allocation:
    """The layer next whose narrower format adds the least error, or the least for each byte."""
    errors = {each.name: each.errors for each in tables.sensitivity.layers}

    def next_layer(chosen: dict[str, Format]) -> str | None:
        steps = []
        for layer, form in chosen.items():
            below = narrower(tables, layer, form)
            if below != form:
                added = errors[layer][below] - errors[layer].get(form, 0.0)
                saved = tables.sizes.layers[layer][form] - tables.sizes.layers[layer][below]
                steps.append((added / saved if by_byte else added, layer))
        return min(steps, default=(0.0, None))[1]

    return narrowing(tables, most, next_layer)


def drawn(tables: Tables, most: float, seed: int) -> Allocation:
    """Any layer next, at random."""
    rng = np.random.default_rng(seed)

    def next_layer(chosen: dict[str, Format]) -> str | None:
        able = [name for name, form in chosen.items() if narrower(tables, name, form) != form]
        return str(rng.choice(able)) if able else None

    return narrowing(tables, most, next_layer)


def choices(tables: Tables) -> Iterator[Choice]:
    """Every row of the table but the original's and the peers'."""

    def built(name: str, found: Allocation) -> Choice:
        settings = {"layers": found.formats, "rounding": tables.sensitivity.rounding}
        return Choice(Row(name, ours.recipe(("quantize.mixed", settings))), found)

    formats = tables.sensitivity.formats
    for form in formats:
        yield built(f"lissom, all {form}", tables.uniform(form))
    whole, least = tables.uniform("w8a8").bytes, tables.uniform(formats[-1]).bytes
    assert whole is not None and least is not None
    for share in SIZES:
        most = int(share * whole)
        if most < least:
            continue
        told = f"at {share:.0%} of w8a8"
        found = allocate(tables.sensitivity, tables.sizes, most_bytes=most)
        yield built(f"lissom, program, {told}", found)
        if share in COMPARED:
            yield built(f"greedy by error, {told}", greedy(tables, most, by_byte=False))
            yield built(f"greedy by error per byte, {told}", greedy(tables, most, by_byte=True))
        if share == COMPARED[0]:
            for seed in range(RANDOM):
                yield built(f"random {seed + 1}, {told}", drawn(tables, most, seed))
    float32 = tables.latency.predict(Allocation(formats={}))
    for share in TIMES:
        try:
            found = allocate(tables.sensitivity, None, tables.latency, most_ms=share * float32)
        except lissom.LissomError:
            continue
        yield built(f"lissom, program, at {share:.0%} of float32's time", found)


def peers(bench: Bench, text_network: bool, labelled: dict[str, Any]) -> Iterator[Choice]:
    """What a user of the peers would do: leave out the first and the last, or let NNCF tune."""
    model = read_onnx(bench.original, check_weights=False)
    able = [n.name or "" for n in model.graph if n.op_type in ("Conv", "Gemm", "MatMul")]
    ends = [able[0], able[-1]]
    for weights in ("QInt8", "QInt4"):
        for name, more in {"": {}, ", first and last float": {"exclude": ends}}.items():
            options: dict[str, object] = {"activations": "QUInt8", "weights": weights, **more}
            if text_network:
                options["operators"] = ["MatMul"]
            row = Row(f"ONNX Runtime {weights} weights{name}", Build("peers:static", options))
            yield Choice(row)
    for row in nncf_rows(text_network, labelled):
        if "accuracy control" in row.name:
            yield Choice(row)


def correlations(found: list[tuple[Choice, Found]]) -> str:
    """How predictions and measurements go together, over all rows that have both."""
    known = [
        (choice.told, each)
        for choice, each in found
        if choice.told is not None and each.judged is not None and each.speed is not None
    ]
    if len(known) < 3:
        return ""
    error = spearmanr(
        [told.error for told, _ in known],
        [-each.judged.noise for _, each in known if each.judged is not None],
    ).statistic
    off = [abs(told.bytes / each.bytes - 1) for told, each in known if told.bytes]
    times = [(told.ms, 1 / each.speed.value) for told, each in known if told.ms and each.speed]
    ratios = np.array([told / measured for told, measured in times])
    spread = np.abs(ratios / np.median(ratios) - 1)
    return (
        f"\nOver the {len(known)} rows of lissom, greedy and random choices: Spearman's "
        f"correlation of predicted error and measured noise is {error:.3f}; predicted sizes are "
        f"off by {100 * np.max(off):.1f} % at most; predicted times, scaled to the "
        f"median, by {100 * np.max(spread):.1f} % at most and "
        f"{100 * np.median(spread):.1f} % in the median.\n"
    )


def main() -> None:
    """Make the tables, the files, and the table of results."""
    import tuning

    chosen = arguments(__doc__, Path("benchmark-work/fronts")).parse_args()
    network = networks.NETWORKS[chosen.network]
    bench, task = opened(chosen)
    formats = PRODUCTS if network.text else CONVOLUTIONS
    # As `compress` does: learning codes pays its time for convolutions.
    tables = tables_of(bench, task, formats, "nearest" if network.text else "learned")
    every = [
        *choices(tables),
        *peers(bench, network.text, tuning.options(chosen.network, bench.work)),
    ]
    found = []
    lines = [first_line(bench)]
    for choice in every:
        found.append((choice, finished(choice.row, bench)))
        lines.append(as_told(*(choice.row, found[-1][1])))
        print(" | ".join(lines[-1]), flush=True)
    told = f"{facts('onnxruntime', 'onnx', 'openvino', 'nncf', 'numpy')} One thread, batch 1"
    told += ", 32 tokens" * network.text + f"; {task.description}"
    told += f" ({QUICK} samples)" * chosen.quick + ".\n\n"
    told += table(HEADS, lines) + "\n" + NOTE.format(agreement=bench.validation.agreement_told)
    told += correlations(found)
    if chosen.quick:
        print(told)
    else:
        publish(f"Mixed precision: {network.title}", told)


if __name__ == "__main__":
    main()
