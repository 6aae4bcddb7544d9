"""Pictures by number, decoded batch by batch on every pass, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array, Inputs
from lissom.batches import Batches
from lissom.errors import TaskError
from lissom.labelled import Labelled
from lissom.metric import Metric
from lissom.metrics import METRICS, default_metric
from lissom.sources.pictures import broken, pixels_of
from lissom.sources.preprocessing import Preprocessing
from lissom.sources.split import fixed_batch, hold_out, whole_batches
from lissom.task import Task

if TYPE_CHECKING:
    from lissom.model import TensorSpec

# Of one batch of inputs, whatever batch size is asked for.
BATCH_BYTES = 64 * 2**20
# Decoded pixels that are kept from pass to pass: decoding takes longer than most networks.
KEPT_BYTES = 256 * 2**20
NAMED = 5


@dataclass(frozen=True)
class Gallery:
    """Pictures by number, ready for the model.

    Attributes:
        count: how many there are.
        source: file, or encoded bytes, of a picture by its number.
        name: what an error calls a picture by its number.
        wanted: how they are prepared.
        input: the model's name of the input, None where it goes by position.
    """

    count: int
    source: Callable[[int], Path | bytes]
    name: Callable[[int], str]
    wanted: Preprocessing
    input: str | None
    _kept: dict[int, Array] = field(default_factory=dict, repr=False)

    def batch(self, rows: Array) -> Inputs:
        """The model's input for pictures of these numbers.

        Raises:
            TaskError: a picture cannot be decoded, or they differ in size.
        """
        pixels = [self._pixels(int(row)) for row in rows]
        for row, one in zip(rows, pixels, strict=True):
            if one.shape != pixels[0].shape:
                raise TaskError(
                    f"the picture is {one.shape[0]}x{one.shape[1]} where others are "
                    f"{pixels[0].shape[0]}x{pixels[0].shape[1]}, and a batch needs one size",
                    where=self.name(int(row)),
                    fix="name one: images:FOLDER,size=224",
                )
        array = self.wanted.numbers(np.stack(pixels))
        return (array,) if self.input is None else {self.input: array}

    def rows_of_batch(self, asked: int) -> int:
        """Pictures in a batch: as many as asked, or as many as the memory of a batch holds."""
        height, width = self.wanted.output or (1024, 1024)
        return max(1, min(asked, BATCH_BYTES // (height * width * 3 * 4)))

    def _pixels(self, row: int) -> Array:
        if row in self._kept:
            return self._kept[row]
        try:
            pixels = pixels_of(self.source(row), self.wanted, self.name(row))
        except TaskError as error:
            error.where = "\n".join([self.name(row), *self._others_broken(row)])
            raise
        if (len(self._kept) + 1) * pixels.nbytes <= KEPT_BYTES:
            self._kept[row] = pixels
        return pixels

    def _others_broken(self, row: int) -> list[str]:
        """Other pictures that cannot even be opened, so that all are mended at once."""
        others = (
            self.name(other)
            for other in range(self.count)
            if other != row and broken(self.source(other), "")
        )
        found = list(islice(others, NAMED + 1))
        return found if len(found) <= NAMED else [*found[:NAMED], "and more"]


def gallery_task(
    gallery: Gallery,
    labels: Array | None,
    specs: Sequence[TensorSpec] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
    notes: Sequence[str],
) -> Task:
    """A task of pictures, some of which calibrate while the others judge."""
    metric = metric or METRICS[default_metric(labels)]
    fixed = fixed_batch(specs)
    size = fixed or gallery.rows_of_batch(batch_size)
    calibration, validation = (whole_batches(rows, fixed) for rows in hold_out(gallery.count))

    def inputs() -> Iterator[Inputs]:
        return (gallery.batch(calibration[at : at + size]) for at in starts(calibration))

    def samples() -> Iterator[tuple[Inputs, Array | None]]:
        for at in starts(validation):
            rows = validation[at : at + size]
            yield gallery.batch(rows), None if labels is None else labels[rows]

    def starts(rows: Array) -> range:
        return range(0, len(rows), size)

    return Task(
        calibration=Batches(inputs, len(starts(calibration))),
        validation=Labelled(
            samples,
            labels is not None,
            len(starts(validation)),
            origin=lambda sample: gallery.name(int(validation[sample])),
        ),
        metric=metric,
        name=name,
        notes=notes,
    )
