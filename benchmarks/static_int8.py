"""Static INT8: lissom beside ONNX Runtime's quantizer, and NNCF on two runtimes.

    python benchmarks/static_int8.py DATA_FOLDER --network resnet20|mobilenet|minilm|sst2
        [--work FOLDER] [--limit 300] [--quick] [--only GLOB]

Needs `pip install pillow openvino==2026.4.1 nncf==3.4.0`, after torch. Every file is made
from the same float32 export and the same calibration batches, judged on the same samples as the
original, and timed in turns with the original in ONNX Runtime. Seconds and peak memory of a
quantization are those of a process of its own, which has `--limit` seconds. Finished rows are kept
in the work folder: run it again and it goes on. `--quick` judges on 500 samples, times shortly and
publishes nothing; `--only` takes the rows whose names match.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import isolated
import kept_batches
import networks
import numpy as np
import ours
from fidelity import Validation
from isolated import Build
from kept_batches import Batch
from publish import facts, publish, table
from rows import Bench, Row, as_told, finished

import lissom
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.nn.export import export
from lissom.onnx_file import inputs_of
from lissom.quantize.static import Static
from lissom.report import text

QUICK = 500
# Embedding tables are packed before, as `compress` does.
EMBEDDINGS = ("quantize.weight_only", {"layers": False, "embeddings": 8, "block": 128})
METHODS = ("MinMax", "Entropy", "Percentile", "Distribution")
TYPES = {
    "u8s8": {"activations": "QUInt8", "weights": "QInt8"},
    "u8u8": {"activations": "QUInt8", "weights": "QUInt8"},
    "s8s8": {"activations": "QInt8", "weights": "QInt8"},
}
HEADS = ["file", "size", "quality [95 %]", "drop [95 %]", "agreement", "signal to noise"]
HEADS += ["speed-up, batch 1 [95 %]", "seconds", "peak memory"]
NOTE = (
    "Speed-ups are over the original in ONNX Runtime, also those of OpenVINO's rows, which a loop "
    "of this benchmark times in the same turns. OpenVINO computes floats in the precision it "
    "chooses by itself for this processor. Agreement is {agreement}; signal to noise is that of "
    "all outputs. Seconds are those of the quantization alone; peak memory is that of the process "
    "it ran in, imports included. ONNX Runtime's and lissom's files are calibrated by whole "
    "batches, NNCF's by the same samples one at a time; texts are padded to one length.\n"
)


def builds(text_network: bool) -> Iterator[Row]:
    """Every row of the table but the original's."""
    tables = [EMBEDDINGS] if text_network else []
    yield Row("lissom", ours.recipe(*tables, ("quantize.static", {})))
    for option in ("observer", "weight_range"):
        for choice in choices(option):
            steps = ours.recipe(*tables, ("quantize.static", {option: choice}))
            yield Row(f"lissom, {option} {choice}".replace("_", " "), steps)
    if text_network:
        yield Row("lissom, ranges at run time", ours.recipe(*tables, ("quantize.dynamic", {})))
    for method in METHODS:
        for name, types in TYPES.items():
            for reduce_range in (False, True):
                options = {"method": method, **types, "reduce_range": reduce_range}
                yield Row(
                    f"ONNX Runtime {method} {name}" + ", reduced range" * reduce_range,
                    Build("peers:static", options),
                )
    for method in METHODS if text_network else ():
        for reduce_range in (False, True):
            options = {"method": method, "operators": ["MatMul"], "reduce_range": reduce_range}
            yield Row(
                f"ONNX Runtime {method} u8s8, matrix products" + ", reduced range" * reduce_range,
                Build("peers:static", options),
            )
    # For transformers NNCF wants to be told, and then takes its mixed preset by itself.
    told = {"model_type": "transformer"} if text_network else {}
    other = "performance" if text_network else "mixed"
    presets = {"": told, f", {other} preset": {**told, "preset": other}}
    for name, options in presets.items():
        yield Row(f"NNCF{name}, in ONNX Runtime", Build("openvino_peer:quantized_onnx", options))
        openvino = Build("openvino_peer:quantized_openvino", options)
        yield Row(f"NNCF{name}, in OpenVINO", openvino, "model.xml")
    yield Row("original, in OpenVINO", Build("openvino_peer:converted"), "model.xml")


