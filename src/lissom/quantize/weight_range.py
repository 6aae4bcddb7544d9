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


def range_for(asked: WeightRange, context: Context) -> ExactRange:
    """What "auto" means on the target of this context."""
    if asked != "auto":
        return asked
    return "pairs" if context.pair_sums else "full"


@dataclass(frozen=True)
class WeightGrid:
    """Which codes weights may have: as wide as `span` says, and four or eight bits in the file.

    Any pair of four-bit codes is exact on every machine, whatever the span.
    """

    span: ExactRange
    bits: Literal[4, 8] = 8

    @property
    def type(self) -> ir.DataType:
        """How the file stores them."""
        return ir.DataType.INT4 if self.bits == 4 else ir.DataType.INT8

    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        if self.bits == 4:
            return -8, 7
        return (-63, 63) if self.span == "reduced" else (-127, 127)
