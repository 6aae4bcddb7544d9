"""The compressed network on some samples, as a whole and from any layer on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network
from lissom.diagnosis.losses import PREFIX, Loss, losses, with_inputs
from lissom.diagnosis.reals import SWITCHES
from lissom.diagnosis.section import Section

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Bytes of the losses that are kept; samples beyond are left out.
HELD = 256 * 2**20


class Running:
    """Runs parts of the compressed network in reals, its rounding on, and what saturates lost.

    Args:
        network: the compressed network in reals.
        sums: the layers.
        samples: small batches.
        outputs: the compressed network's output for each of the original's.
    """

    def __init__(
        self,
        network: Network,
        sums: Sequence[Sums],
        samples: Sequence[Batch],
        outputs: Mapping[str, str],
    ) -> None:
        self.exact, self.given, self.all = network, outputs, samples
        self.lossy = [each for each in sums if each.counted and each.kernel is not None]
        self.network = with_inputs(network, self.lossy) if self.lossy else network
        self.on = {name: np.asarray(True) for name in SWITCHES}

    @cached_property
    def losses(self) -> list[dict[str, Loss]]:
        """Of each batch, of as many as may be held."""
        found: list[dict[str, Loss]] = []
        held = 0
        for each in losses(self.exact, self.lossy, self.all):
            held += sum(loss.bytes for loss in each.values())
            if found and held > HELD:
                break
            found.append(each)
        return found

    @property
    def samples(self) -> Sequence[Batch]:
        """The batches that there are losses for."""
        return self.all[: len(self.losses)] if self.lossy else self.all

    def loss(self, section: Section, at: int) -> Array | None:
        """What a layer's sums lose on a batch; None where they are exact."""
        name = "" if section.layer is None else PREFIX + section.layer.result
        if not self.lossy or name not in self.losses[at]:
            return None
        return self.losses[at][name].array()

    def outputs(self) -> Iterator[dict[str, Array]]:
        """The outputs for each batch, by the original's names."""
        run = self._run((), list(self.given.values()), {})
        return (self._named(run(at, {})) for at in range(len(self.samples)))

    def inputs(self, section: Section) -> Iterator[dict[str, Array]]:
        """What a layer reads, and its result, for each batch."""
        names = [name for name in section.part.inputs if name not in SWITCHES]
        run = self._run((), [*names, section.root], {})
        return (run(at, {}) for at in range(len(self.samples)))

    def after(self, root: str, kind: np.dtype[Any]) -> Callable[[int, Array], dict[str, Array]]:
        """The outputs for a batch in which the layer of that result gives another."""
        run = self._run((root,), list(self.given.values()), {root: kind})
        return lambda at, result: self._named(run(at, {root: result}))

    def _run(
        self, given: Sequence[str], wanted: Sequence[str], types: Mapping[str, Any]
    ) -> Callable[[int, Batch], dict[str, Array]]:
        part = self.network.between(set(given), list(dict.fromkeys(wanted)))
        session = part.session(types)
        lost = [name for name in part.inputs if name.startswith(PREFIX)]

        def run(at: int, more: Batch) -> dict[str, Array]:
            feeds = {name: self.losses[at][name].array() for name in lost}
            return session({**self.all[at], **self.on, **feeds, **more})

        return run

    def _named(self, found: Batch) -> dict[str, Array]:
        return {name: found[other] for name, other in self.given.items()}
