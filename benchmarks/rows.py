"""One row of a comparison: a file made, judged, timed, and what was found kept on disk."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import isolated
import numpy as np
from fidelity import Judged, Validation, files_of
from isolated import Build, NotMade

from lissom.code_version import code_version
from lissom.errors import LissomError
from lissom.measurement.latency import compare_speed
from lissom.measurement.records import Estimate, Quality, Settings
from lissom.report import text

# What decides what a peer makes, by the module of its maker.
PACKAGES = {
    "ours": (),
    "peers": ("onnxruntime", "onnx"),
    "openvino_peer": ("openvino", "nncf", "onnxruntime"),
    "nncf_peer": ("openvino", "nncf", "onnxruntime"),
    "neural_compressor_peer": ("onnxruntime",),
    "aimet_peer": ("onnxruntime",),
}
CELLS = 8


@dataclass(frozen=True)
class Row:
    """A name, what makes its file, and the file's name."""

    name: str
    build: Build
    file: str = "model.onnx"


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    original: Path
    calibration: Path
    validation: Validation
    feeds: dict[str, np.ndarray]
    settings: Settings
    work: Path
    limit: float


@dataclass(frozen=True)
class Found:
    """What was found of a row; `failure` says how far it came when there is no more."""

    failure: str = ""
    bytes: int = 0
    judged: Judged | None = None
    speed: Estimate | None = None
    cost: isolated.Cost | None = None


def finished(row: Row, bench: Bench) -> Found:
    """What was found of a row, now or in an earlier run."""
    folder = bench.work / "rows" / row.name.replace(", ", "-").replace(" ", "-")
    kept, key = folder / "row.json", key_of(row, bench)
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        if before.pop("key") == key:
            return _from_json(before)
    folder.mkdir(parents=True, exist_ok=True)
    found = _found(row, folder / row.file, bench)
    kept.write_text(json.dumps({"key": key, **_to_json(found)}), encoding="utf-8")
    return found


def key_of(row: Row, bench: Bench) -> str:
    """Digest of everything that decides a row."""
    module = row.build.maker.partition(":")[0]
    version = {name: importlib.metadata.version(name) for name in PACKAGES[module] if _has(name)}
    parts = [
        asdict(row),
        version if PACKAGES[module] else code_version(),
        Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"),
        bench.validation.digest,
        bench.settings.model_dump(),
        bench.limit,
        *(hashlib.sha256(p.read_bytes()).hexdigest() for p in (bench.original, bench.calibration)),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def as_told(row: Row, found: Found) -> list[str]:
    """The cells of a row."""
    if found.judged is None or found.speed is None or found.cost is None:
        said = found.failure.replace("|", "\\|")
        return [row.name, f"failed: {said}", *[""] * (CELLS - 1)]
    return [
        row.name,
        text.size(found.bytes),
        *found.judged.told(),
        f"{text.ratio(found.speed.value)} {text.speed_interval(found.speed)}",
        f"{found.cost.seconds:.1f}",
        text.size(found.cost.memory),
    ]


def _found(row: Row, out: Path, bench: Bench) -> Found:
    for file in files_of(out):
        file.unlink(missing_ok=True)
    try:
        cost = isolated.make(row.build, bench.original, out, bench.calibration, bench.limit)
        judged = bench.validation.judged(bench.original, out)
        if out.suffix == ".xml":
            import openvino_peer

            speed = openvino_peer.compare(bench.original, out, bench.feeds, bench.settings)
        else:
            speed = compare_speed(bench.original, out, bench.feeds, bench.settings).ratio
    except (NotMade, LissomError) as error:
        return Found(failure=" ".join(str(error).split()).replace(str(bench.work), "..."))
    size = sum(file.stat().st_size for file in files_of(out))
    return Found("", size, judged, speed, cost)


def _to_json(found: Found) -> dict[str, object]:
    fields: dict[str, object] = {"failure": found.failure, "bytes": found.bytes}
    if found.judged and found.speed and found.cost:
        judged = {**vars(found.judged), "quality": found.judged.quality.model_dump()}
        fields |= {"judged": judged, "speed": found.speed.model_dump(), "cost": asdict(found.cost)}
    return fields


def _from_json(fields: dict[str, object]) -> Found:
    if "judged" not in fields:
        return Found(**fields)
    judged = fields["judged"]
    return Found(
        fields["failure"],
        fields["bytes"],
        Judged(Quality(**judged["quality"]), judged["agreement"], judged["noise"]),
        Estimate(**fields["speed"]),
        isolated.Cost(**fields["cost"]),
    )


def _has(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
