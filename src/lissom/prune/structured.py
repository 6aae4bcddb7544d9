"""Removes whole channels, so that the network that is left is smaller, dense and plain."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_serializer, model_validator

from lissom.errors import RequestError, unknown
from lissom.technique import Config, Context, Need, technique

if TYPE_CHECKING:
    from lissom.nn.network import TorchModel

Measure = Literal["macs", "channels"]
Scope = Literal["layer", "global"]

# The importance that looks at what the readers of a channel lose; the others have their functions
# in importance.py, which needs torch.
RECONSTRUCTION = "reconstruction"
NAMED = ("l1", "l2", "batch_norm", "taylor", "random")


def _known(importance: str | Callable[..., Any]) -> str | Callable[..., Any]:
    if isinstance(importance, str) and importance not in (RECONSTRUCTION, *NAMED):
        raise unknown("importance", importance, (RECONSTRUCTION, *NAMED))
    return importance


class StructuredPruning(Config):
    """Settings of `prune.structured`.

    Attributes:
        macs: share of the multiply-accumulates to remove, in [0, 1). Give this or `channels`.
        channels: share of the channels that can be removed to remove, in [0, 1).
        scope: "layer" takes the same share of every layer; "global" takes more where it costs less.
        importance: "reconstruction" (what the layers that read a channel lose without it, after the
            rest was fitted again), l1, l2, batch_norm, taylor (needs training data), random, or a
            function of `importance.Evidence`.
        residual: also remove channels that several layers add to, the residual stream. Every block
            reads them, so they cost more accuracy for what they save than channels inside blocks.
        keep: patterns of module names that are left whole, as `layer1.*`.
        multiple_of: what is left of a layer is a multiple of this.
        correct: fit the remaining weights to the original by least squares on calibration data.
    """

    macs: float | None = None
    channels: float | None = None
    scope: Scope = "layer"
    importance: Annotated[
        str | Callable[..., Any], AfterValidator(_known), WithJsonSchema({"type": "string"})
    ] = RECONSTRUCTION
    residual: bool = False
    keep: tuple[str, ...] = ()
    multiple_of: int = Field(default=1, ge=1)
    correct: bool = True

    @model_validator(mode="after")
    def _one_ratio(self) -> StructuredPruning:
        if (self.macs is None) == (self.channels is None):
            raise ValueError("give either macs or channels, the share to remove")
        measure, ratio = self.goal
        if not 0 <= ratio < 1:
            raise RequestError(
                f"{measure} is {ratio:g}, and a share to remove lies in [0, 1)",
                where="prune.structured",
                fix=f"to remove half, write {measure}: 0.5",
            )
        return self

    @property
    def goal(self) -> tuple[Measure, float]:
        """What is counted, and the share of it that goes."""
        if self.macs is not None:
            return "macs", self.macs
        return "channels", self.channels or 0.0

    @field_serializer("importance")
    def _name(self, importance: str | Callable[..., Any]) -> str:
        """A function by its name and its code, so that a changed one is another config."""
        if isinstance(importance, str):
            return importance
        try:
            code = inspect.getsource(importance)
        except (OSError, TypeError):
            code = repr(importance)
        name = getattr(importance, "__qualname__", type(importance).__name__)
        return f"{name} {hashlib.sha256(code.encode()).hexdigest()}"


def _needs(config: StructuredPruning) -> list[Need]:
    """Calibration data for what looks at activations, training data for what looks at gradients."""
    found: list[Need] = []
    if config.correct or config.importance == RECONSTRUCTION:
        found.append("calibration")
    if config.importance == "taylor":
        found.append("training")
    return found


@technique(
    "prune.structured",
    config=StructuredPruning,
    form="torch",
    needs=_needs,
    leaves=["fewer channels"],
)
def structured(model: TorchModel, config: StructuredPruning, context: Context) -> TorchModel:
    """Remove channels and neurons, and fit what is left to what the network said before.

    Raises:
        ModelError: the network cannot be traced.
        RequestError: the ratio would empty a layer, a pattern matches nothing, or the data that
            the importance or the correction needs are not there.
    """
    from lissom.prune.removal import removed

    return removed(model, config, context)
