"""NNCF as a maker of model files (see isolated.py), and OpenVINO beside ONNX Runtime.

Needs `pip install openvino==2026.4.1 nncf==3.4.0`, after torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import nncf
import numpy as np
import onnx
import openvino
from isolated import answered
from kept_batches import Batch

from lissom.measurement.process import stored
from lissom.measurement.records import Estimate, Settings
from lissom.measurement.stats import log_ratios, ratio_interval
from lissom.measurement.worker import Runner, pin, read_feeds, rounds, warm_up

# The files are opened anew so often, in either order: see lissom.measurement.latency.
OPENINGS = 4
# Seconds before timing: the threads that compiled a model linger on the core.
WARM_UP = 0.5


def quantized_onnx(original: Path, out: Path, calibration: list[Batch], **options: Any) -> None:
    """nncf.quantize of the ONNX model."""
    model = nncf.quantize(onnx.load(original), **_arguments(calibration, options))
    onnx.save(model, out)


def quantized_openvino(original: Path, out: Path, calibration: list[Batch], **options: Any) -> None:
    """nncf.quantize of the model as OpenVINO reads it; `out` ends in .xml."""
    model = nncf.quantize(openvino.Core().read_model(original), **_arguments(calibration, options))
    openvino.save_model(model, out, compress_to_fp16=False)


def converted(original: Path, out: Path, calibration: list[Batch]) -> None:
    """The float model as OpenVINO reads it; `out` ends in .xml."""
    openvino.save_model(openvino.Core().read_model(original), out, compress_to_fp16=False)


def _arguments(calibration: list[Batch], options: Mapping[str, Any]) -> dict[str, Any]:
    """All rows of all batches, one at a time, as NNCF counts its samples.

    Nodes named by the option `exclude` stay float.
    """
    rows = [
        {name: array[row : row + 1] for name, array in batch.items()}
        for batch in calibration
        for row in range(len(next(iter(batch.values()))))
    ]
    kinds = {"preset": nncf.QuantizationPreset, "model_type": nncf.ModelType}
    named = {n: kinds[n](value) if n in kinds else value for n, value in options.items()}
    if excluded := named.pop("exclude", ()):
        named["ignored_scope"] = nncf.IgnoredScope(names=list(excluded))
    return {"calibration_dataset": nncf.Dataset(rows), "subset_size": len(rows), **named}


class Compiled:
    """A file compiled by OpenVINO with its feeds, with what `lissom.measurement.worker` calls."""

    def __init__(self, path: str, feeds: Batch, threads: int) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(path, "CPU", settings)
        self.request = compiled.create_infer_request()
        wanted = {name for port in compiled.inputs for name in port.names}
        self.feeds = {name: array for name, array in feeds.items() if name in wanted}

    def answer(self, feeds: Batch) -> np.ndarray:
        """The first output."""
        return np.array(self.request.infer(feeds)[0])

    def run(self) -> None:
        """Run once, without copies of inputs and outputs."""
        self.request.infer(self.feeds, share_inputs=True, share_outputs=True)

    def time(self) -> int:
        """Nanoseconds of one run."""
        begin = perf_counter_ns()
        self.request.infer(self.feeds, share_inputs=True, share_outputs=True)
        return perf_counter_ns() - begin


def answers(path: Path, batches: list[Batch], threads: int) -> list[np.ndarray]:
    """The first output for each batch."""
    compiled = Compiled(str(path), batches[0], threads)
    return [compiled.answer({name: batch[name] for name in compiled.feeds}) for batch in batches]


def compare(original: Path, candidate: Path, feeds: Batch, settings: Settings) -> Estimate:
    """How many times faster OpenVINO runs `candidate` than ONNX Runtime runs `original`.

    As lissom.measurement.latency.compare_speed does it: in turns, in fresh processes.

    Raises:
        NotMade: a process failed.
    """
    processes = []
    with stored(feeds) as arrays:
        job = {
            "files": [str(original.resolve()), str(candidate.resolve())],
            "feeds": str(arrays),
            "threads": settings.threads,
            "seconds": settings.seconds,
        }
        for _ in range(settings.processes):
            openings = answered(__file__, job)
            ratios = [np.median(log_ratios(*map(np.array, times))) for times in openings]
            processes.append(np.reshape(ratios, (-1, 2)).mean(axis=1))
    return ratio_interval(processes)


def main() -> None:
    """Time the two files that the job on stdin names, in turns."""
    job = json.load(sys.stdin)
    pin(job["threads"])
    feeds = read_feeds(job["feeds"])
    found = []
    for number in range(OPENINGS):
        swapped = number % 2 == 1
        opened: dict[int, Any] = {}
        for side in (1, 0) if swapped else (0, 1):
            kind = Compiled if side else Runner
            opened[side] = kind(job["files"][side], feeds, job["threads"])
        share = job["seconds"] / OPENINGS
        warm_up(opened.values(), WARM_UP)
        found.append(rounds([opened[0], opened[1]], share, swapped=swapped))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
