"""Find the channels that a compressed network carries at another scale, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.causes import power
from lissom.diagnosis.channel_axis import made_axis
from lissom.diagnosis.match import Matched
from lissom.diagnosis.scaling import scaling
from lissom.diagnosis.section import Section

Array = NDArray[Any]


def rescaled(
    sections: Sequence[Section], values: Mapping[str, Array], outputs: Collection[str]
) -> list[Section]:
    """The sections, with the scales of channels that equalization moved from layer to layer.

    Each is run with nothing rounded but its weights, on what the original computed before it, so
    that a layer that is broken elsewhere is not taken for a scaled one. A scale counts when those
    who read the tensor make up for it.

    Args:
        sections: in order, none of them scaled.
        values: the original's tensors on a sample.
        outputs: the original's outputs, which both networks give alike.
    """
    known: dict[str, Matched] = {}
    found: list[Section] = []
    for section in sections:
        section = _fed(section, known)
        matched = section.matched
        if matched.tensor not in outputs:
            truth = values[matched.tensor]
            result = _plain(section, values)
            if result.shape == truth.shape:
                axis = made_axis(section.part.network, section.root, truth.ndim)
                matched = replace(matched, scaling=scaling(truth, result, axis))
        known[matched.root] = matched
        found.append(replace(section, matched=matched, sessions=section.sessions))
    scaled = [root for root, each in known.items() if each.scaling is not None]
    for root in scaled:
        readers = [each for each in found if root in each.sources]
        without = {**known, root: replace(known[root], scaling=None)}
        if _error(readers, values) >= _error([_fed(each, without) for each in readers], values):
            known = without
    return [
        replace(_fed(each, known), matched=known[each.root], sessions=each.sessions)
        for each in found
    ]


def _fed(section: Section, known: Mapping[str, Matched]) -> Section:
    sources = {name: known.get(each.root, each) for name, each in section.sources.items()}
    return replace(section, sources=sources, sessions=section.sessions)


def _plain(section: Section, values: Mapping[str, Array]) -> Array:
    feeds = section.feeds(values)
    return section.run(feeds, rounding=False, clipping=False)[section.root]


def _error(sections: Sequence[Section], values: Mapping[str, Array]) -> float:
    """Relative squared errors of sections whose weights alone are rounded, in sum."""
    total = 0.0
    for section in sections:
        truth = values[section.matched.tensor]
        result = np.asarray(_plain(section, values), np.float32).reshape(truth.shape)
        total += power(result - truth) / max(power(truth), 1e-30)
    return total
