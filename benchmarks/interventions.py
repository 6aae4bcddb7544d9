"""Whether a diagnosis is true: the remedy it names is applied, and its gain measured.

    python benchmarks/interventions.py DATA_FOLDER --network resnet20|mobilenet|minilm|sst2
        [--work FOLDER] [--samples 128] [--judged 500] [--limit 300]

Needs what static_int8.py needs. The worst files of the peers that still are networks, and lissom's
own at 8 and 4 bits, are made as static_int8.py makes them and diagnosed on validation samples
drawn at random. The layer of the first verdict (where none is at fault, the one that makes most of
the error) is then kept float twice: in the very file, and by quantizing again with that layer
excluded. The change of the output's squared error is measured in ONNX Runtime on samples drawn
anew. Files are kept in the work folder.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import isolated
import kept_batches
import networks
import numpy as np
import ours
from float_again import NotThere, float_again, with_range
from isolated import Build, NotMade
from publish import facts, publish, table
from rows import Row
from static_int8 import EMBEDDINGS, of_one_length

import lissom
from lissom.measurement.quality import statistics_of
from lissom.nn.export import export
from lissom.onnx_file import inputs_of
from lissom.report.diagnosis import Diagnosis, Gain, LayerError, Verdict
from lissom.search.subset import draw
from lissom.sessions import open_session

ONNX_RUNTIME = "peers:static"
REDUCED: dict[str, Any] = {"method": "MinMax", "reduce_range": True}
MIXED = {"preset": "mixed"}
DISTRIBUTED = {"method": "Distribution", "operators": ["MatMul"], "reduce_range": True}
FOUR = {"weight_bits": 4}
THIRD = 1 / 3
HEADS = ["file", "verdict", "remedy", "predicted", "measured", "within a third"]
HEADS += ["quantized again", "quality before", "after"]
NOTE = (
    "Predicted and measured: the part of the output's squared error that goes; negative where it "
    "grows. Predicted by the diagnosis from the samples that it repairs layers on, 128 at most, "
    "with its standard error; where that is more than a third of the gain the verdict calls it "
    "uncertain and foretells nothing. Measured on "
    "{judged} validation samples drawn with another seed, in ONNX Runtime, with the layer made "
    "float in the very file: its inputs pass their quantizers by, weight and bias are the "
    "original's. Quantized again: the file made anew by its own quantizer with the layer excluded "
    "(`nodes_to_exclude`, `ignored_scope`, `keep_float`); then the layer's input often stays "
    "rounded, biases are corrected anew, and more than the layer changes.\n"
)


@dataclass(frozen=True)
class Case:
    """A network's files and samples."""

    name: str
    original: Path
    calibration: Path
    task: lissom.Task
    judged: lissom.Task
    work: Path
    limit: float


def builds(name: str) -> Iterator[Row]:
    """The peers' worst files of a network that are networks still, then lissom's."""
    text = networks.NETWORKS[name].text
    types = {"activations": "QInt8", "weights": "QInt8"}
    match name:
        case "resnet20":
            yield Row("ONNX Runtime MinMax s8s8, reduced range", _static({**REDUCED, **types}))
            yield Row("NNCF, mixed preset", Build("openvino_peer:quantized_onnx", MIXED))
        case "mobilenet":
            types = {"activations": "QUInt8", "weights": "QUInt8"}
            yield Row("ONNX Runtime MinMax u8u8", _static({"method": "MinMax", **types}))
            yield Row("NNCF, mixed preset", Build("openvino_peer:quantized_onnx", MIXED))
        case _:
            yield Row("ONNX Runtime MinMax u8s8, reduced range", _static(REDUCED))
            yield Row("ONNX Runtime Distribution u8s8, matrix products", _static(DISTRIBUTED))
    tables = [EMBEDDINGS] if text else []
    yield Row("lissom", ours.recipe(*tables, ("quantize.static", {})))
    yield Row("lissom, 4-bit weights", ours.recipe(*tables, ("quantize.static", FOUR)))


def _static(options: dict[str, Any]) -> Build:
    return Build(ONNX_RUNTIME, options)


def without(build: Build, layer: str) -> Build:
    """The same with a layer kept float."""
    if build.maker != "ours:make_recipe":
        return replace(build, options={**build.options, "exclude": [layer]})
    *before, (technique, config) = build.options["steps"]
    kept = [technique, {**config, "keep_float": [layer]}]
    return replace(build, options={"steps": [*before, kept]})


