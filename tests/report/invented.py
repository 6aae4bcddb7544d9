"""Measurements that nobody made: invented numbers for testing how results are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from lissom.measurement.records import (
    Estimate,
    Footprint,
    Latency,
    Measurement,
    Quality,
    Speed,
)
from lissom.report.results import Row


def latency(p50: float, seed: int = 0) -> Latency:
    """A log-normal latency around `p50` with a histogram of 40 bins."""
    drawn = p50 * np.random.default_rng(seed).lognormal(0.0, 0.05, 600)
    counts, edges = np.histogram(drawn, bins=40)
    return Latency(
        p50=p50,
        p95=round(p50 * 1.09, 3),
        p99=round(p50 * 1.14, 3),
        throughput=1000 / p50,
        runs=600,
        edges=(float(edges[0]), float(edges[-1])),
        histogram=tuple(int(count) for count in counts),
    )


def speed(before: float, after: float, low: float, high: float, verdict: Any = "faster") -> Speed:
    return Speed(
        original=latency(before, 1),
        candidate=latency(after, 2),
        ratio=Estimate(value=before / after, low=low, high=high),
        verdict=verdict,
    )


def fidelity(value: float, spread: float) -> Quality:
    """Cosine fidelity to the original, which is 1 to itself."""
    return Quality(
        metric="cosine",
        bounded=True,
        higher_is_better=True,
        fidelity=True,
        samples=1500,
        original=Estimate(value=1.0, low=1.0, high=1.0),
        value=Estimate(value=value, low=value - spread, high=min(1.0, value + spread)),
        drop=Estimate(value=1 - value, low=1 - value - spread, high=1 - value + spread),
    )


def accuracy(value: float, spread: float) -> Quality:
    """Accuracy beside an original with 0.912."""
    drop = 0.912 - value
    return Quality(
        metric="accuracy",
        bounded=True,
        higher_is_better=True,
        fidelity=False,
        samples=2000,
        original=Estimate(value=0.912, low=0.9, high=0.924),
        value=Estimate(value=value, low=value - 0.012, high=value + 0.012),
        drop=Estimate(value=drop, low=drop - spread, high=drop + spread),
    )


def perplexity(before: float, after: float) -> Quality:
    """Perplexity, of which less is better, with a drop of +- 0.2."""
    loss = after - before
    return Quality(
        metric="perplexity",
        bounded=False,
        higher_is_better=False,
        fidelity=False,
        samples=300,
        original=Estimate(value=before, low=before - 1, high=before + 1),
        value=Estimate(value=after, low=after - 1, high=after + 1),
        drop=Estimate(value=loss, low=loss - 0.2, high=loss + 0.2),
    )


def row(
    name: str,
    count: int,
    timed: Speed | None,
    quality: Quality | None,
    memory: int | None = None,
    **more: Any,
) -> Row:
    return Row(
        name=name,
        steps=more.pop("steps", ("graph.optimize", f"{name} (invented)")),
        measurement=Measurement(
            footprint=Footprint(
                bytes=count, parameters=22_713_216, macs=680_000_000, peak_memory=memory
            ),
            latency=timed.candidate if timed else None,
            speed=timed,
            quality=quality,
        ),
        **more,
    )
