"""Files of mixed precision in a record of results: which layer got what, predicted and measured."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lissom.tables import Error, Format


def _bounded(value: Any) -> Any:
    """Outputs that overflow have no error that could be told."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MixedLayer(BaseModel):
    """One layer of an allocation, and what the choice hung on.

    Attributes:
        name, module: of its node in the graph; of the torch module, or None.
        op_type: of its node.
        weights: how many there are.
        format: what it got.
        bytes: what it takes in the file in each format.
        errors: the error that it makes of the outputs in each format, alone; a share of their
            power, infinite where they overflow; in the static formats what learned codes leave of
            it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    module: str | None = None
    op_type: str
    weights: int
    format: Format
    bytes: dict[Format, int]
    errors: dict[Format, Error]


class MixedFile(BaseModel):
    """One allocation that was built: what the tables predicted of it beside what was measured.

    Errors are mean squares of what the outputs are off, as a share of the outputs' mean square, on
    calibration data; the predicted one is the sum of the layers'. Milliseconds are the median of
    one run. None is what was not predicted or could not be measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    layers: tuple[MixedLayer, ...]
    predicted_error: Error
    predicted_bytes: int
    predicted_ms: float | None = None
    error: Annotated[float | None, BeforeValidator(_bounded)] = None
    bytes: int
    ms: float | None = None


class FrontPoint(BaseModel):
    """What the tables predict of one allocation that none is predicted to beat in both.

    Attributes:
        bytes: of its file.
        error: of the outputs, the sum of the layers' as `predicted_error` is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    error: Error
