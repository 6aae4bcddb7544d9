"""Repairs without training: each alone and all together, at 8 and 4 bits, beside the peers.

    python benchmarks/repair.py DATA_FOLDER --network resnet20|mobilenet|minilm|sst2
        [--work FOLDER] [--limit 300] [--quick] [--only GLOB] [--lissom-only | --peers-only]
        [--neural-compressor PYTHON] [--aimet PYTHON [--no-adaround]]

Needs what static_int8.py needs, and works as it does. The peers' rows are in repair_peers.py;
Neural Compressor and AIMET need environments of their own, whose interpreters are named, and have
no rows without. A table is published when no rows were chosen; to fill it in pieces, run
`--lissom-only` and `--peers-only` on one work folder first. AIMET's AdaRound takes minutes for each
small network and hours for a large one: `--no-adaround` leaves it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import ours
from repair_peers import peers_note, peers_of
from rows import Row
from static_int8 import EMBEDDINGS, arguments, run

Steps = list[tuple[str, dict[str, Any]]]
LEARNED = {"rounding": "learned"}
BIAS = {"bias_correction": "empirical"}
ANALYTIC = {"bias_correction": "analytic"}


def builds(text_network: bool) -> Iterator[Row]:
    """Lissom's rows."""
    for bits in (8, 4):
        for name, steps in repairs(text_network, bits):
            tables = [EMBEDDINGS] if text_network else []
            yield Row(f"lissom, {bits}-bit weights{name}", ours.recipe(*tables, *steps))


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
    yield f", {scales.partition('.')[2]}", [(scales, width), ("quantize.static", width)]
    everything = {**width, **LEARNED, **BIAS}
    yield ", all", [(scales, width), ("quantize.static", everything)]


def main() -> None:
    """Make, judge and time everything, and publish the table."""
    parser = arguments(__doc__, Path("benchmark-work/repair"))
    parser.add_argument("--neural-compressor", type=Path, metavar="PYTHON")
    parser.add_argument("--aimet", type=Path, metavar="PYTHON")
    parser.add_argument("--no-adaround", action="store_true")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--lissom-only", action="store_true")
    part.add_argument("--peers-only", action="store_true")
    chosen = parser.parse_args()
    network = networks.NETWORKS[chosen.network]
    everything = itertools.chain(
        [] if chosen.peers_only else builds(network.text),
        [] if chosen.lissom_only else peers_of(chosen),
    )
    whole = not (chosen.lissom_only or chosen.peers_only)
    title = f"Repair without training: {network.title}" if whole else None
    run(chosen, everything, title, peers_note(chosen))


if __name__ == "__main__":
    main()
