"""What a result must keep to: the user's limits, and whether a measurement is inside them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lissom.errors import RequestError
from lissom.measurement.records import Measurement, Quality
from lissom.measurement.stats import samples_needed, unseen_share
from lissom.report import text

BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
POINT = 0.01
LABEL_FREE = "give labels, or judge by a metric that needs none and has points: --metric cosine"
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
SPELLED = {"b": "B", "kb": "kB", "mb": "MB", "gb": "GB", "kib": "KiB", "mib": "MiB", "gib": "GiB"}
QUANTITY = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z/%]*)\s*$")


@dataclass(frozen=True)
class Drop:
    """A permitted loss: in points (hundredths of the metric) or relative to the original."""

    value: float
    relative: bool

    def limit(self, quality: Quality) -> float:
        """The loss allowed, in the metric's unit."""
        return self.value * abs(quality.original.value) if self.relative else self.value


@dataclass(frozen=True)
class Budget:
    """Limits on a result; None leaves a quantity free.

    Attributes:
        size: largest file, such as "25MB" (decimal) or "24MiB".
        latency: longest median time of one run, such as "20ms".
        throughput: fewest samples per second, such as "100/s".
        memory: highest peak memory, such as "200MB".
        drop: largest loss of quality: "1pt" is 0.01 of the metric, "1%" is relative to the
            original's value.

    Raises:
        RequestError: a limit cannot be read, or nothing could keep to it.
    """

    size: str | None = None
    latency: str | None = None
    throughput: str | None = None
    memory: str | None = None
    drop: str | None = None

    def __post_init__(self) -> None:
        for name, typed in self.stated().items():
            if name == "drop":
                parse_drop(typed)
            elif self._amount(name) <= 0:
                raise RequestError(
                    f"the budget's {name} is {typed!r}, which nothing can keep to",
                    fix="give a limit above zero",
                )

    def stated(self) -> dict[str, str]:
        """The limits that were given, as they were typed."""
        named = {
            "size": self.size,
            "latency": self.latency,
            "throughput": self.throughput,
            "memory": self.memory,
            "drop": self.drop,
        }
        return {name: typed for name, typed in named.items() if typed is not None}

    @property
    def most_bytes(self) -> float | None:
        """The largest file allowed, None where the size is free."""
        return None if self.size is None else self._amount("size")

    def most_ms(self, batch: int) -> float | None:
        """Milliseconds that a run of so many samples may take, None where that is free."""
        limits = []
        if self.latency is not None:
            limits.append(self._amount("latency"))
        if self.throughput is not None:
            limits.append(1e3 * batch / self._amount("throughput"))
        return min(limits, default=None)

    def check(self, *, judged: bool, bounded: bool, relative: bool = True) -> None:
        """Refuse limits that cannot be judged.

        Args:
            judged: the task measures quality.
            bounded: the metric lives between -1 and 1, so that a point has a meaning.
            relative: the original's own value is not zero, so that a share of it has a meaning.

        Raises:
            RequestError: a drop is limited while no task measures quality, or in points of a
                metric that has none.
        """
        if self.drop is None:
            return
        if not judged:
            raise RequestError(
                "the budget limits the drop in quality, but there is no task that measures quality",
                fix="give --task, or leave the drop out",
            )
        if not bounded and not parse_drop(self.drop).relative:
            raise RequestError(
                f"a drop of {self.drop!r} has no meaning: this metric is not a share of one",
                fix='give a relative drop, such as "1%"' if relative else LABEL_FREE,
            )
        if not relative and parse_drop(self.drop).relative:
            raise RequestError(
                f"a drop of {self.drop!r} has no meaning: next to itself the original scores 0",
                fix=LABEL_FREE if not bounded else 'give it in points, such as "1pt"',
            )

    def misses(self, measurement: Measurement) -> tuple[str, ...]:
        """The limits a measurement exceeds, in words, by how much."""
        found = []
        for name, value, limit in self._sides(measurement):
            if value is None or math.isnan(value):
                found.append(f"{name}: {'not measured' if value is None else 'not a number'}")
            elif name == "throughput" and value < limit:
                found.append(f"{name} {value:.1f}/s is below {self.throughput}")
            elif name != "throughput" and _above(name, value, limit):
                shown, more = self._shown(name, value), self._by(name, value - limit)
                by = "" if more == shown else f" by {more}"
                found.append(f"{name} {shown} exceeds {self.stated()[name]}{by}")
        return tuple(found)

    def too_slow(self, measurement: Measurement, margin: float) -> str | None:
        """The limit on a time that a measurement exceeds by more than that share, in words."""
        for name, value, limit in self._sides(measurement):
            if name not in ("latency", "throughput") or value is None or math.isnan(value):
                continue
            over = value / limit if name == "latency" else limit / max(value, 1e-12)
            if over > 1 + margin:
                missed = self.misses(measurement)
                return next(words for words in missed if words.startswith(f"{name} "))
        return None

    def excess(self, measurement: Measurement) -> float:
        """How far outside a measurement is: the worst limit's ratio to what was measured.

        1 is on the limit, 2 is twice what is allowed (half of it for throughput); losses of
        quality count from a hundredth of the metric on, so that a limit of zero can be compared.
        """
        ratios = []
        for name, value, limit in self._sides(measurement):
            if value is None or math.isnan(value):
                return math.inf
            if name == "throughput":
                ratios.append(limit / max(value, 1e-12))
            else:
                ratios.append(
                    (value + POINT) / (limit + POINT) if name == "drop" else value / limit
                )
        return max(ratios, default=0.0)

    def needed(self, measurement: Measurement) -> str:
        """The limits that would have to be loosened, and how far: "size 9.2kB instead of 5kB"."""
        found = []
        for name, value, limit in self._sides(measurement):
            typed = self.stated()[name]
            if value is None or math.isnan(value):
                return ""
            if value < limit if name == "throughput" else _above(name, value, limit):
                unit = self._unit(name, measurement)
                if unit == 0:
                    return ""
                spelled = QUANTITY.match(typed)
                symbol = spelled.group(2) if spelled else ""
                if name in ("size", "memory"):
                    symbol, unit = _larger_unit(value, symbol)
                found.append(f"{name} {_rounded(value / unit, name)}{symbol} instead of {typed}")
        return " and ".join(found)

    def _unit(self, name: str, measurement: Measurement) -> float:
        """One of what the user typed ("MB", "pt"), in the unit of the measured value."""
        if name == "drop":
            assert self.drop is not None and measurement.quality is not None
            return Drop(POINT, parse_drop(self.drop).relative).limit(measurement.quality)
        match = QUANTITY.match(self.stated()[name])
        assert match is not None
        return self._amount(name) / float(match.group(1))

    def unproven(self, measurement: Measurement) -> tuple[str, ...]:
        """Limits that the estimate keeps to while its interval crosses them, in words."""
        quality = measurement.quality
        if self.drop is None or quality is None or self.misses(measurement):
            return ()
        allowed = parse_drop(self.drop)
        if not _above("drop", quality.drop.high, allowed.limit(quality)):
            share = unseen_share(quality.drop, quality.samples) if quality.bounded else 0.0
            if not 0 < allowed.limit(quality) < share:
                return ()
            return (
                f"all samples agree, and {quality.samples:,} do not show what fewer than "
                f"{100 * share:.2g} % of all would lose (3/n), which is more than the limit "
                f"{self.drop}; {self._proof(measurement)}",
            )
        unit, name = Drop(POINT, allowed.relative).limit(quality), "%" if allowed.relative else "pt"
        if unit == 0:  # a share of an original that scores 0
            told = f"the interval of the drop is not inside the limit {self.drop}"
            return (f"{told}; {self._proof(measurement)}",)
        value, high = quality.drop.value / unit, quality.drop.high / unit
        limit = f"{100 * allowed.value:.12g}"
        digits = max(2, len(limit.partition(".")[2]))
        shown, reach = (f"{end:.{digits}f}" for end in (round(value, digits) + 0.0, high))
        over = f"just over {limit}" if float(reach) <= float(limit) else f"up to {reach}"
        return (
            f"drop {shown} {name} is inside the limit {self.drop}, "
            f"its interval ({over} {name}) is not; {self._proof(measurement)}",
        )

    def samples_needed(self, measurement: Measurement) -> int | None:
        """Validation samples that would prove a drop which is inside the limit and not proven;
        None where nothing is to be proven, or no number of samples would prove it."""
        quality = measurement.quality
        if quality is None or self.drop is None or not self.unproven(measurement):
            return None
        return samples_needed(quality.drop, parse_drop(self.drop).limit(quality), quality.samples)

    def _proof(self, measurement: Measurement) -> str:
        """How many samples would prove the drop, in words."""
        quality = measurement.quality
        assert quality is not None and self.drop is not None
        limit = parse_drop(self.drop).limit(quality)
        needed = samples_needed(quality.drop, limit, quality.samples)
        if needed is None:
            return "the estimate is on the limit itself, so no number of samples would prove it"
        step = 10 ** max(0, len(str(needed)) - 2)
        return (
            f"about {math.ceil(needed / step) * step:,} validation samples would prove it if the "
            f"estimate stays ({quality.samples:,} were judged)"
        )

    def _sides(self, measurement: Measurement) -> list[tuple[str, float | None, float]]:
        """(name, measured value, limit) of every stated limit, in comparable units."""
        latency, footprint = measurement.latency, measurement.footprint
        sides: list[tuple[str, float | None, float]] = []
        if self.size:
            sides.append(("size", footprint.bytes, self._amount("size")))
        if self.latency:
            sides.append(("latency", latency.p50 if latency else None, self._amount("latency")))
        if self.throughput:
            value = latency.throughput if latency else None
            sides.append(("throughput", value, self._amount("throughput")))
        if self.memory:
            sides.append(("memory", footprint.peak_memory, self._amount("memory")))
        if self.drop:
            quality = measurement.quality
            limit = parse_drop(self.drop).limit(quality) if quality else 0.0
            sides.append(("drop", quality.drop.value if quality else None, limit))
        return sides

    def _amount(self, name: str) -> float:
        typed = self.stated()[name]
        if name in ("size", "memory"):
            return _quantity(name, typed, BYTES, "25MB")
        if name == "latency":
            return _quantity(name, typed, MILLISECONDS, "20ms")
        return _quantity(name, typed, {"/s": 1.0, "": 1.0}, "100/s")

    def _shown(self, name: str, value: float) -> str:
        if name in ("size", "memory"):
            return text.size(round(value))
        if name == "latency":
            return text.milliseconds(value)
        relative = self.drop is not None and parse_drop(self.drop).relative
        return f"{value:.4g}" if relative else f"{text.points(value)} pt"

    def _by(self, name: str, value: float) -> str:
        """By how much a limit is exceeded, in the digits of what exceeds it."""
        shown = self._shown(name, value)
        return "less than 0.01 pt" if shown == "0.00 pt" else shown


