"""What a measurement is: frozen records that go to JSON and back unchanged."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _read_null(value: Any) -> Any:
    """JSON has no word for what is not a number, which is written as null."""
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_read_null)]


class Record(BaseModel):
    """A frozen piece of a measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Record):
    """A number with its 95 % confidence interval."""

    value: Number
    low: Number
    high: Number


class Settings(Record):
    """How latency is measured: the same for the original and every candidate."""

    batch: int = 1
    shapes: dict[str, tuple[int, ...]] = {}
    threads: int = 1
    seconds: float = 3.0
    processes: int = 3


class Latency(Record):
    """Time of one run in milliseconds; `throughput` is samples per second of all runs together.

    `histogram` holds counts over equal bins of milliseconds from `edges[0]` to `edges[1]`. Runs of
    `runs` that are in none of them took longer; an older lissom counted those in the last bin, and
    wrote one run's samples over `p50` as the throughput.
    """

    p50: float = Field(gt=0)
    p95: float
    p99: float
    throughput: float
    runs: int
    edges: tuple[float, float]
    histogram: tuple[int, ...]


class Quality(Record):
    """The task's metric, original and candidate on the same samples.

    `bounded` metrics live on 0..1 or -1..1, so that a point is 0.01. `drop` is in the metric's
    unit and positive when the candidate is worse, whichever direction of the metric is better.
    `fidelity` says that no labels were used: the metric compares with the original's own outputs.
    """

    metric: str
    bounded: bool
    higher_is_better: bool
    fidelity: bool
    samples: int = Field(gt=0)
    original: Estimate
    value: Estimate
    drop: Estimate


Verdict = Literal["faster", "slower", "the same speed", "too noisy to tell"]


class Speed(Record):
    """One pair of files timed in turns: `ratio` above 1 means the candidate is faster."""

    original: Latency
    candidate: Latency
    ratio: Estimate
    verdict: Verdict

    @model_validator(mode="after")
    def _is_a_ratio(self) -> Speed:
        if not self.ratio.low > 0:
            raise ValueError("a ratio of two times is above zero")
        return self


class Footprint(Record):
    """What a model file is: bytes on disk, parameters, multiply-accumulates of one sample.

    `macs` is None where shapes are not known; `peak_memory` is the highest resident set in bytes
    of a fresh process that loads the model and runs it, less the same process without a model.
    """

    bytes: int = Field(gt=0)
    parameters: int
    macs: int | None
    peak_memory: int | None


class Measurement(Record):
    """All that is known of one model file; `speed` is None for the original itself.

    `runtime` is the one it was measured in, "" where an older lissom wrote it; `elsewhere` is the
    same file in other runtimes, where several were asked for.
    """

    footprint: Footprint
    latency: Latency | None
    speed: Speed | None
    quality: Quality | None
    runtime: str = ""
    elsewhere: tuple[Measurement, ...] = ()

    @property
    def everywhere(self) -> tuple[Measurement, ...]:
        """In each runtime, this one first."""
        return (self, *self.elsewhere)
