"""How far a training has come, what it came to, and what of it is shown on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lissom.nn.feed import Batch


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        history: an entry for each epoch: epoch, step, loss, metric, lr, seconds.
        best_metric: the metric of the weights that are kept, None without validation.
        epochs: how many were trained.
        seconds: how long it took, all its starts together.
    """

    history: tuple[dict[str, float | int | None], ...]
    best_metric: float | None
    epochs: int
    seconds: float


@dataclass
class Progress:
    """How far a run has come; written as JSON into its checkpoints."""

    epoch: int = 0
    batches: int = 0
    step: int = 0
    loss: float = 0.0
    losses: int = 0
    lr: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    log_size: int = 0
    history: list[dict[str, float | int | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Shown:
    """What a progress bar says of an epoch or a step; a step carries its batches."""

    number: int
    name: str
    batches: tuple[Batch, ...] = ()


def said(entry: Mapping[str, float | int | None]) -> str:
    """The last epoch's loss and metric in a few words."""
    words = [f"{n} {entry[n]:.4g}" for n in ("loss", "metric") if entry.get(n) is not None]
    return f" ({', '.join(words)})" if words else ""
