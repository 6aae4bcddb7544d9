"""The peers' rows beside lissom's repairs: their best of static_int8.py, and their own repairs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import tuning
from isolated import Build, Elsewhere
from rows import Row

MAX_DROP = 0.005
# Seconds: tuning measures many files, and learned rounding takes thousands of steps a layer.
PATIENCE = 600.0
# Its authors advise 10,000 for a layer, which are two hours for ResNet-20 on this machine.
ITERATIONS = 500


def peers_of(chosen: argparse.Namespace) -> Iterator[Row]:
    """The rows of every peer that is there; the data folder has been read before the first."""
    text_network = networks.NETWORKS[chosen.network].text
    labelled = tuning.options(chosen.network, chosen.work / chosen.network)
    yield from onnxruntime_rows(text_network)
    yield from nncf_rows(text_network, labelled)
    if chosen.neural_compressor:
        yield from neural_compressor_rows(chosen.neural_compressor, text_network, labelled)
    if chosen.aimet:
        for row in aimet_rows(chosen.aimet, text_network):
            if not (chosen.no_adaround and "adaround" in row.build.options):
                yield row


def onnxruntime_rows(text_network: bool) -> Iterator[Row]:
    """8 and 4 bits."""
    for weights in ("QInt8", "QInt4"):
        options: dict[str, Any] = {"activations": "QUInt8", "weights": weights}
        if text_network:
            options["operators"] = ["MatMul"]
        yield Row(f"ONNX Runtime MinMax, {weights} weights", Build("peers:static", options))


def nncf_rows(text_network: bool, labelled: dict[str, Any]) -> Iterator[Row]:
    """Bias correction is in all of them, in the accurate form where that is said."""
    told = {"model_type": "transformer"} if text_network else {"preset": "mixed"}
    for name, more in {
        "": {},
        ", accurate bias correction": {"fast_bias_correction": False},
    }.items():
        options = {**told, **more}
        yield Row(f"NNCF{name}, in ONNX Runtime", Build("openvino_peer:quantized_onnx", options))
        openvino = Build("openvino_peer:quantized_openvino", options)
        yield Row(f"NNCF{name}, in OpenVINO", openvino, "model.xml")
    options = {**told, **labelled, "max_drop": MAX_DROP}
    name = "NNCF, accuracy control"
    here = Path(sys.executable)
    yield Row(f"{name}, in ONNX Runtime", elsewhere("nncf_peer:onnx", options, here, "nncf"))
    openvino = elsewhere("nncf_peer:openvino", options, here, "nncf", "openvino")
    yield Row(f"{name}, in OpenVINO", openvino, "model.xml")


def neural_compressor_rows(
    python: Path, text_network: bool, labelled: dict[str, Any]
) -> Iterator[Row]:
    """Its static mode, what it corrects, and its tuning to a drop."""
    # Without a strength it takes the recipe and does nothing.
    smooth = {"smooth_quant": True, "smooth_quant_args": {"alpha": 0.5}}
    repairs: dict[str, dict[str, Any]] = {"": {}}
    if text_network:
        repairs[", SmoothQuant"] = {"recipes": smooth}
    else:
        repairs[", fast bias correction"] = {"recipes": {"fast_bias_correction": True}}
    repairs[", tuned"] = {"tuned": labelled, "max_drop": MAX_DROP}
    for name, options in repairs.items():
        build = elsewhere("neural_compressor_peer:static", options, python, "neural-compressor")
        yield Row(f"Neural Compressor{name}", build)


def aimet_rows(python: Path, text_network: bool) -> Iterator[Row]:
    """8 and 4 bits; learned rounding on the ranges that are found by least error."""
    enhanced = {"scheme": "tf_enhanced"}
    rounding = {**enhanced, "adaround": ITERATIONS}
    equalized = {"equalize": True}
    for weights in ("int8", "int4"):
        repairs: dict[str, dict[str, Any]] = {"": {}, ", enhanced ranges": enhanced}
        if not text_network:
            repairs[", cross-layer equalization"] = equalized
        repairs[", AdaRound"] = rounding
        if not text_network:
            repairs[", all"] = {**rounding, **equalized}
        for name, options in repairs.items():
            options = {"weights": weights, **options}
            if text_network:
                # What else it quantizes by itself costs MiniLM twenty points.
                options["operators"] = ["MatMul", "Gemm", "Gather"]
            build = elsewhere("aimet_peer:quantized", options, python, "aimet-onnx", "torch")
            yield Row(f"AIMET, {weights} weights{name}", build)


def elsewhere(maker: str, options: dict[str, Any], python: Path, *packages: str) -> Elsewhere:
    """A build in the environment of an interpreter, with the versions that decide it."""
    there = versions(python, *packages, "onnx", "onnxruntime", "numpy")
    return Elsewhere(maker, options, str(python.absolute()), there, PATIENCE)


def peers_note(chosen: argparse.Namespace) -> str:
    """What the peers' rows were given, and what does not show in them."""
    count = tuning.COUNTS[chosen.network]
    told = (
        f"\nNNCF's accuracy control and Neural Compressor's tuning were asked for a drop of "
        f"{100 * MAX_DROP:g} points at most on {count:,} samples drawn at random from those the "
        "network was trained on (for STS-B, of its training part), none of them calibrated on. "
    )
    if chosen.neural_compressor:
        there = versions(chosen.neural_compressor, "neural-compressor", "onnxruntime")
        told += f"Neural Compressor's files are made by {named(there)}. "
    if chosen.aimet:
        there = versions(chosen.aimet, "aimet-onnx", "onnxruntime")
        told += f"AIMET's files are its Q/DQ export, made by {named(there)}; it has no bias "
        told += "correction for ONNX. "
        told += (
            "Its AdaRound was not run. "
            if chosen.no_adaround
            else f"AdaRound has {ITERATIONS} iterations a layer. "
        )
    return told.rstrip() + "\n"


def versions(python: Path, *packages: str) -> dict[str, str]:
    """The versions of packages in the environment of an interpreter."""
    asked = "import importlib.metadata, json, sys; "
    asked += "print(json.dumps({n: importlib.metadata.version(n) for n in sys.argv[1:]}))"
    # Not resolved: the interpreter of an environment is a link.
    command = [python.absolute(), "-c", asked, *packages]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, str] = json.loads(told)
    return found


def named(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
