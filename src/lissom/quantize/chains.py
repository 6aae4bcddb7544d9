"""Which channels of which tensors can be scaled without changing what a graph computes.

Between two layers a positive factor of a channel can be taken out of the first and put into the
second (Nagel et al. 2019, section 4.1): ReLU, pooling and the like let it pass. Here every channel
of every tensor gets a number, and channels that must share one factor get the same one: both
operands of a residual sum, both ends of an activation. Number 0 is that of what stays as it is.
What an operator does to channels is said in channel_rules.py; an operator that is not known there
leaves everything it reads and gives as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lissom.graph.edit import Editor, constant_of
from lissom.quantize.channel_rules import RULES
from lissom.quantize.channels import Channels, Numbering, Numbers, Shapes, Site, refuse

Factors = NDArray[np.float64]

# What names of constants that took factors up end with.
SCALED = "_scaled"


@dataclass(frozen=True)
class Reader:
    """A layer that multiplies the channels it reads by weights.

    Attributes:
        node: a Conv, Gemm or MatMul.
        source: the tensor it reads.
        numbers: `[input channels]`, of the factors of what it reads.
    """

    node: ir.Node
    source: ir.Value
    numbers: Numbers


@dataclass(frozen=True)
class Bound:
    """A Clip between zero and `high`: channels that stay below may be scaled as far as they do."""

    source: ir.Value
    channels: Channels
    high: float


@dataclass(frozen=True)
class Chains:
    """What can be scaled.

    Attributes:
        count: how many factors there are, that of number 0 included, which is always 1.
        sites: every constant that takes factors up.
        readers: every layer that reads channels with factors.
        bounds: what limits them.
        tensors: the tensors whose channels are numbered, in graph order.
    """

    count: int
    sites: tuple[Site, ...]
    readers: tuple[Reader, ...]
    bounds: tuple[Bound, ...]
    tensors: Mapping[ir.Value, Channels]

    def groups(self) -> tuple[tuple[Reader, ...], ...]:
        """Readers whose inputs share factors, so that these are chosen for all of them at once.

        Those that read nothing but what stays as it is are in no group.
        """
        links = [each.numbers[each.numbers > 0] for each in self.readers]
        pairs = [np.stack((free[:-1], free[1:])) for free in links if free.size]
        labels = _components(pairs, self.count)
        found: dict[int, list[Reader]] = {}
        for reader, free in zip(self.readers, links, strict=True):
            if free.size:
                found.setdefault(int(labels[free[0]]), []).append(reader)
        return tuple(tuple(group) for group in found.values())


def find_chains(model: ir.Model, shapes: Shapes) -> Chains:
    """Number the channels of a graph.

    Args:
        model: is not changed.
        shapes: by name, of tensors around operators that rearrange axes, as they were seen when it
            ran; where they are missing, channels stay as they are.
    """
    numbering = Numbering(model.graph, shapes)
    for node in model.graph:
        rule = refuse if node.domain else RULES.get(node.op_type, refuse)
        rule(numbering, node)
    for value, channels in numbering.tensors.items():
        # What others see stays: the caller, and the body of an If or Loop.
        if value.is_graph_output() or any(
            use.node.graph is not model.graph for use in value.uses()
        ):
            numbering.fix(channels)
    final = _components(numbering.equal, numbering.count)
    # Number 0 is what number 0 became.
    final = np.where(final == final[0], 0, np.where(final == 0, final[0], final))
    _, final = np.unique(final, return_inverse=True)

    def renumbered(numbers: Numbers | None) -> Numbers | None:
        return None if numbers is None else final[numbers]

    tensors = {value: channels.numbered(final) for value, channels in numbering.tensors.items()}
    return Chains(
        int(final.max()) + 1,
        tuple(
            Site(site.node, site.index, renumbered(site.read), renumbered(site.given))
            for site in numbering.sites
        ),
        tuple(Reader(node, source, final[numbers]) for node, source, numbers in numbering.readers),
        tuple(
            Bound(source, channels.numbered(final), high)
            for source, channels, high in numbering.bounds
        ),
        tensors,
    )


def rescale(editor: Editor, chains: Chains, factors: Factors) -> int:
    """Divide every channel by its factor, and multiply the weights that read it.

    Args:
        editor: of the model that the chains were found in.
        chains: they hold for the model as it was, and cannot be used again.
        factors: `[count]`, positive; the first must be 1.

    Returns:
        How many constants were changed.
    """
    changed = 0
    for site in chains.sites:
        factor = factor_of(site, factors)
        value = site.node.inputs[site.index]
        array = constant_of(value)
        if factor is None or value is None or array is None:
            continue
        scaled = (array.astype(np.float64) * factor).astype(np.float32)
        site.node.replace_input_with(site.index, editor.constant(f"{value.name}{SCALED}", scaled))
        changed += 1
    return changed


def factor_of(site: Site, factors: Factors) -> Factors | None:
    """What a constant is multiplied by, of a shape that broadcasts to its own; None for 1."""
    factor = np.ones((), np.float64)
    if site.read is not None:
        factor = factor * factors[site.read]
    if site.given is not None:
        factor = factor / factors[site.given]
    return None if np.all(factor == 1) else factor


def _components(pairs: list[Numbers], count: int) -> Numbers:
    """A label for each of `count` numbers; those that pairs `[2, n]` connect have the same one."""
    one, other = np.concatenate([np.empty((2, 0), np.intp), *pairs], axis=1)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)
