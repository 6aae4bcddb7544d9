"""Latency that holds on a shared machine: fresh processes, files timed in turns, paired ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lissom.arrays import Array
from lissom.errors import RequestError
from lissom.measurement.process import ask, stored
from lissom.measurement.records import Latency, Settings, Speed
from lissom.measurement.stats import log_ratios, ratio_interval, verdict
from lissom.targets.machine import usable_cores
from lissom.targets.named import DEFAULT
from lissom.technique import Track, silent

BINS = 40
FENCE = 3.0

# One opening of the files: for each file the nanoseconds of its runs.
Opening = list[Array]


def compare_speed(
    original: Path,
    candidate: Path,
    feeds: Mapping[str, Array],
    settings: Settings,
    track: Track = silent,
    runtime: str = DEFAULT,
) -> Speed:
    """Time two files in turns, in `settings.processes` fresh processes.

    In each process both files are opened on pinned threads, warmed up, and run in rounds of
    A B B A, so that a drift of the machine's speed cancels; they are opened again several times in
    either order, since where weights land in memory alone changes the speed of the very same file
    by a per cent. A round gives one log ratio, two openings in opposite order one block (the mean
    of their medians); the interval resamples processes and blocks (`stats.ratio_interval`).

    Args:
        original: the file to compare with.
        candidate: the file that may be faster: `ratio` above 1 means it is.
        feeds: the arrays of one run, by input name; `settings.batch` samples.
        settings: threads, seconds of timing and number of processes.
        track: shown one item for each process.
        runtime: a name of `lissom.targets.named`; both files run in it.

    Raises:
        RunError: a process died, or a file could not be opened or run.
        RequestError: more threads than cores.
    """
    label = f"time {candidate.name} against {original.name}"
    processes = list(_openings((original, candidate), feeds, settings, track, label, runtime))
    blocks = [_blocks(openings) for openings in processes]
    ratio = ratio_interval(blocks)
    return Speed(
        original=_latency(processes, 0, settings.batch),
        candidate=_latency(processes, 1, settings.batch),
        ratio=ratio,
        verdict=verdict(ratio, blocks),
    )


def time_alone(
    path: Path,
    feeds: Mapping[str, Array],
    settings: Settings,
    track: Track = silent,
    runtime: str = DEFAULT,
) -> Latency:
    """Time one file as `compare_speed` does, next to nothing.

    Raises:
        RunError: a process died, or the file could not be opened or run.
        RequestError: more threads than cores.
    """
    label = f"time {path.name}"
    processes = list(_openings((path,), feeds, settings, track, label, runtime))
    return _latency(processes, 0, settings.batch)


def summary(nanoseconds: Array, samples: int) -> Latency:
    """Percentiles, throughput and histogram of the times of single runs of `samples` samples.

    Throughput is all samples over the time of all runs together, slow ones included. The histogram
    ends at the outer fence, three times the distance of the quartiles above the upper one (Tukey,
    Exploratory Data Analysis, 1977, section 2E), or at the 99th percentile if that is lower: a few
    interruptions would leave one bin for all the rest. Slower runs are in none of its bins.
    """
    times = nanoseconds / 1e6
    percentiles = np.percentile(times, [25, 50, 75, 95, 99])
    lower, p50, upper, p95, p99 = (float(value) for value in percentiles)
    low, high = float(times.min()), min(p99, upper + FENCE * (upper - lower))
    if high <= low:
        high = low * (1 + 1e-6) or 1e-6
    counts, _ = np.histogram(times, bins=BINS, range=(low, high))
    return Latency(
        p50=p50,
        p95=p95,
        p99=p99,
        throughput=samples * times.size * 1e3 / float(times.sum()),
        runs=int(times.size),
        edges=(low, high),
        histogram=tuple(int(count) for count in counts),
    )


def _openings(
    files: Sequence[Path],
    feeds: Mapping[str, Array],
    settings: Settings,
    track: Track,
    label: str,
    runtime: str,
) -> Iterator[list[Opening]]:
    """What each process measured."""
    cores = usable_cores()
    if settings.threads > cores:
        raise RequestError(
            f"{settings.threads} threads were asked for and there are {cores} cores to use",
            fix=f"use --threads {cores} or fewer",
        )
    job = {
        "runtime": runtime,
        "threads": settings.threads,
        "seconds": settings.seconds,
        # One process alone gives an interval only when it has two blocks.
        "least_turns": 2 if settings.processes == 1 else 1,
    }
    with stored(feeds) as arrays:
        for _ in track(range(settings.processes), label, settings.processes):
            answer = ask("time", files, arrays, **job)
            yield [[np.array(times) for times in opening] for opening in answer["openings"]]


def _blocks(openings: Sequence[Opening]) -> Array:
    """One log ratio for each pair of openings, the second of which had the other order."""
    medians = [np.median(log_ratios(original, candidate)) for original, candidate in openings]
    blocks: Array = np.reshape(medians, (-1, 2)).mean(axis=1)
    return blocks


def _latency(processes: Sequence[Sequence[Opening]], side: int, samples: int) -> Latency:
    runs = [opening[side] for openings in processes for opening in openings]
    return summary(np.concatenate(runs), samples)
