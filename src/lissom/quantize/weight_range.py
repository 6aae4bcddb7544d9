"""How wide the codes of int8 weights may be, so that a kernel's sums are exact."""

from __future__ import annotations

from typing import Literal

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