def main() -> None:
    """Diagnose, intervene, measure, and publish the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--network", choices=networks.NETWORKS, required=True)
    parser.add_argument("--work", type=Path, default=Path("benchmark-work/interventions"))
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--limit", type=float, default=isolated.LIMIT)
    chosen = parser.parse_args()
    case = opened(chosen.network, chosen)
    lines = []
    for row in builds(chosen.network):
        for line in intervened(row, case, chosen.samples):
            lines.append(line)
            print(" | ".join(line), flush=True)
    told = f"{facts('onnxruntime', 'onnx', 'nncf', 'numpy')} Diagnosed on {chosen.samples} "
    told += "validation samples.\n\n" + table(HEADS, lines) + "\n"
    told += NOTE.format(judged=chosen.judged)
    title = networks.NETWORKS[chosen.network].title
    publish(f"Diagnosis against intervention: {title}", told)


def opened(name: str, chosen: argparse.Namespace) -> Case:
    """The original exported, the calibration stored, the samples drawn."""
    model, task = networks.load(name, chosen.data)
    work = chosen.work / name
    original = work / "original" / "model.onnx"
    if not original.is_file():
        export(model, original.parent)
    inputs = inputs_of(original)
    task = task.bind([spec.name for spec in inputs])
    calibration = work / "calibration.npz"
    kept_batches.store(of_one_length(list(task.calibration)), calibration)
    subset = draw(task, inputs, chosen.judged, seed=1)
    judged = task if subset is None else subset.task
    return Case(name, original, calibration, task, judged, work, chosen.limit)


def intervened(row: Row, case: Case, samples: int) -> Iterator[list[str]]:
    """The cells of a file, one line for each remedy."""
    folder = case.work / "files" / row.name.replace(", ", "-").replace(" ", "-")
    file = made(row.build, case, folder / "model.onnx")
    found = lissom.diagnose(case.original, file, case.task, samples=samples, times=False)
    verdict, layer = first_told(found)
    before, quality = error(file, case), accuracy(file, case)
    words = f"`{layer.name}`: {said(verdict, layer)}"
    fixed = folder / "float-again.onnx"
    float_again(case.original, file, layer.name, fixed)
    predicted = layer.gains["layer"]
    measured = 1 - error(fixed, case) / before
    try:
        other = made(without(row.build, layer.name), case, folder / "excluded.onnx")
        again = percent(1 - error(other, case) / before)
    except NotMade as failure:
        again = f"failed: {failure}"
    told = [foretold(predicted), percent(measured), within(predicted, measured), again]
    yield [row.name, words, "keep it float", *told, quality, accuracy(fixed, case)]
    if verdict.cause != "clipping" or layer.grid is None or "clipping" not in layer.gains:
        return
    try:
        with_range(file, layer.name, layer.grid.low, layer.grid.high, fixed)
    except NotThere:
        return
    predicted, measured = layer.gains["clipping"], 1 - error(fixed, case) / before
    told = [foretold(predicted), percent(measured), within(predicted, measured), ""]
    yield [row.name, words, "a range that holds all", *told, quality, accuracy(fixed, case)]


def made(build: Build, case: Case, out: Path) -> Path:
    """The file, now or from an earlier run."""
    kept = out.with_suffix(f".{digest(build)}.onnx")
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        isolated.make(build, case.original, kept, case.calibration, case.limit)
    return kept


def digest(build: Build) -> int:
    """A number that tells builds apart from run to run."""
    return zlib.crc32(repr((build.maker, build.options)).encode())


def first_told(found: Diagnosis) -> tuple[Verdict, LayerError]:
    """The first verdict of a layer with it; else the first one, with the layer of most error."""
    layers = {layer.name: layer for layer in found.layers if layer.gains}
    for verdict in found.verdicts:
        if verdict.layer in layers:
            return verdict, layers[verdict.layer]
    return found.verdicts[0], max(layers.values(), key=lambda each: each.share or 0.0)


def said(verdict: Verdict, layer: LayerError) -> str:
    """A verdict in few words."""
    share = f"{100 * (layer.share or 0.0):.0f} % of the error"
    if verdict.layer is None:
        return f"{share}, the most; {verdict.cause}"
    return f"{share}; {verdict.cause}"


def error(file: Path, case: Case) -> float:
    """Squared error of the outputs over the original's power, the largest output's."""
    one, other = open_session(case.original), open_session(file)
    names = [each.name for each in one.get_outputs()]
    errors, powers = (np.zeros(len(names)) for _ in range(2))
    for feeds, _ in case.judged.samples():
        answers = []
        for session in (one, other):
            taken = {each.name for each in session.get_inputs()}
            answers.append(session.run(names, {n: a for n, a in feeds.items() if n in taken}))
        for at, (truth, found) in enumerate(zip(*answers, strict=True)):
            errors[at] += np.square(found.astype(np.float64) - truth).sum()
            powers[at] += np.square(truth.astype(np.float64)).sum()
    return float(np.max(errors / powers))


def accuracy(file: Path, case: Case) -> str:
    """The metric of the samples that errors are measured on."""
    metric = case.task.metric
    value = metric.reduce(statistics_of(file, case.judged, original=case.original))
    return f"{100 * value:.1f} %" if metric.name == "accuracy" else f"{value:.3f}"


def foretold(gain: Gain) -> str:
    """A predicted gain with its standard error."""
    return f"{percent(gain.part)} ± {percent(gain.error)}"


def within(predicted: Gain, measured: float) -> str:
    """Whether a prediction is off by no more than a third of what was measured."""
    if abs(predicted.part - measured) <= THIRD * abs(measured):
        return "yes"
    return "no" if predicted.told else "no, and called uncertain"


def percent(part: float) -> str:
    return f"{100 * part:.1f} %"


if __name__ == "__main__":
    main()
