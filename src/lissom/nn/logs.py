"""The log of a training: a line of JSON for every entry, and trackers that are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lissom.errors import require
from lissom.onnx_file import failing_as_folder_error

FILE = "log.jsonl"

Entry = Mapping[str, float | int | None]


class Log(Protocol):
    """Somewhere that entries go; each has a "step", and numbers or None."""

    def write(self, entry: Entry) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`log.jsonl` in a folder; a run that goes on first cuts off what its checkpoint never saw."""

    def __init__(self, folder: Path, size: int) -> None:
        self.path = folder / FILE
        with failing_as_folder_error(self.path):
            # Unbuffered: whoever follows the file sees each line, and a kill loses none.
            self.file = self.path.open("ab", buffering=0)
            self.file.truncate(min(size, self.size()))

    def write(self, entry: Entry) -> None:
        """Add a line."""
        with failing_as_folder_error(self.path):
            self.file.write(json.dumps(dict(entry)).encode() + b"\n")

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class TensorBoard:
    """Event files in `tensorboard/`; entries after the step a run goes on from are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        require("tensorboard", extra="tensorboard", purpose="a log for TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, entry: Entry) -> None:
        """Add the entry's numbers."""
        for name, value in numbers(entry).items():
            self.writer.add_scalar(f"train/{name}", value, entry["step"])

    def close(self) -> None:
        """Write what is left and close."""
        self.writer.close()


class MLflow:
    """A run in the experiment of the environment's tracking server, or of the current folder."""

    def __init__(self, folder: Path, step: int) -> None:
        mlflow = require("mlflow", extra="mlflow", purpose="a log for MLflow")
        self.mlflow: Any = mlflow
        # Someone who has opened a run wants the numbers there.
        self.opened = mlflow.active_run() is None
        if self.opened:
            mlflow.start_run(run_name=folder.name)

    def write(self, entry: Entry) -> None:
        """Add the entry's numbers."""
        self.mlflow.log_metrics(numbers(entry), step=entry["step"])

    def close(self) -> None:
        """End the run, if it is ours."""
        if self.opened:
            self.mlflow.end_run()


class WeightsAndBiases:
    """An offline run in `wandb/`: `wandb sync` sends it later, if anyone wants to."""

    def __init__(self, folder: Path, step: int) -> None:
        wandb = require("wandb", extra="wandb", purpose="a log for Weights & Biases")
        self.run: Any = wandb.init(mode="offline", dir=str(folder), project="lissom")

    def write(self, entry: Entry) -> None:
        """Add the entry's numbers."""
        self.run.log(numbers(entry), step=entry["step"])

    def close(self) -> None:
        """End the run."""
        self.run.finish()


TRACKERS: dict[str, type[TensorBoard] | type[MLflow] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


def numbers(entry: Entry) -> dict[str, float]:
    """What can be drawn over the steps."""
    return {
        name: float(value) for name, value in entry.items() if value is not None and name != "step"
    }
