"""`lissom.check`: whether an artifact is whole, runs on this machine, and computes right on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lissom.artifact import Manifest, read_manifest, sha256_of
from lissom.errors import FolderError, LissomError
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.onnx_file import inputs_of
from lissom.sessions import SESSION_ERRORS, open_session
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.targets.saturation import Saturating, saturating, where_not

AGAIN = "make the artifact again, or copy it again"


@dataclass(frozen=True)
class Checked:
    """What was found out about an artifact on this machine.

    Attributes:
        cpu: the class of processor this machine is; `built_for` the one of the artifact.
        problems: why it must not be used here, in words; empty when all is well.
        saturating: layers whose sums would be wrong where pairs are added in 16 bits.
    """

    folder: Path
    name: str
    built_for: str
    cpu: str
    problems: tuple[str, ...]
    saturating: tuple[Saturating, ...]

    @property
    def passed(self) -> bool:
        """Whether the artifact can be used on this machine."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**asdict(self), "folder": str(self.folder), "passed": self.passed}

    def __str__(self) -> str:
        head = f"{self.name} in {self.folder}, built for {self.built_for}; this machine: {self.cpu}"
        if not self.passed:
            return "\n".join([head, *(f"refused: {problem}" for problem in self.problems)])
        lines = [head, "files as recorded; one example ran; sums are exact on this machine"]
        if self.saturating:
            lines.append(f"elsewhere: {where_not(self.saturating)}")
        return "\n".join(lines)


def check(folder: Path | str) -> Checked:
    """Check the files of an artifact, run one example, and look for weights that would saturate.

    Args:
        folder: what `compress`, `run` or `save` wrote.

    Raises:
        FolderError: the folder holds no artifact, or its manifest is damaged.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    target = onnxruntime_target()
    problems = _changed(folder, manifest)
    layers: tuple[Saturating, ...] = ()
    # A file that is not the recorded one is not opened.
    if not problems:
        path = folder / manifest.model
        problems = _failing(path)
        if not problems:
            layers = saturating(path)
        if layers and target.pair_sums:
            problems.append(_wrong_sums(layers, manifest.cpu, target.cpu))
    return Checked(folder, manifest.name, manifest.cpu, target.cpu, tuple(problems), layers)


def _changed(folder: Path, manifest: Manifest) -> list[str]:
    """Files that are missing or are not what the manifest recorded."""
    for name in (manifest.model, *manifest.files):
        if not name or Path(name).name != name:
            raise FolderError(
                f"the manifest names a file outside of the folder: {name!r}",
                where=str(folder),
                fix="make the artifact again",
            )
    if manifest.model not in manifest.files:
        return [f"the manifest records no digest of {manifest.model}; {AGAIN}"]
    problems = []
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing; {AGAIN}")
        elif sha256_of(path) != digest:
            problems.append(f"{name} is not the file that was saved: its digest differs; {AGAIN}")
    return problems


def _failing(path: Path) -> list[str]:
    """Why the runtime does not open the file or does not run one example, or nothing."""
    try:
        feeds = example_feeds(inputs_of(path), Settings(), None, 0)
        open_session(path).run(None, feeds)
    except LissomError as error:
        return [error.what if error.fix is None else f"{error.what}; {error.fix}"]
    except SESSION_ERRORS as error:
        reason = str(error).strip().splitlines()[0]
        return [f"{path.name} does not run on an example: {reason}; {AGAIN}"]
    return []


def _wrong_sums(layers: tuple[Saturating, ...], built_for: str, cpu: str) -> str:
    count = len(layers)
    worst = max(layers, key=lambda layer: layer.pairs)
    return (
        f"the weights of {count} layer{'s' if count > 1 else ''} would be added wrongly on this "
        f"machine, whose kernels add pairs of products in 16 bits (worst: {worst.layer}, "
        f"{worst.pairs:,} of {worst.of:,} pairs); it was built for {built_for}: build it again "
        f"with --cpu {cpu}"
    )
