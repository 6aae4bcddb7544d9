"""Training data as batches of tensors, in an order that the seed and the epoch alone decide."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lissom.arrays import Array
from lissom.errors import TaskError
from lissom.nn.place import Place
from lissom.training_data import TrainingData, seed_all

# Vector instructions sum in another order where a tensor begins elsewhere; torch's begin here.
ALIGNMENT = 64


@dataclass(frozen=True)
class Batch:
    """One batch on the training device."""

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None


class Feed:
    """The batches of every epoch.

    Whole arrays are shuffled here, split over the processes, and a rest that fills no batch is
    left out. Batches that come in their own order are taken as they come, after the global
    generators, the DataLoader's own generator and its sampler's epoch are set from seed and
    epoch. `beside` holds arrays of one row per sample that travel with the inputs.
    """

    def __init__(
        self,
        data: TrainingData,
        batch_size: int,
        *,
        place: Place,
        seed: int = 0,
        beside: Mapping[str, Array] | None = None,
    ) -> None:
        self.data = data
        self.place = place
        self.seed = seed
        self.columns: dict[str, torch.Tensor] = {}
        self.targets: torch.Tensor | None = None
        self.count = None if data.batches is None else data.batches.count
        if data.rows is not None:
            arrays = {**data.whole(), **(beside or {})}
            self.columns = {name: tensor_of(array, name) for name, array in arrays.items()}
            if data.targets is not None:
                self.targets = tensor_of(data.targets, "targets")
            self.rows = data.rows // place.world
            self.size = min(batch_size, self.rows)
            self.count = self.rows // self.size if self.size else 0
            if not self.count:
                raise TaskError(
                    f"{data.rows} training samples are fewer than the {place.world} processes",
                    where="train",
                )

    def epoch(self, epoch: int, skip: int = 0, step: int = 0) -> Iterator[Batch]:
        """The epoch's batches; or the rest of them, after `skip` batches and `step` steps."""
        seed_for(self.seed, "epoch", epoch, self.place.rank)
        if self.columns:
            batches = self._whole(epoch, skip)
        else:
            batches = self._stream(epoch)
            for _ in range(skip):
                next(batches, None)
        if skip:
            self.reseed(step)
        yield from batches

    def reseed(self, step: int) -> None:
        """Set the global generators as a run that goes on after that step finds them.

        This is the state of the generators in a checkpoint: a function of seed and step.
        """
        seed_for(self.seed, "step", step, self.place.rank)

    def _whole(self, epoch: int, skip: int) -> Iterator[Batch]:
        assert self.count is not None
        draw = torch.Generator().manual_seed(number_of(self.seed, "order", epoch))
        # All processes draw the same order and each takes its share of it.
        order = torch.randperm(self.data.rows or 0, generator=draw)
        order = order[self.place.rank :: self.place.world]
        for index in range(skip, self.count):
            chosen = order[index * self.size : (index + 1) * self.size]
            yield self._placed(
                {name: column.index_select(0, chosen) for name, column in self.columns.items()},
                None if self.targets is None else self.targets.index_select(0, chosen),
            )

    def _stream(self, epoch: int) -> Iterator[Batch]:
        _set_order(self.data.source, number_of(self.seed, "order", epoch), epoch)
        for inputs, targets in self.data.stream():
            yield self._placed(
                {name: aligned(tensor_of(array, name)) for name, array in inputs.items()},
                None if targets is None else aligned(tensor_of(targets, "targets")),
            )

    def _placed(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor | None) -> Batch:
        device = self.place.device
        return Batch(
            {name: value.to(device, non_blocking=True) for name, value in inputs.items()},
            None if targets is None else targets.to(device, non_blocking=True),
        )


def _set_order(source: Any, seed: int, epoch: int) -> None:
    """Make a DataLoader's order repeatable, whose generator is its own, or its sampler's."""
    sampler = getattr(source, "sampler", None)
    for generator in (getattr(source, "generator", None), getattr(sampler, "generator", None)):
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
    set_epoch = getattr(sampler, "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)


def seed_for(*facts: object) -> None:
    """Set all global generators as these facts decide."""
    seed_all(number_of(*facts))


def number_of(*facts: object) -> int:
    """A number of 32 bits that these facts decide."""
    return int.from_bytes(hashlib.sha256(repr(facts).encode()).digest()[:4], "little")


def tensor_of(array: Array, name: str) -> torch.Tensor:
    """The array as a tensor over the same memory.

    Raises:
        TaskError: torch has no such dtype.
    """
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            return torch.from_numpy(array)
    except TypeError:
        raise TaskError(
            f"torch has no tensors of {array.dtype}, the dtype of {name!r}",
            where="train",
            fix="convert the array to float32 or int64",
        ) from None


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor at an address where torch would have put it."""
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
