"""One layer of the compressed network by itself, fed with what the original computed before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.activation import kept_by_codes
from lissom.diagnosis.cut import Network, Part, Session
from lissom.diagnosis.layer_node import LayerNode, layer_node
from lissom.diagnosis.match import Matched
from lissom.diagnosis.native import native_part
from lissom.diagnosis.reals import CLIP, CLIP_ZERO, ROUND, SWITCHES, Quantizer, Reals
from lissom.diagnosis.stored import StoredWeight

Array = NDArray[Any]


@dataclass(frozen=True)
class Section:
    """The part of the compressed graph between one layer's result and those before it.

    Attributes:
        matched: the layer.
        part: the nodes, in reals.
        sources: what was matched to each tensor that the part is fed with.
        quantizers: that stand in it.
        layer: the node with weights, None where there is none.
        entry: the quantizer behind which the layer reads its data, None without one.
        weight: its stored weight, None if it is stored as floats or in blocks.
        bits: of the stored weight's codes, None if they are floats.
        native: the same part of the file itself, where a kernel rounds inside; else None.
        low, high: range of the original's activation where the compressed graph has none of its
            own, but a grid that ends there.
    """

    matched: Matched
    part: Part
    sources: dict[str, Matched]
    quantizers: tuple[Quantizer, ...]
    layer: LayerNode | None
    entry: Quantizer | None
    weight: StoredWeight | None
    bits: int | None
    native: Part | None
    low: float | None = None
    high: float | None = None
    sessions: dict[tuple[str, ...], Session] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> str:
        """The tensor that is the layer's result."""
        return self.matched.root

    @property
    def is_exact(self) -> bool:
        """Whether nothing in it rounds while it runs."""
        return not self.quantizers and self.native is None

    def feeds(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The part's inputs from the original's tensors."""
        found = {}
        for name in self.part.inputs:
            source = self.sources.get(name)
            if source is None and name not in SWITCHES:
                found[name] = values[name]
            elif source is not None:
                value = values[source.tensor]
                found[name] = value if source.scaling is None else source.scaling.apply(value)
        return found

    @cached_property
    def needs(self) -> set[str]:
        """The original's tensors that the layer is fed with and compared to."""
        return {self.matched.tensor, *(source.tensor for source in self.sources.values())}

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        rounding: bool,
        clipping: bool,
    ) -> dict[str, Array]:
        """The layer's result, as its activation leaves it, and the tensors it is made of."""
        # Where a grid that ends at zero stands for a ReLU inside, it has to stay.
        at_zero = clipping or self._has_inner_zero
        switches = {
            ROUND: np.asarray(rounding), CLIP: np.asarray(clipping), CLIP_ZERO: np.asarray(at_zero)
        }  # fmt: skip
        found = self._session((), self._seen, feeds)({**feeds, **switches})
        if rounding and self.native is not None:
            found[self.root] = self._kernels(feeds)
        found[self.root] = self.limited(found[self.root])
        return found

    def _kernels(self, feeds: Mapping[str, Array]) -> Array:
        """The layer's result as the file's own operators compute it."""
        assert self.native is not None
        key = ("native",)
        if key not in self.sessions:
            types = {name: array.dtype for name, array in feeds.items()}
            self.sessions[key] = self.native.session(types)
        return self.sessions[key](feeds)[self.root]

    def onward(self, start: str, values: Array, feeds: Mapping[str, Array]) -> Array:
        """The layer's result from one of the section's tensors on, with nothing rounded."""
        if start == self.root:
            return self.limited(values)
        given = {**feeds, start: values}
        switches = {name: np.asarray(False) for name in (ROUND, CLIP)}
        switches[CLIP_ZERO] = np.asarray(self._has_inner_zero)
        found = self._session((start,), (self.root,), given)({**given, **switches})
        return self.limited(found[self.root])

    def at_zero(self, feeds: Mapping[str, Array], data: Array) -> Array:
        """What the layer adds to its sums: its result before the activation when fed zeros."""
        assert self.layer is not None
        given = {**feeds, self.layer.data: np.zeros_like(data)}
        switches = {name: np.asarray(False) for name in SWITCHES}
        session = self._session((self.layer.data,), (self.layer.end,), given)
        return session({**given, **switches})[self.layer.end]

    def limited(self, result: Array) -> Array:
        """The result in the original's form, within the range of its activation."""
        if self.matched.scaling is not None:
            result = self.matched.scaling.undo(result)
        if self.low is None and self.high is None:
            return result
        return np.clip(result, self.low, self.high)

    def bounded(self, result: Array) -> Array:
        """The result within the range of the original's activation, whatever the graph has."""
        anchor = self.matched.anchor
        if self.matched.tensor != anchor.tensors[0] or (anchor.low, anchor.high) == (None, None):
            return result
        return np.clip(result, anchor.low, anchor.high)

    def close(self) -> None:
        """Let go of the sessions."""
        self.sessions.clear()

    def clips(self, feeds: Mapping[str, Array]) -> bool:
        """Whether some value of a batch may lie outside of the grid it is rounded to."""
        for each in self.quantizers:
            if each.low is None or each.high is None or each.scale is None:
                continue
            values = feeds.get(each.source)
            if values is None:
                return True
            if values.size and (
                float(values.min()) < each.low - each.scale / 2
                or float(values.max()) > each.high + each.scale / 2
            ):
                return True
        return False

    @cached_property
    def _seen(self) -> tuple[str, ...]:
        """What is looked at in a run; always the same, so that one session will do."""
        names = [self.root]
        if self.layer is not None and not self.layer.looks_up:
            names += [self.layer.data, self.layer.result, self.layer.end]
        if self.entry is not None:
            names += [self.entry.source]
            names += [self.entry.codes, self.entry.zero] if self.entry.scale is None else []
        return tuple(dict.fromkeys(name for name in names if name))

    @cached_property
    def _has_inner_zero(self) -> bool:
        return any(
            0.0 in (each.low, each.high) and each.source not in self.part.inputs
            for each in self.quantizers
        )

    def _session(
        self, more: tuple[str, ...], wanted: tuple[str, ...], feeds: Mapping[str, Array]
    ) -> Session:
        key = (*more, "", *wanted)
        if key not in self.sessions:
            types = {name: array.dtype for name, array in feeds.items()}
            given = {name for name in self.part.inputs if name not in SWITCHES} | set(more)
            part = self.part.network.between(given, list(dict.fromkeys(wanted)))
            self.sessions[key] = part.session(types)
        return self.sessions[key]


