"""The output's error that two layers make together, the second reading what the first made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.cut import Network, Session
from lissom.diagnosis.section import Section
from lissom.quantize.output_error import RelativeError

Array = NDArray[Any]
Batch = Mapping[str, Array]


def together(network: Network, one: Section, other: Section, samples: Sequence[Batch]) -> float:
    """Relative squared error of the outputs with both layers compressed, the largest output's.

    Args:
        network: the original.
        one, other: two layers of it, in the order of the graph.
        samples: a few small batches.
    """
    first, second = tensors = one.matched.tensor, other.matched.tensor
    behind = network.behind(tensors)
    outputs = [name for name in network.outputs if name in behind]
    needs = other.needs - {second}
    beside = passing_by(network, tensors, {*outputs, *needs})
    before = network.between((), sorted({*outputs, *one.needs, *beside, second})).session({})
    sums = {name: RelativeError() for name in outputs}
    between = after = None
    for batch in samples:
        known = {**batch, **before(batch)}
        given = {name: known[name] for name in beside}
        given[first] = _result(one, known)
        if between is None:
            between = _session(network, given, sorted(needs))
        read = {**batch, **given, **between(given), second: known[second]}
        given[second] = _result(other, read)
        if after is None:
            after = _session(network, given, outputs)
        found = after(given)
        for name in outputs:
            sums[name].add(known[name], found[name])
    for section in (one, other):
        section.close()
    return max((each.relative for each in sums.values() if each.count), default=0.0)


def passing_by(network: Network, tensors: Sequence[str], wanted: set[str]) -> set[str]:
    """What depends on none of the tensors, and must be known beside them to compute the wanted."""
    behind = network.behind(tensors)
    part = network.between(tensors, sorted(wanted & behind))
    read = {
        name
        for node in part.nodes
        if any(made in behind for made in node.output)
        for name in network.reads[id(node)]
    }
    return {name for name in read | wanted if name not in behind and name not in network.constants}


def _session(network: Network, given: Batch, wanted: Sequence[str]) -> Session:
    types = {name: array.dtype for name, array in given.items()}
    return network.between(set(given), wanted).session(types)


def _result(section: Section, known: Mapping[str, Array]) -> Array:
    """The compressed layer's result, in the form of the original's."""
    truth = known[section.matched.tensor]
    found = section.run(section.feeds(known), rounding=True, clipping=True)[section.root]
    return np.asarray(found, truth.dtype).reshape(truth.shape)
