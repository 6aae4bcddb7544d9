"""How wide the codes of int8 weights may be, so that a kernel's sums are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from lissom.technique import Context

# As a setting. "full": -127..127. "reduced": -63..63, which no kernel can overflow. "pairs":
# -127..127 where no two weights whose products are added in 16 bits exceed 128 in sum. "auto":
# the widest that is exact on the target.
WeightRange = Literal["auto", "full", "pairs", "reduced"]
ExactRange = Literal["full", "pairs", "reduced"]
# Of a weight in the file; kernels compute with int8 whatever it is.
WeightBits = Literal[2, 3, 4, 5, 6, 7, 8]

# Widths whose codes may be odd numbers (graph/bit_planes.py): so few levels that one without a
# counterpart is worth something.
ODD_BITS = (2, 3)


def range_for(asked: WeightRange, context: Context) -> ExactRange:
    """What "auto" means on the target of this context."""
    if asked != "auto":
        return asked
    return "pairs" if context.pair_sums else "full"


@dataclass(frozen=True)
class WeightGrid:
    """Which codes weights may have: as many bits as the file has, eight as wide as `span` says.

    Any pair of codes of seven bits or fewer is exact on every machine, whatever the span.
    """

    span: ExactRange
    bits: WeightBits = 8

    @property
    def in_planes(self) -> bool:
        """Whether the file stores them as planes of bits; it has types for four and eight."""
        return self.bits not in (4, 8)

    @property
    def type(self) -> ir.DataType:
        """How the file stores them where it has a type."""
        return ir.DataType.INT4 if self.bits == 4 else ir.DataType.INT8

    def ends(self, *, odd: bool = False) -> tuple[int, int]:
        """The lowest and the highest code; of the grid of odd numbers, where there is one."""
        if odd:
            return 1 - 2**self.bits, 2**self.bits - 1
        if self.bits < 8:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return (-63, 63) if self.span == "reduced" else (-127, 127)
