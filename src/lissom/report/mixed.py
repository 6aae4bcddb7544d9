"""Files of mixed precision in a record of results: which layer got what, predicted and measured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lissom.tables import Format


class MixedLayer(BaseModel):
    """One layer of an allocation, and what the choice hung on.

    Attributes:
        name, module: of its node in the graph; of the torch module, or None.
        op_type: of its node.
        weights: how many there are.
        format: what it got.
        bytes: what it takes in the file in each format.
        errors: the error that it makes of the outputs in each format, alone; a share of their
            power.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    module: str | None = None
    op_type: str
    weights: int
    format: Format
    bytes: dict[Format, int]
    errors: dict[Format, float]


class MixedFile(BaseModel):
    """One allocation that was built: what the tables predicted of it beside what was measured.

    Errors are mean squares of what the outputs are off, as a share of the outputs' mean square, on
    calibration data; the predicted one is the sum of the layers', times what learned codes left of
    it in a file of one format. Milliseconds are the median of one run. None is what was not
    predicted or could not be measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    layers: tuple[MixedLayer, ...]
    predicted_error: float
    predicted_bytes: int
    predicted_ms: float | None = None
    error: float | None = None
    bytes: int
    ms: float | None = None


class FrontPoint(BaseModel):
    """What the tables predict of one allocation that none is predicted to beat in both.

    Attributes:
        bytes: of its file.
        error: of the outputs, scaled by what learned codes leave of it as `predicted_error` is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    error: float