def choices(option: str) -> list[str]:
    """What static quantization admits for an option, besides leaving it to lissom."""
    known = Static.model_fields.get(option)
    return [] if known is None else [c for c in get_args(known.annotation) if c != "auto"]


def main() -> None:
    """Make, judge and time everything, and publish the table."""
    chosen = arguments(__doc__, Path("benchmark-work/static-int8")).parse_args()
    network = networks.NETWORKS[chosen.network]
    run(chosen, builds(network.text), f"Static INT8: {network.title}")


def arguments(told: str | None, work: Path) -> argparse.ArgumentParser:
    """The arguments of every benchmark that fills such a table."""
    found = argparse.ArgumentParser(description=told)
    found.add_argument("data", type=Path)
    found.add_argument("--network", choices=networks.NETWORKS, required=True)
    found.add_argument("--work", type=Path, default=work)
    found.add_argument("--limit", type=float, default=isolated.LIMIT)
    found.add_argument("--only", default="*")
    found.add_argument("--quick", action="store_true")
    return found


def run(
    chosen: argparse.Namespace, every: Iterable[Row], title: str | None, note: str = ""
) -> None:
    """Make, judge and time the rows that were chosen; publish the table if it has a title."""
    network = networks.NETWORKS[chosen.network]
    bench, task = opened(chosen)
    rows = [row for row in every if fnmatch(row.name, chosen.only)]
    lines = [first_line(bench)]
    for row in rows:
        lines.append(as_told(row, finished(row, bench)))
        print(" | ".join(lines[-1]), flush=True)
    told = f"{facts('onnxruntime', 'onnx', 'openvino', 'nncf', 'numpy')} One thread, batch 1"
    told += ", 32 tokens" * network.text + f"; {task.description}"
    told += f" ({QUICK} samples)" * chosen.quick + ".\n\n"
    told += table(HEADS, lines) + "\n" + NOTE.format(agreement=bench.validation.agreement_told)
    told += note
    if title is None or chosen.quick or chosen.only != "*":
        print(told)
    else:
        publish(title, told)


def opened(chosen: argparse.Namespace) -> tuple[Bench, lissom.Task]:
    """The original exported, the calibration stored, the original's answers."""
    model, task = networks.load(chosen.network, chosen.data)
    work = chosen.work / chosen.network
    original = work / "original" / "model.onnx"
    if not original.is_file():
        export(model, original.parent)
    inputs = inputs_of(original)
    task = task.bind([spec.name for spec in inputs])
    calibration = work / "calibration.npz"
    kept_batches.store(of_one_length(list(task.calibration)), calibration)
    settings = Settings(
        shapes=networks.NETWORKS[chosen.network].shapes,
        seconds=0.3 if chosen.quick else 1.0,
        processes=1 if chosen.quick else 2,
    )
    validation = Validation(task, work / "answers", QUICK if chosen.quick else None)
    feeds = example_feeds(inputs, settings, validation.samples[0][0])
    bench = Bench(original, calibration, validation, feeds, settings, work, chosen.limit)
    return bench, task


def of_one_length(batches: list[Batch]) -> list[Batch]:
    """Batches of texts padded to the longest of all; ONNX Runtime's histograms need it."""
    if any(array.ndim != 2 for array in batches[0].values()):
        return batches
    longest = max(array.shape[1] for batch in batches for array in batch.values())
    return [
        {
            name: np.pad(array, ((0, 0), (0, longest - array.shape[1])))
            for name, array in batch.items()
        }
        for batch in batches
    ]


def first_line(bench: Bench) -> list[str]:
    """The original's row."""
    judged = bench.validation.judged(bench.original, bench.original)
    return [
        "original, float32",
        text.size(bench.original.stat().st_size),
        judged.quality_told(),
        "",
        "",
        "",
        "1",
        "",
        "",
    ]


if __name__ == "__main__":
    main()