def _above(name: str, value: float, limit: float) -> bool:
    """Whether a limit is exceeded; a drop of 0.95 to 0.94 is 0.01, whatever floats make of it."""
    if name == "drop":
        return value > limit and not math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12)
    return value > limit


def _larger_unit(value: float, symbol: str) -> tuple[str, float]:
    """The unit that was typed, or a larger one of its kind where it gives 1000 or more."""
    kind = [unit for unit in BYTES if unit.endswith("ib") == symbol.lower().endswith("ib")]
    for unit in kind[kind.index(symbol.lower()) :]:
        if value < 1000 * BYTES[unit] or unit == kind[-1]:
            break
    return (symbol if unit == symbol.lower() else SPELLED[unit]), BYTES[unit]


def _rounded(value: float, name: str) -> str:
    """Three digits, rounded to the side on which the value still fits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    steps = math.floor(value / step) if name == "throughput" else math.ceil(value / step)
    return f"{steps * step:.12g}"


def parse_size(typed: str) -> int:
    """Read "25MB", as bytes.

    Raises:
        RequestError: it is no size.
    """
    return round(_quantity("size", typed, BYTES, "25MB"))


def parse_drop(typed: str) -> Drop:
    """Read "1pt" or "1%".

    Raises:
        RequestError: it is neither.
    """
    match = QUANTITY.match(typed) if isinstance(typed, str) else None
    if match is None or match.group(2) not in ("pt", "%"):
        raise RequestError(
            f"cannot read the drop {typed!r}",
            fix='write "1pt" for a hundredth of the metric, "1%" for a share of the original',
        )
    return Drop(float(match.group(1)) / 100, relative=match.group(2) == "%")


def _quantity(
    name: str, typed: str, units: dict[str, float] | dict[str, int], example: str
) -> float:
    match = QUANTITY.match(typed) if isinstance(typed, str) else None
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in units:
        known = ", ".join(SPELLED.get(unit, unit) for unit in units if unit)
        raise RequestError(
            f"cannot read the {name} {typed!r}", fix=f'write it like "{example}" (units: {known})'
        )
    return float(match.group(1)) * units[unit]
