"""A layer on a few samples of a batch, for what would take long on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lissom.diagnosis.cut import Network
from lissom.diagnosis.reals import SWITCHES
from lissom.diagnosis.section import Section

Array = NDArray[Any]


class Some(NamedTuple):
    """A layer's tensors, rounded and clipped, with what it was fed and what the original has."""

    found: dict[str, Array]
    feeds: Mapping[str, Array]
    truth: Array


def sample_count(feeds: Mapping[str, Array]) -> int:
    """The samples of what a layer is fed with; 0 where its tensors do not agree on that."""
    sizes = {len(array) for array in feeds.values() if array.ndim and len(array) != 1}
    return sizes.pop() if len(sizes) == 1 else 0


def on_few(
    section: Section,
    feeds: Mapping[str, Array],
    truth: Array,
    samples: int,
    shape: tuple[int, ...],
) -> Some:
    """The layer on the first samples; on all where they cannot be told apart.

    The first axis need not have the samples alone: a Reshape may fold the next ones into it, and
    then as many rows go with each sample.

    Args:
        section: the layer.
        feeds, truth: what it is fed, and the original's result.
        samples: how many.
        shape: of its result on all of them.
    """
    count = sample_count(feeds)
    sized = count and len(truth) % count == 0 and bool(shape) and shape[0] % count == 0
    if sized and samples < count and _takes_any_batch(section.part.network):
        first = {
            name: array[:samples] if array.ndim and len(array) == count else array
            for name, array in feeds.items()
        }
        found = section.run(first, rounding=True, clipping=True)
        # Where an axis was moved in front of the samples, other parts of the result are left.
        if found[section.root].shape == (shape[0] // count * samples, *shape[1:]):
            return Some(found, first, truth[: len(truth) // count * samples])
    return Some(section.run(feeds, rounding=True, clipping=True), feeds, truth)


def _takes_any_batch(network: Network) -> bool:
    """Whether some input's first axis is left open: constants inside may hold a fixed size."""
    dims = [
        value.type.tensor_type.shape.dim
        for name, value in network.inputs.items()
        if name not in SWITCHES
    ]
    return any(len(each) > 0 and not each[0].HasField("dim_value") for each in dims)
