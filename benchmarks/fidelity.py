"""How a file answers beside the original: the task's quality, agreement, signal to noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import lissom
from lissom.arrays import Hasher
from lissom.measurement.quality import judge
from lissom.measurement.records import Quality
from lissom.report import text
from lissom.sessions import open_session
from lissom.targets.machine import usable_cores


@dataclass(frozen=True)
class Judged:
    """The quality, and what needs no labels: `agreement` from 0 to 1, `noise` in decibels."""

    quality: Quality
    agreement: float
    noise: float

    def quality_told(self) -> str:
        """The metric with its interval."""
        value = self.quality.value
        if self.quality.metric == "accuracy":
            return f"{100 * value.value:.2f} % [{100 * value.low:.2f}, {100 * value.high:.2f}]"
        return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"

    def agreement_told(self) -> str:
        """The agreement: a share in per cent, or a cosine."""
        if self.quality.metric == "accuracy":
            return f"{100 * self.agreement:.2f} %"
        return f"{self.agreement:.4f}"

    def told(self) -> list[str]:
        """Quality, drop, agreement and signal to noise as cells."""
        return [
            self.quality_told(),
            f"{text.drop(self.quality)} {text.drop_interval(self.quality)}",
            self.agreement_told(),
            f"{self.noise:.1f} dB",
        ]


class Validation:
    """The validation samples, through which every file is streamed once.

    A file's answers are kept in `folder` under its digest and that of the samples.
    """

    def __init__(self, task: lissom.Task, folder: Path, most: int | None = None) -> None:
        self.metric, self.folder = task.metric, folder
        self.samples = []
        count = 0
        for inputs, targets in task.samples():
            if most is not None and count >= most:
                break
            self.samples.append((inputs, targets))
            count += len(targets)

    @property
    def agreement_told(self) -> str:
        """What `agreement` is for this task."""
        if self.metric.name == "accuracy":
            return "the share of samples that get the class the original gives"
        return "the mean cosine between a file's outputs and the original's"

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of inputs and targets."""
        hasher = Hasher()
        for inputs, targets in self.samples:
            hasher.inputs(inputs)
            hasher.array("targets", targets)
        return hasher.hexdigest()

    def judged(self, original: Path, file: Path) -> Judged:
        """A file beside the original; each is run if its answers are not there yet."""
        reference, answers = self.answers(original), self.answers(file)
        quality = judge(
            self.metric, self._statistics(reference), self._statistics(answers), fidelity=False
        )
        wanted, given = (np.concatenate(each).astype(np.float64) for each in (reference, answers))
        if self.metric.name == "accuracy":
            agreement = np.mean(wanted.argmax(axis=1) == given.argmax(axis=1))
        else:
            lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(given, axis=1)
            agreement = np.mean((wanted * given).sum(axis=1) / lengths)
        return Judged(quality, float(agreement), signal_to_noise(wanted, given))

    def answers(self, file: Path) -> list[np.ndarray]:
        """The first output for each batch, from ONNX Runtime or, for an .xml file, OpenVINO."""
        found = hashlib.sha256(self.digest.encode())
        for part in sorted(files_of(file)):
            found.update(part.read_bytes())
        kept = self.folder / f"{found.hexdigest()}.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                return [arrays[f"arr_{number}"] for number in range(len(arrays))]
        answers = self._run(file)
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".part.npz")
        np.savez(beside, *answers)
        beside.replace(kept)
        return answers

    def _run(self, file: Path) -> list[np.ndarray]:
        batches = [inputs for inputs, _ in self.samples]
        if file.suffix == ".xml":
            import openvino_peer

            return openvino_peer.answers(file, batches, usable_cores())
        session = open_session(file, threads=usable_cores())
        names = [spec.name for spec in session.get_inputs()]
        return [session.run(None, {name: batch[name] for name in names})[0] for batch in batches]

    def _statistics(self, answers: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(
            [
                self.metric.statistics({"output": answer}, targets)
                for answer, (_, targets) in zip(answers, self.samples, strict=True)
            ]
        )


def signal_to_noise(wanted: np.ndarray, given: np.ndarray) -> float:
    """10 log10 of the power of what is wanted over that of the difference; dB."""
    noise = np.square(wanted - given).sum()
    return float(10 * np.log10(np.square(wanted).sum() / noise)) if noise else float("inf")


def files_of(file: Path) -> list[Path]:
    """A model file, and the weights that stand beside an .xml file."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
