"""`lissom.check`: whether an artifact is whole, computes right here, and keeps its promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from lissom.artifact import Manifest, read_manifest, sha256_of
from lissom.errors import FolderError, LissomError, MissingExtra
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Measurement, Settings
from lissom.model import Model
from lissom.onnx_file import inputs_of
from lissom.report import text
from lissom.search.budget import Budget
from lissom.search.promises import Promise
from lissom.search.remeasure import Demand, measured_again
from lissom.targets.named import DEFAULT, RUNTIMES, check_runtime, find_target
from lissom.targets.saturation import Saturating, saturating, where_not
from lissom.targets.target import Target
from lissom.task import Task
from lissom.technique import Track, silent

AGAIN = "make the artifact again, or copy it again"


class Checked(BaseModel):
    """What was found out about an artifact on this machine.

    Attributes:
        cpu: the class of processor this machine is; `built_for` the one of the artifact.
        runtimes: what it was run in.
        problems: why it must not be used here, in words; empty when all is well.
        saturating: layers whose sums would be wrong where pairs are added in 16 bits.
        measurement: what was measured again, None where nothing was.
        promises: every limit it is held to; empty where nothing was measured again.
        notes: what a reader of the measurement should know.
        passed: it can be used here, and no promise is broken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    folder: Path
    name: str
    built_for: str
    cpu: str
    runtimes: tuple[str, ...] = ()
    problems: tuple[str, ...]
    saturating: tuple[Saturating, ...]
    measurement: Measurement | None = None
    promises: tuple[Promise, ...] = ()
    notes: tuple[str, ...] = ()

    # mypy knows no decorator on top of a property, which pydantic asks for.
    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether the artifact can be used on this machine and keeps its promises."""
        return not self.problems and all(each.holds is not False for each in self.promises)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return self.model_dump(mode="json")

    def __str__(self) -> str:
        head = f"{self.name} in {self.folder}, built for {self.built_for}; this machine: {self.cpu}"
        if self.problems:
            return "\n".join([head, *(f"refused: {problem}" for problem in self.problems)])
        lines = [head, "files as recorded; one example ran; sums are exact on this machine"]
        if self.runtimes != (DEFAULT,):
            lines.append(f"run in: {', '.join(self.runtimes)}")
        if self.saturating:
            lines.append(f"elsewhere: {where_not(self.saturating)}")
        if self.measurement is not None:
            lines += _measured(self.measurement, self.promises)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def check(
    folder: Path | str,
    *,
    measure: bool = False,
    target: str | None = None,
    budget: Budget | None = None,
    task: Task | Callable[[Model], Task | None] | None = None,
    against: Path | str | None = None,
    seconds: float | None = None,
    processes: int | None = None,
    track: Track = silent,
) -> Checked:
    """Check the files of an artifact, run one example, and look for weights that would saturate.

    With `measure`, a budget, a task or an original, it is measured again too and held to the
    limits recorded in its manifest.

    Args:
        folder: what `compress`, `run` or `save` wrote.
        measure: measure again.
        target: the runtime it is run in; left out, each that it was built for.
        budget: limits that replace the recorded ones of their names.
        task: data and metric, or a function of the model that opens them; left out, the recorded
            one where its file is here.
        against: the original's .onnx file; left out, it is looked for by its digest.
        seconds: of timing for each file; left out, as recorded.
        processes: that the seconds are spread over; left out, as recorded.
        track: shows progress.

    Raises:
        FolderError: the folder holds no artifact, or its manifest is damaged.
        MissingExtra: a runtime that it was built for is not installed.
        RequestError: a limit is given on what cannot be measured without data or the original.
        LissomError: the task or the original does not fit.
    """
    folder = Path(folder)
    if target is not None:
        check_runtime(target)
    manifest = read_manifest(folder)
    runtimes = manifest.runtimes if target is None else (target,)
    found = _as_it_is(folder, manifest, _targets(folder, runtimes, recorded=target is None))
    demand = Demand(budget or Budget(), task, against, seconds, processes, runtimes)
    unasked = Demand(runtimes=runtimes)
    if found.problems or not (measure or demand != unasked):
        return found
    again = measured_again(folder, manifest, demand, track)
    return found.model_copy(
        update={
            "measurement": again.measurement,
            "promises": again.promises,
            "notes": again.notes,
        }
    )


def _targets(folder: Path, runtimes: Sequence[str], *, recorded: bool) -> list[Target]:
    """The runtimes; where they are `recorded`, what to do without one is told.

    Raises:
        FolderError: the manifest names a runtime that this lissom does not know.
        MissingExtra: one is not installed.
    """
    unknown = [name for name in runtimes if name not in RUNTIMES]
    if unknown or not runtimes:
        raise FolderError(
            f"the artifact was built for {', '.join(unknown) or 'no runtime'}, and this lissom "
            f"knows {', '.join(RUNTIMES)}",
            where=str(folder),
            fix="use the lissom that made it, or name the runtime to check it in with --target",
        )
    try:
        return [find_target(name) for name in runtimes]
    except MissingExtra as error:
        if not recorded:
            raise
        raise MissingExtra(
            f"the artifact was built for {' and '.join(runtimes)}: {error.what}",
            where=str(folder),
            fix=f"{error.fix}; or check it in another runtime: --target {DEFAULT}",
        ) from None


def _as_it_is(folder: Path, manifest: Manifest, targets: Sequence[Target]) -> Checked:
    """Files, one example, sums: nothing is measured."""
    cpu = targets[0].cpu
    problems = _changed(folder, manifest)
    layers: tuple[Saturating, ...] = ()
    # A file that is not the recorded one is not opened.
    if not problems:
        path = folder / manifest.model
        problems = [why for each in targets for why in _failing(path, each)]
        if not problems:
            layers = saturating(path)
        if layers and any(each.pair_sums for each in targets):
            problems.append(_wrong_sums(layers, manifest.cpu, cpu))
    return Checked(
        folder=folder,
        name=manifest.name,
        built_for=manifest.cpu,
        cpu=cpu,
        runtimes=tuple(each.name for each in targets),
        problems=tuple(problems),
        saturating=layers,
    )


def _measured(measurement: Measurement, promises: tuple[Promise, ...]) -> list[str]:
    """The promises, one in a line, and the speed, which is a fact and no promise."""
    lines = [str(promise) for promise in promises]
    if not promises:
        lines.append("no promise is recorded, and none was asked for")
    speeds = [_speed(each, several=bool(measurement.elsewhere)) for each in measurement.everywhere]
    return [*lines, f"size: {text.size(measurement.footprint.bytes)}; {'; '.join(speeds)}"]


def _speed(measurement: Measurement, *, several: bool) -> str:
    place = f" in {measurement.runtime}" if several else ""
    speed = measurement.speed
    if speed is None:
        return f"speed{place}: not compared"
    spread = f"{text.ratio(speed.ratio.value)} {text.speed_interval(speed.ratio)}"
    return f"speed next to the original{place}: {spread}, {speed.verdict}"


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
        try:
            if not path.is_file():
                problems.append(f"{name} is missing; {AGAIN}")
            elif sha256_of(path) != digest:
                problems.append(
                    f"{name} is not the file that was saved: its digest differs; {AGAIN}"
                )
        except OSError as error:
            problems.append(f"{name} cannot be read: {error.strerror}")
    return problems


def _failing(path: Path, target: Target) -> list[str]:
    """Why the runtime does not open the file or does not run one example, or nothing."""
    try:
        feeds = example_feeds(inputs_of(path), Settings(), None, 0)
        session = target.open(path)
    except LissomError as error:
        return [error.what if error.fix is None else f"{error.what}; {error.fix}"]
    try:
        session(feeds)
    except session.errors as error:
        reason = session.failed_run(error, feeds).what
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
