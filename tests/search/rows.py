"""Measurements and rows with the numbers a test names, and ordinary ones for the rest."""

from __future__ import annotations

import math

from lissom.measurement.records import Estimate, Footprint, Latency, Measurement, Quality, Speed
from lissom.report.results import Row


def measurement(
    *,
    size: int = 1_000_000,
    p50: float = 10.0,
    throughput: float = 100.0,
    memory: int | None = 50_000_000,
    speed: float | None = 1.0,
    drop: float | None = None,
    high: float | None = None,
    original: float = 0.9,
) -> Measurement:
    """`speed` None is the original; `drop` None is a run without a task."""
    latency = Latency(
        p50=p50, p95=p50, p99=p50, throughput=throughput, runs=9, edges=(0, 1), histogram=(9,)
    )
    ratio = None if speed is None else Estimate(value=speed, low=speed * 0.99, high=speed * 1.01)
    return Measurement(
        footprint=Footprint(bytes=size, parameters=1, macs=None, peak_memory=memory),
        latency=latency,
        speed=None
        if ratio is None
        else Speed(original=latency, candidate=latency, ratio=ratio, verdict=_verdict(ratio)),
        quality=None if drop is None else quality(drop, high, original),
    )


def quality(drop: float, high: float | None = None, original: float = 0.9) -> Quality:
    value = original - drop
    return Quality(
        metric="accuracy",
        higher_is_better=True,
        bounded=True,
        fidelity=False,
        samples=100,
        original=Estimate(value=original, low=original, high=original),
        value=Estimate(value=value, low=value, high=value),
        drop=Estimate(value=drop, low=drop, high=drop if high is None else high),
    )


def row(name: str, *, misses: tuple[str, ...] = (), **numbers: float | None) -> Row:
    return Row(name=name, steps=(), measurement=measurement(**numbers), misses=misses)  # type: ignore[arg-type]


def _verdict(ratio: Estimate) -> str:
    if math.isclose(ratio.value, 1):
        return "too noisy to tell"
    return "faster" if ratio.low > 1 else "slower"
