"""Repairs without training: each alone and all together, at 8 and 4 bits, beside the peers.

    python benchmarks/repair.py DATA_FOLDER --network resnet20|mobilenet|minilm|sst2
        [--work FOLDER] [--limit 300] [--quick] [--only GLOB]

Needs what static_int8.py needs, and works as it does. The peers' rows are their best of that
benchmark, and what they have against a loss: NNCF's bias correction is in all its rows, in the
accurate form where that is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import ours
from isolated import Build
from rows import Row
from static_int8 import EMBEDDINGS, arguments, run

Steps = list[tuple[str, dict[str, Any]]]
LEARNED = {"rounding": "learned"}
BIAS = {"bias_correction": "empirical"}
ANALYTIC = {"bias_correction": "analytic"}


def builds(text_network: bool) -> Iterator[Row]:
    """Every row of the table but the original's."""
    for bits in (8, 4):
        for name, steps in repairs(text_network, bits):
            tables = [EMBEDDINGS] if text_network else []
            yield Row(f"lissom, {bits}-bit weights{name}", ours.recipe(*tables, *steps))
    for weights in ("QInt8", "QInt4"):
        options: dict[str, Any] = {"activations": "QUInt8", "weights": weights}
        if text_network:
            options["operators"] = ["MatMul"]
        yield Row(f"ONNX Runtime MinMax, {weights} weights", Build("peers:static", options))
    told = {"model_type": "transformer"} if text_network else {"preset": "mixed"}
    for name, more in {
        "": {},
        ", accurate bias correction": {"fast_bias_correction": False},
    }.items():
        options = {**told, **more}
        yield Row(f"NNCF{name}, in ONNX Runtime", Build("openvino_peer:quantized_onnx", options))
        openvino = Build("openvino_peer:quantized_openvino", options)
        yield Row(f"NNCF{name}, in OpenVINO", openvino, "model.xml")


def repairs(text_network: bool, bits: int) -> Iterator[tuple[str, Steps]]:
    """What each recipe is called, and its steps."""
    scales = "quantize.smooth" if text_network else "quantize.equalize"
    width: dict[str, Any] = {} if bits == 8 else {"weight_bits": bits}
    for name, config in {
        ", plain": {},
        ", bias correction": BIAS,
        ", analytic bias correction": ANALYTIC,
        ", learned rounding": LEARNED,
    }.items():
        yield name, [("quantize.static", {**width, **config})]
    yield f", {scales.partition('.')[2]}", [(scales, {}), ("quantize.static", width)]
    everything = {**width, **LEARNED, **BIAS}
    yield ", all", [(scales, {}), ("quantize.static", everything)]


def main() -> None:
    """Make, judge and time everything, and publish the table."""
    chosen = arguments(__doc__, Path("benchmark-work/repair")).parse_args()
    network = networks.NETWORKS[chosen.network]
    run(chosen, builds(network.text), f"Repair without training: {network.title}")


if __name__ == "__main__":
    main()
