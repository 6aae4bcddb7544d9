"""Results that nobody measured, as fixtures."""

from __future__ import annotations

import pytest

from lissom.measurement.records import Footprint, Measurement, Settings
from lissom.report.results import Results, Row, Skipped
from lissom.targets.machine import Machine
from tests.report.invented import accuracy, fidelity, latency, row, speed

UNPROVEN = "drop 0.90 pt is inside the limit 1pt, its interval (up to 1.02 pt) is not"


@pytest.fixture
def original() -> Row:
    return Row(
        name="original",
        steps=(),
        measurement=Measurement(
            footprint=Footprint(
                bytes=90_812_345,
                parameters=22_713_216,
                macs=680_000_000,
                peak_memory=142_300_000,
            ),
            latency=latency(6.4, 1),
            speed=None,
            quality=fidelity(1.0, 0.0),
        ),
    )


@pytest.fixture
def chosen() -> Row:
    return row(
        "dynamic int8 per channel",
        23_204_000,
        speed(6.4, 2.2, 2.85, 2.98),
        fidelity(0.991, 0.0012),
        64_100_000,
        chosen=True,
        on_front=True,
        unproven=(UNPROVEN,),
        steps=("graph.optimize", "quantize.dynamic(weights=int7, per_channel=true)"),
    )


@pytest.fixture
def results(original: Row, chosen: Row) -> Results:
    return Results(
        lissom="0.1.0",
        model="all-MiniLM-L6-v2",
        task="text:sentences.txt",
        target="onnxruntime 1.31.1",
        machine=Machine(
            cpu="Invented 9000 16-Core Processor",
            architecture="x86_64",
            features=("avx2",),
            cores=2,
            memory=8 * 2**30,
            system="Linux 6.1",
            python="3.11.7",
        ),
        settings=Settings(shapes={"input_ids": (1, 128), "attention_mask": (1, 128)}),
        objective="balanced",
        budget={"size": "25MB", "latency": "4ms", "drop": "1pt"},
        original=original,
        rows=(
            chosen,
            row(
                "static int8 percentile 99.99",
                23_310_000,
                speed(6.4, 2.4, 2.55, 2.78),
                fidelity(0.9834, 0.0015),
                66_000_000,
                misses=("drop 1.66 pt exceeds 1pt by 0.66 pt",),
            ),
            row(
                "static int8 min-max",
                23_310_000,
                speed(6.4, 2.38, 2.57, 2.80),
                fidelity(0.971, 0.002),
                66_000_000,
                misses=("drop 2.90 pt exceeds 1pt by 1.90 pt",),
            ),
            row(
                "weight-only 4-bit, embeddings 8-bit",
                15_160_000,
                speed(6.4, 7.1, 0.88, 0.92, "slower"),
                fidelity(0.9712, 0.0021),
                51_000_000,
                on_front=True,
                flags=("slower than the original",),
                misses=(
                    "latency 7.1 ms exceeds 4ms by 3.1 ms",
                    "drop 2.88 pt exceeds 1pt by 1.88 pt",
                ),
            ),
            row(
                "weight-only 2-bit",
                9_800_000,
                speed(6.4, 6.9, 0.90, 0.95, "slower"),
                fidelity(0.612, 0.011),
                45_000_000,
                on_front=True,
                misses=(
                    "latency 6.9 ms exceeds 4ms by 2.9 ms",
                    "drop 38.80 pt exceeds 1pt by 37.80 pt",
                ),
            ),
            row(
                "float16",
                45_500_000,
                speed(6.4, 6.3, 0.97, 1.06, "too noisy to tell"),
                fidelity(0.99996, 0.00001),
                180_000_000,
                on_front=True,
                misses=(
                    "size 45.5 MB exceeds 25MB by 20.5 MB",
                    "latency 6.3 ms exceeds 4ms by 2.3 ms",
                ),
            ),
            row(
                "graph.optimize",
                90_790_000,
                speed(6.4, 6.1, 1.02, 1.08),
                fidelity(1.0, 0.0),
                141_000_000,
                on_front=True,
                misses=(
                    "size 90.8 MB exceeds 25MB by 65.8 MB",
                    "latency 6.1 ms exceeds 4ms by 2.1 ms",
                ),
            ),
        ),
        skipped=(
            Skipped(
                name="static int8, 8-bit weights",
                why="u8 x s8 products saturate on this machine (no VNNI): the results would be "
                "wrong, so weights have 7 bits",
            ),
            Skipped(name="quantize.static on embeddings", why="Gather has no quantized kernel"),
        ),
        notes=(
            "Exported from torch: the outputs differ by at most 2.1e-07.",
            "Quality is fidelity to the original: no labels were given.",
        ),
        sentence="all-MiniLM-L6-v2 became 3.9x smaller (90.8 -> 23.2 MB) and 2.9x faster "
        "(6.4 -> 2.2 ms, one thread, batch 1) and keeps 99.1 % of its quality (cosine fidelity "
        "0.991 to the original; no labels were used).",
        snippet="import numpy as np\nimport onnxruntime as ort\n\n"
        'session = ort.InferenceSession("out/model.onnx")\n'
        'feeds = {name: np.ones((1, 128), np.int64) for name in ("input_ids", "attention_mask")}\n'
        "print(session.run(None, feeds)[0].shape)\n",
        seconds=151.4,
    )


@pytest.fixture
def recipe(results: Results) -> Results:
    """Pruned, distilled, folded and quantized: smaller and faster, 0.65 points worse."""
    pruned = "prune.structured(macs=0.5)"
    distilled = "distill.logits(epochs=30)"
    steps = (pruned, distilled, "graph.optimize", "quantize.static(percentile=99.99)")
    original = row("original", 1_100_000, None, accuracy(0.912, 0.0), 30_000_000, steps=())
    measured = original.measurement.model_copy(update={"latency": latency(0.98, 1)})
    stages = (
        ("1 prune.structured", 560_000, 0.57, (1.69, 1.75), accuracy(0.871, 0.009), 27_000_000),
        ("2 distill.logits", 560_000, 0.575, (1.68, 1.74), accuracy(0.909, 0.006), 27_000_000),
        ("3 graph.optimize", 552_000, 0.53, (1.81, 1.88), accuracy(0.909, 0.006), 26_000_000),
        ("4 quantize.static", 165_000, 0.31, (3.10, 3.22), accuracy(0.9055, 0.007), 25_000_000),
    )
    return results.model_copy(
        update={
            "kind": "recipe",
            "model": "resnet20",
            "task": "cifar10.py:task",
            "objective": "",
            "budget": {"size": "300kB", "drop": "1pt"},
            "original": original.model_copy(update={"measurement": measured}),
            "rows": tuple(
                row(
                    name,
                    size,
                    speed(0.98, p50, *ratio),
                    quality,
                    memory,
                    steps=steps[: number + 1],
                    chosen=number == 3,
                )
                for number, (name, size, p50, ratio, quality, memory) in enumerate(stages)
            ),
            "skipped": (),
            "notes": ("Exported from torch: the outputs differ by at most 2.1e-07.",),
            "sentence": "After 4 steps resnet20 became 6.7x smaller (1.1 MB -> 165.0 kB).",
        }
    )
