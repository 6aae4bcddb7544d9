"""How much a search tries, and for how long each file is timed."""

from __future__ import annotations

from dataclasses import dataclass

from lissom.errors import unknown
from lissom.measurement.records import Settings


@dataclass(frozen=True)
class Effort:
    """One level of effort.

    Attributes:
        name: what the user types.
        seconds: of timing for each file, over all processes, where the user asks for no other.
        samples: validation samples a file is judged on at most; None judges on all.
        recipes: names of the candidates that are built if they apply to the model; None builds
            all that do.
        mixed: tables of all layers are measured, and allocations of mixed precision built.
    """

    name: str
    seconds: float
    samples: int | None = None
    recipes: frozenset[str] | None = None
    mixed: bool = False

    def settings(self) -> Settings:
        """How latency is measured where the user does not say."""
        every = Settings()
        return every.model_copy(update={"seconds": self.seconds / every.processes})


# What quick leaves out is seldom chosen: float32 and float16 storage are as fast as the original
# and larger than INT8, 8-bit weights are slower than INT8 at its size, and 2-bit weights lose more
# than a budget allows unless they are trained. 500 samples bring the interval of a drop to about
# 1.7 times its width with 1,500.
QUICK = Effort(
    name="quick",
    seconds=1.5,
    samples=500,
    recipes=frozenset(
        {
            "int8 dynamic",
            "int8 dynamic, 4-bit embeddings",
            "int8 static",
            "int8 static, learned",
            "4-bit weights",
        }
    ),
)
NORMAL = Effort(name="normal", seconds=6.0)
THOROUGH = Effort(name="thorough", seconds=6.0, mixed=True)

EFFORTS = {effort.name: effort for effort in (QUICK, NORMAL, THOROUGH)}


def find_effort(name: str) -> Effort:
    """The effort of that name.

    Raises:
        RequestError: there is none; the nearest name is offered.
    """
    try:
        return EFFORTS[name]
    except KeyError:
        raise unknown("effort", name, EFFORTS) from None
