"""What is written beside a plot's marks and limits, and where, so that nothing hides it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lissom.report.results import Row
from lissom.report.template import visible

LETTER, BOLD = 6.6, 7.3  # the usual width of a letter
RING = 4.0  # how far the chosen mark's ring reaches beyond it

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """One file on a plot, by its row's number.

    `off` says that it is beyond the scale and drawn past its break; `beyond` is what is written
    beside it then, its value.
    """

    number: int
    row: Row
    x: float
    y: float
    radius: float
    bar: tuple[float, float] | None
    off: bool
    beyond: str = ""
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Limit:
    """A constraint of the budget as a line across the plot; an upright one's label is turned."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"

    @property
    def upright(self) -> bool:
        return self.x1 == self.x2


def labelled(
    spots: Sequence[Point], limits: Sequence[Limit], frame: Box, *, named: bool
) -> tuple[tuple[Point, ...], tuple[Limit, ...]]:
    """Points and limits with what is written beside them, where there is room.

    That is a point's name, its number where another mark hides it, and the value of one far off.
    """
    # What matters is drawn last, above the rest, and small marks above large ones.
    drawn = sorted(spots, key=lambda s: (s.row.chosen, s.row.on_front, -s.radius))
    taken = [_square(spot) for spot in spots]
    # Labels keep off lines where they can, and off marks and other labels always.
    lines = [(line.x1 - 2, line.y1 - 2, line.x2 + 2, line.y2 + 2) for line in limits]
    written = []
    for index, limit in enumerate(limits):
        crossing = [*lines[:index], *lines[index + 1 :]]
        line, along = _along(limit, frame, [*taken, *crossing])
        written.append(line)
        taken.append(along)
    lines += [(s.x - 1, min(s.bar), s.x + 1, max(s.bar)) for s in spots if s.bar]
    done = {}
    names = [spot.row.name for spot in spots]
    for spot in sorted(spots, key=lambda s: (not s.row.chosen, s.number)):
        later = drawn[drawn.index(spot) + 1 :]
        hidden = any(_reach(spot, other) < other.radius + 2 for other in later)
        beyond = f"({spot.beyond})" if spot.beyond else ""
        done[spot.number] = spot
        for most, avoided in ((30, [*taken, *lines]), (30, taken), (20, taken), (12, taken)):
            cut = [told_apart(name, most, names) for name in names]
            name = cut[spots.index(spot)] if named else ""
            alike = named and cut.count(name) > 1
            number = str(spot.number) if hidden or alike else ""
            words = " ".join(filter(None, [number, name, beyond]))
            told, box = _beside(spot, words, frame, avoided)
            if words and box is not None:
                done[spot.number] = told
                taken.append(box)
                break
    return tuple(done[spot.number] for spot in drawn), tuple(written)


def _square(spot: Point) -> Box:
    around = spot.radius + RING * spot.row.chosen
    return spot.x - around, spot.y - around, spot.x + around, spot.y + around


def _reach(one: Point, other: Point) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _along(limit: Limit, frame: Box, taken: Sequence[Box]) -> tuple[Limit, Box]:
    """The limit with its label along it, where no mark stands if there is such a place."""
    left, right, top, bottom = frame
    long = LETTER * len(limit.label)
    places: list[tuple[float, float, str, Box]] = []
    for end in (0, 1):
        for side in (0, 1):
            if limit.upright:
                x, y = limit.x1 + (13 if side == 0 else -5), bottom - 8 if end == 0 else top + 8
                start = y - long if end == 0 else y
                box = (x - 11, start, x + 3, start + long)
            else:
                x, y = right - 4 if end == 0 else left + 4, limit.y1 + (-7 if side == 0 else 16)
                start = x - long if end == 0 else x
                box = (start, y - 11, start + long, y + 3)
            anchor = "start" if (end == 0) == limit.upright else "end"
            places.append((x, y, anchor, box))
    inside = [place for place in places if _within(place[3], frame)]
    free = [place for place in inside if not any(_overlap(place[3], other) for other in taken)]
    x, y, anchor, box = (free or inside or places)[0]
    return replace(limit, label_x=x, label_y=y, anchor=anchor), box


def _beside(spot: Point, label: str, frame: Box, taken: Sequence[Box]) -> tuple[Point, Box | None]:
    """The point with its label where nothing else stands, or without one."""
    long = (BOLD if spot.row.chosen else LETTER) * len(label)
    place = beside((spot.x, spot.y), spot.radius, long, frame, taken)
    if place is None:
        return spot, None
    x, y, anchor, box = place
    return replace(spot, label=label, label_x=x, label_y=y, anchor=anchor), box


def beside(
    at: tuple[float, float], radius: float, long: float, frame: Box, taken: Sequence[Box]
) -> tuple[float, float, str, Box] | None:
    """Where a text of a length stands beside a mark, its anchor and its box; None if nowhere."""
    away = radius + 6
    for dx, dy, anchor in (
        (away, 4.0, "start"),
        (-away, 4.0, "end"),
        (0.0, -away, "middle"),
        (0.0, away + 9, "middle"),
        (away * 0.7, -away * 0.8, "start"),
        (away * 0.7, away * 0.8 + 8, "start"),
        (-away * 0.7, -away * 0.8, "end"),
        (-away * 0.7, away * 0.8 + 8, "end"),
    ):
        x, y = at[0] + dx, at[1] + dy
        start = x - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        box = (start, y - 11, start + long, y + 3)
        if _within(box, frame) and not any(_overlap(box, other) for other in taken):
            return x, y, anchor, box
    return None


def _within(box: Box, frame: Box) -> bool:
    """Whether a box of two corners is inside of a frame of left, right, top and bottom."""
    left, right, top, bottom = frame
    return box[0] >= left and box[2] <= right and box[1] >= top and box[3] <= bottom


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def told_apart(name: str, most: int, names: Sequence[str]) -> str:
    """A name of at most so many letters that is not taken for another one.

    Where what is left of its beginning is another's too, its last words are kept as well.
    """
    short = shortened(name, most)
    head = short.removesuffix("…")
    if short == visible(name) or not any(
        visible(other).startswith(head) for other in names if other != name
    ):
        return short
    words = visible(name).split(" ")
    tails = [" ".join(words[index:]) for index in range(1, len(words))]
    last = shortened(words[-1], most // 2 + 1)
    tail = next((tail for tail in tails if wide(tail) <= most // 2), last)
    head = shortened(name, most - wide(tail)).removesuffix("…").rstrip(" ,")
    return f"{head}…{tail}"


def shortened(name: str, most: int) -> str:
    """A name of at most so many letters, of which wide ones (East Asian) count twice."""
    name = visible(name)
    room = most - 1
    for index, letter in enumerate(name):
        room -= wide(letter)
        if room < 0 and (room < -1 or index < len(name) - 1):
            return f"{name[:index]}…"
    return name


def wide(words: str) -> int:
    """How many letters' room words take, of which wide ones count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words)
