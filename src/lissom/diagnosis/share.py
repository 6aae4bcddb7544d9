"""How much of the output's error each layer makes: its added error alone in the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums, saturated
from lissom.diagnosis.cut import Network
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Below this an added error is the float arithmetic's own.
NEGLIGIBLE = 1e-10
TINY = 1e-30
# Bytes of the original's tensors that are kept at a time, of all samples.
HELD = 256 * 2**20


def alone(
    network: Network,
    sums: Sequence[Sums],
    samples: Sequence[Batch],
    sizes: Mapping[str, int],
    track: Track,
) -> list[float]:
    """Relative squared error of the outputs that each layer makes alone, the largest output's.

    The layer's result with its added error is put into the original, and what depends on it is run
    again; nothing else is.

    Args:
        network: the original.
        sums: the layers and their added errors; negligible ones are left out.
        samples: a few small batches.
        sizes: bytes of the original's tensors for all samples, about.
        track: shown one item a layer.
    """
    found = [0.0] * len(sums)
    suffixes = {
        at: _Suffix(network, each) for at, each in enumerate(sums) if each.added > NEGLIGIBLE
    }
    waiting = dict(suffixes)
    known: list[dict[str, Array]] = []
    for at, suffix in track(suffixes.items(), "shares", len(suffixes)):
        if not known or not suffix.needs <= known[0].keys():
            names: set[str] = set(network.outputs)
            for each in waiting.values():
                more = names | each.needs
                if each is not suffix and sum(sizes.get(name, 0) for name in more) > HELD:
                    break
                names = more
            prefix = network.between((), sorted(names)).session({})
            known = [{**batch, **prefix(batch)} for batch in samples]
            del prefix
        del waiting[at]
        found[at] = suffix.error(known)
    return found


class _Suffix:
    """What depends on one layer's result, to be run with a result put in its place."""

    def __init__(self, network: Network, sums: Sums) -> None:
        section = sums.section
        self.network, self.section = network, section
        self.kernel = sums.kernel if sums.counted else None
        tensor = section.matched.tensor
        behind = network.behind({tensor})
        self.outputs = [name for name in network.outputs if name in behind]
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

    def error(self, samples: Sequence[Batch]) -> float:
        """Relative squared error of the outputs with the compressed layer's result."""
        section, tensor = self.section, self.section.matched.tensor
        session = None
        errors = dict.fromkeys(self.outputs, 0.0)
        powers = dict.fromkeys(self.outputs, 0.0)
        for known in samples:
            changed = np.asarray(self._result(known), known[tensor].dtype)
            given = {name: known[name] for name in self.beside}
            given[tensor] = changed.reshape(known[tensor].shape)
            if session is None:
                types = {name: array.dtype for name, array in given.items()}
                session = self.network.between(set(given), self.outputs).session(types)
            found = session(given)
            for name in self.outputs:
                if known[name].dtype.kind == "f":
                    truth = known[name].astype(np.float64)
                    errors[name] += float(np.square(found[name] - truth).sum())
                    powers[name] += float(np.square(truth).sum())
        section.close()
        return max((errors[n] / max(powers[n], TINY) for n in self.outputs), default=0.0)

    def _result(self, known: Mapping[str, Array]) -> Array:
        section, feeds = self.section, self.section.feeds(known)
        if self.kernel is None:
            return section.run(feeds, rounding=True, clipping=True)[section.root]
        found = section.run(feeds, rounding=True, clipping=True)
        return saturated(section, self.kernel, found, feeds)
