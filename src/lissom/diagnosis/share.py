"""How much of the output's error each layer makes: its added error alone in the original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums, saturated
from lissom.diagnosis.cut import Network
from lissom.diagnosis.kept import Keep, unkept
from lissom.graph.compared import compared
from lissom.quantize.output_error import is_signal
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Below this an added error is the float arithmetic's own.
NEGLIGIBLE = 1e-10
TINY = 1e-30
# Bytes of the original's tensors that are kept at a time, of all samples.
HELD = 256 * 2**20


class Alone(NamedTuple):
    """What a layer's added error does by itself.

    Attributes:
        error: relative squared error of the outputs, the largest output's; infinite where it
            makes them infinite or NaN.
        gain: the part of the compressed network's squared error that goes without it, as far as
            errors at the output add up, with their signs. Where the whole error is e and the
            layer's d that is (|e|^2 - |e - d|^2) / |e|^2.
    """

    error: float
    gain: float


def alone(
    network: Network,
    sums: Sequence[Sums],
    samples: Sequence[Batch],
    answers: Sequence[Batch],
    sizes: Mapping[str, int],
    track: Track,
    keep: Keep = unkept,
) -> list[Alone]:
    """What each layer does to the outputs by itself.

    The layer's result with its added error is put into the original, and what depends on it is run
    again; nothing else is. Labels stand for what they are chosen from: see `compared`.

    Args:
        network: the original.
        sums: the layers and their added errors; negligible ones are left out.
        samples: a few small batches.
        answers: what the compressed network gives for them, by the original's names.
        sizes: bytes of the original's tensors for all samples, about.
        track: shown one item a layer.
        keep: keeps what is found of each layer.
    """
    found = [Alone(0.0, 0.0)] * len(sums)
    ends = compared(ir.serde.deserialize_model(network.model))
    suffixes = {
        at: _Suffix(network, each, ends) for at, each in enumerate(sums) if each.added > NEGLIGIBLE
    }
    starts = {group[0]: group for group in _together(suffixes, ends, sizes)}
    values = _Values(network, ends, (), samples)
    for at, suffix in track(suffixes.items(), "shares", len(suffixes)):
        if at in starts:
            values = _Values(network, ends, [suffixes[each] for each in starts[at]], samples)
        found[at] = Alone(*keep(f"share of {at}", partial(suffix.error, values, answers)))
    return found


def shares(made: Sequence[Alone]) -> list[float]:
    """Of the outputs' error, what each layer makes; all of it is theirs that lose numbers."""
    errors = np.array([each.error for each in made], np.float64)
    if np.isinf(errors).any():
        errors = np.isinf(errors).astype(np.float64)
    found: list[float] = (errors / max(errors.sum(), TINY)).tolist()
    return found


def _together(
    suffixes: Mapping[int, _Suffix], outputs: Sequence[str], sizes: Mapping[str, int]
) -> Iterator[list[int]]:
    """Layers, in order, whose tensors are held at a time: the same however many are kept, since
    the runtime may compute a tensor in other bits where other tensors are wanted beside it."""
    group: list[int] = []
    names = set(outputs)
    for at, suffix in suffixes.items():
        more = names | suffix.needs
        if group and sum(sizes.get(name, 0) for name in more) > HELD:
            yield group
            group, more = [], set(outputs) | suffix.needs
        group.append(at)
        names = more
    if group:
        yield group


class _Values:
    """The original's tensors that some layers need, and its outputs: computed when first read."""

    def __init__(
        self,
        network: Network,
        ends: Sequence[str],
        suffixes: Sequence[_Suffix],
        samples: Sequence[Batch],
    ) -> None:
        self.network, self.samples = network, samples
        self.names = sorted(set(ends).union(*(each.needs for each in suffixes)))
        self.known: list[dict[str, Array]] = []

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        if not self.known:
            prefix = self.network.between((), self.names).session({})
            self.known = [{**batch, **prefix(batch)} for batch in self.samples]
        return iter(self.known)


