"""The bytes of each layer as bars: the original's and, below it, the outcome's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.measurement.layer_bytes import LayerBytes
from lissom.report import text

MOST = 20


@dataclass(frozen=True)
class LayerBar:
    """One layer in words, its bars as shares of the longest in percent.

    `pieces` are its name, in parts between which a line may break.
    """

    pieces: tuple[str, ...]
    before: str
    after: str
    change: str
    before_share: float
    after_share: float


def layer_bars(layers: Sequence[LayerBytes]) -> tuple[LayerBar, ...]:
    """The largest layers by what they take in either file, and the others together.

    Nothing is left out: the rows add up to the files.
    """
    ordered = sorted(layers, key=lambda one: (-max(one.original, one.compressed), one.name))
    kept, rest = ordered[:MOST], ordered[MOST:]
    if len(rest) == 1:
        kept, rest = ordered, []
    if rest:
        others = LayerBytes(
            name=f"{len(rest)} smaller ones together",
            original=sum(one.original for one in rest),
            compressed=sum(one.compressed for one in rest),
        )
        kept = [*kept, others]
    longest = max((max(one.original, one.compressed) for one in kept), default=0)
    return tuple(_bar(one, longest or 1) for one in kept)


def _bar(layer: LayerBytes, longest: int) -> LayerBar:
    before, after = layer.original, layer.compressed
    if not before or not after:
        change = "new" if after else "gone"
    else:
        change = text.times(before / after, "smaller")
    return LayerBar(
        pieces=tuple(re.findall(r"[^./]*[./]?", layer.name)[:-1]) or (layer.name,),
        before=text.size(before) if before else "",
        after=text.size(after) if after else "",
        change=change,
        before_share=100 * before / longest,
        after_share=100 * after / longest,
    )
