"""Whether the same samples calibrate and judge, told by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from lissom.arrays import Array, Batch

# Of 10 million samples of each kind, one meets another by chance once in 100,000 data sets.
DIGEST_BYTES = 8
MASK = "attention_mask"


class Shared:
    """Counts the validation samples that calibrated too; one digest is kept for each of these."""

    def __init__(self) -> None:
        self._calibrated: set[bytes] = set()
        self._judged = 0
        self._both = 0

    def calibration(self, batch: Batch) -> None:
        """Remember the samples of a calibration batch."""
        self._calibrated.update(sample_digests(batch))

    def validation(self, batch: Batch, rows: int = 1) -> None:
        """Look for the samples of a validation batch among them.

        Where `rows` rows make one sample, as sentences of a pair do, all of them must be there:
        one sentence may well stand in several pairs.
        """
        known = [digest in self._calibrated for digest in sample_digests(batch)]
        samples = len(known) // max(1, rows)
        for sample in range(samples):
            self._judged += 1
            self._both += all(known[sample::samples])

    def words(self) -> tuple[str, ...]:
        """The warning, if there is anything to warn of."""
        if not self._both:
            return ()
        total = f"{self._judged:,}"
        told = f"All {total} validation samples" if self._both == self._judged else ""
        told = told or f"{self._both:,} of the {total} validation samples"
        are = "are calibration samples too" if self._both > 1 else "is a calibration sample too"
        return (
            f"{told} {are}: on data that did not calibrate, quality may be lower than measured "
            "here. Give validation samples of their own.",
        )


def sample_digests(batch: Batch) -> Iterator[bytes]:
    """A digest of every row of a batch; padding that an attention mask leaves out does not count,
    since it differs from batch to batch."""
    arrays = [(name, array) for name, array in sorted(batch.items()) if array.ndim]
    rows = min((len(array) for _, array in arrays), default=0)
    mask = batch.get(MASK)
    for row in range(rows):
        state = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for name, array in arrays:
            values = _unpadded(array[row], None if mask is None else mask[row])
            state.update(f"{name}\0{array.dtype.str}\0{values.shape}\0".encode())
            state.update(values.tobytes())
        yield state.digest()


def _unpadded(values: Array, mask: Array | None) -> Array:
    if mask is None or mask.ndim != 1 or values.shape != mask.shape:
        return values
    kept: Array = values[mask.astype(bool)]
    return kept