class _Suffix:
    """What depends on one layer's result, to be run with a result put in its place."""

    def __init__(self, network: Network, sums: Sums, ends: Sequence[str]) -> None:
        section = sums.section
        self.network, self.section, self.ends = network, section, ends
        self.kernel = sums.kernel if sums.counted else None
        tensor = section.matched.tensor
        behind = network.behind({tensor})
        self.outputs = [name for name in ends if name in behind]
        # Tensors that go past the layer: the other branch of a residual sum, a mask.
        part = network.between({tensor}, self.outputs)
        self.beside = {
            name
            for node in part.nodes
            if any(made in behind for made in node.output)
            for name in network.reads[id(node)]
            if name not in behind and name not in network.constants
        }
        inputs = {name for name in section.part.inputs if name in network.inputs}
        self.needs = section.needs | self.beside | set(self.outputs) | inputs

    def error(self, samples: Iterable[Batch], answers: Sequence[Batch]) -> Alone:
        """The outputs' errors with the compressed layer's result, beside those of the whole."""
        section, tensor = self.section, self.section.matched.tensor
        session = None
        # Of each output: its power, the error's, that of the whole network, and their product.
        totals: dict[str, Array] = {}
        for known, answer in zip(samples, answers, strict=True):
            result = np.asarray(self._result(known), known[tensor].dtype)
            if result.size != known[tensor].size:
                # How much the layer gives depends on what is rounded.
                continue
            given = {name: known[name] for name in self.beside}
            given[tensor] = result.reshape(known[tensor].shape)
            if session is None:
                types = {name: array.dtype for name, array in given.items()}
                session = self.network.between(set(given), self.outputs).session(types)
            found = session(given)
            for name in self.ends:
                sums = _products(known[name], found.get(name), answer.get(name))
                totals[name] = totals.get(name, 0.0) + sums
        section.close()
        error = max((off / max(truth, TINY) for truth, off, _, _ in totals.values()), default=0.0)
        worst = max(totals.values(), key=lambda each: each[2] / max(each[0], TINY), default=None)
        if worst is None or not worst[2] > 0 or np.isinf(worst[1]):
            return Alone(float(error), 0.0)
        return Alone(float(error), float((2 * worst[3] - worst[1]) / worst[2]))

    def _result(self, known: Mapping[str, Array]) -> Array:
        section, feeds = self.section, self.section.feeds(known)
        if self.kernel is None:
            return section.run(feeds, rounding=True, clipping=True)[section.root]
        found = section.run(feeds, rounding=True, clipping=True)
        return saturated(section, self.kernel, found, feeds)


def _products(truth: Array, found: Array | None, whole: Array | None) -> NDArray[np.float64]:
    """Of an output: its power, the error's, the whole network's, and the product of these two.

    Args:
        truth: what the original gives.
        found: with one layer's error, None where that does not get there.
        whole: what the compressed network gives, None where it has no such tensor. What is lost
            in it tells nothing.
    """
    exact = np.asarray(truth, np.float64)
    here = is_signal(exact)
    exact = np.where(here, exact, 0.0)
    (off, lost), (error, _) = (_off(exact, here, each) for each in (found, whole))
    pairs = ((exact, exact), (off, off), (error, error), (error, off))
    sums = np.array([float(np.vdot(one, other)) for one, other in pairs])
    sums[1] = np.inf if lost else sums[1]
    return sums


def _off(exact: Array, here: Array, found: Array | None) -> tuple[Array, bool]:
    """How far a tensor is from what it should be, and whether numbers became none, 0 there."""
    if found is None or found.size != exact.size:
        return np.zeros_like(exact), False
    found = found.reshape(exact.shape)
    numbers = np.isfinite(found)
    lost = bool(np.any(here & ~numbers))
    return np.where(here & numbers, found, exact) - exact, lost
