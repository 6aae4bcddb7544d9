"""What every chart has: its size, where the plotted area lies, and ticks on both axes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the chart's units, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True)
class Frame:
    """A chart of `width` by `height`, plotted between `left`, `right`, `top` and `bottom`."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