def sections(
    matches: Sequence[Matched], reals: Reals, network: Network, compressed: Network
) -> list[Section]:
    """The section of every layer.

    Args:
        matches: the layers.
        reals, network: the compressed graph in reals.
        compressed: the file as it is.
    """
    known = {each.root: each for each in matches}
    return [_section(each, known, reals, network, compressed) for each in matches]


def _section(
    matched: Matched,
    known: Mapping[str, Matched],
    reals: Reals,
    network: Network,
    compressed: Network,
) -> Section:
    given = set(known) - {matched.root}
    part = network.between(given, [matched.root])
    made = {name for node in part.nodes for name in node.output}
    quantizers = tuple(q for q in reals.quantizers.values() if q.codes in made)
    layer = layer_node(part, network, reals)
    entry = layer.entry if layer is not None else next(iter(quantizers), None)
    low, high = _ends(matched, reals, network)
    return Section(
        matched,
        part,
        {name: known[name] for name in part.inputs if name in known},
        quantizers,
        layer,
        entry,
        None if layer is None else reals.weights.get(layer.weight),
        None if layer is None else reals.widths.get(layer.weight),
        native_part(compressed, given, matched.root),
        low,
        high,
    )


def _ends(matched: Matched, reals: Reals, network: Network) -> tuple[float | None, float | None]:
    """Where codes do the work of the original's activation, its range."""
    anchor = matched.anchor
    maker = network.maker.get(matched.root)
    if matched.tensor != anchor.tensors[0] or maker is None or maker.op_type in ("Relu", "Clip"):
        return None, None
    return kept_by_codes(anchor, matched.root, reals, network)
