"""A layer as it runs by itself in a file: its result is rounded to codes too, where it gives codes.

The section of a layer ends before its result is rounded, which the layers behind it do as they read
it. A convolution that alone is quantized gives codes all the same: no integer kernel gives floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.reals import Quantizer, Reals
from lissom.diagnosis.section import Section

Array = NDArray[Any]


@dataclass(frozen=True)
class Rounded(Section):
    """A section with the grid of its own result, None where it gives floats."""

    grid: Quantizer | None = None

    def run(
        self, feeds: Mapping[str, Array], *, rounding: bool, clipping: bool
    ) -> dict[str, Array]:
        """As the section, and with `rounding` the result is a value of its grid."""
        found = super().run(feeds, rounding=rounding, clipping=clipping)
        grid = self.grid
        if rounding and grid is not None:
            assert grid.scale is not None
            steps = np.rint(found[self.root] / grid.scale) * grid.scale
            found[self.root] = np.clip(steps, grid.low, grid.high).astype(np.float32)
        return found


def rounded(section: Section, reals: Reals) -> Rounded:
    """The section with its result rounded, if it is one of a convolution on codes.

    Args:
        section: one layer.
        reals: the compressed graph it is of.
    """
    grid = None
    if section.matched.anchor.op_type == "Conv" and section.entry is not None:
        grids = (each for each in reals.quantizers.values() if each.source == section.root)
        grid = next((each for each in grids if each.scale is not None), None)
    return Rounded(
        **{each.name: getattr(section, each.name) for each in fields(section)}, grid=grid
    )
