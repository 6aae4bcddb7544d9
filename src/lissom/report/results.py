"""What a search or a recipe gave: the record that the table, the page and `--json` all show."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lissom.measurement.layer_bytes import LayerBytes
from lissom.measurement.records import Measurement, Settings
from lissom.report.mixed import FrontPoint, MixedFile
from lissom.targets.machine import Machine


class Row(BaseModel):
    """One measured file.

    `flags` are facts always shown ("slower than the original"); `misses` are the budget's
    constraints it fails, in words, empty when it is inside. `unproven` are constraints met by the
    estimate while the interval crosses the limit, in words; `samples_needed` is how many
    validation samples would prove the drop, None where none or no number would.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    steps: tuple[str, ...]
    measurement: Measurement
    on_front: bool = False
    chosen: bool = False
    flags: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    samples_needed: int | None = None


class Skipped(BaseModel):
    """A candidate that was not built, or failed, and why.

    `bytes` is what its file takes at least and `seconds` what building and measuring it would
    take, where they were predicted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    why: str
    bytes: int | None = None
    seconds: float | None = None


class Results(BaseModel):
    """Everything a reader of the report may ask.

    `sentence` is the summary in words; `budget` the user's constraints as they were typed, by
    name; `kind` says whether the rows are rivals or the stages of a recipe in order, the last of
    which is chosen if it is inside the budget; `snippet` is Python that runs the saved artifact;
    `cpu` is the class of processor the files are built for; `layers` are the original's bytes by
    layer beside the outcome's, empty where there is no outcome or an older lissom wrote it;
    `mixed` are the files of mixed precision among the rows, layer by layer; `predicted_front` is
    what their tables predict of bytes and error, the largest first, empty where there are none;
    `notes` are warnings (parity of the export, few samples, quality not measured).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    kind: Literal["search", "recipe"] = "search"
    lissom: str
    model: str
    task: str
    target: str
    cpu: str = ""
    machine: Machine
    settings: Settings
    objective: str
    budget: dict[str, str]
    original: Row
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    layers: tuple[LayerBytes, ...] = ()
    mixed: tuple[MixedFile, ...] = ()
    predicted_front: tuple[FrontPoint, ...] = ()
    sentence: str
    snippet: str
    seconds: float

    @property
    def chosen(self) -> Row | None:
        """The row that was saved, or None when nothing fits the budget."""
        return next((row for row in self.rows if row.chosen), None)

    @property
    def outcome(self) -> Row | None:
        """The chosen row, or a recipe's last stage where that is over the budget."""
        last = self.rows[-1] if self.kind == "recipe" and self.rows else None
        return self.chosen or last
