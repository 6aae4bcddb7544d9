"""Which samples calibrate and which judge, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError

if TYPE_CHECKING:
    from lissom.model import TensorSpec

# Enough for the ranges of activations to settle; more cost time and change little.
CALIBRATION = 128
SEED = 0


def hold_out(samples: int, at_most: int = CALIBRATION) -> tuple[Array, Array]:
    """Indices for calibration and for validation, each ascending and apart from the other.

    Calibration gets `at_most` samples, or a quarter where there are few.

    Raises:
        TaskError: there are fewer than four samples.
    """
    chosen = min(at_most, samples // 4)
    if not chosen:
        few = "1 sample is" if samples == 1 else f"{samples} samples are"
        raise TaskError(
            f"{few} too few to draw calibration and validation apart",
            fix="give at least 4; a few hundred make the intervals useful",
        )
    order = np.random.default_rng(SEED).permutation(samples)
    return np.sort(order[:chosen]), np.sort(order[chosen:])


def fixed_batch(specs: Sequence[TensorSpec] | None) -> int | None:
    """The batch size, where the model takes only one."""
    sizes = {spec.shape[0] for spec in specs or () if spec.shape}
    if len(sizes) != 1:
        return None
    (size,) = sizes
    return size if isinstance(size, int) else None


def whole_batches(indices: Array, batch: int | None) -> Array:
    """As many of the indices as fill batches of a fixed size.

    Raises:
        TaskError: they do not fill one.
    """
    if batch is None:
        return indices
    full = len(indices) // batch * batch
    if not full:
        raise TaskError(
            f"the model takes batches of exactly {batch}, and there are {len(indices)} samples",
            fix="give more samples, or export the model with a dynamic batch axis",
        )
    return indices[:full]
