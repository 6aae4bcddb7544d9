"""What saturating kernels do to a quantized network, and what codes that obey their pairs save.

An image network, static INT8 with full, reduced and pair-exact weights, each with optimizations
on, on a processor whose u8 x s8 kernels add pairs of products in 16 bits. Where this machine has
none, the files are run by an emulated AVX2 processor (qemu-x86_64): its answers are right and its
times mean nothing, so none are given.

    [LISSOM_WORK=FOLDER] python benchmarks/saturation.py DATA_FOLDER --network resnet20|mobilenet
        [--images 1000]

The test images are drawn from the thousandth on: how weights are chosen was tried out on earlier
ones.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

# The part an emulated interpreter runs imports nothing of lissom or torch.
EMULATOR = ("qemu-x86_64", "-cpu", "Haswell")
RANGES = ("full", "reduced", "pairs")
FIRST = 1000


def logits(path: Path, images: np.ndarray, *, optimize: bool = True) -> np.ndarray:
    """The network's outputs, a hundred images at a time."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    pieces = range(0, len(images), 100)
    return np.concatenate([session.run(None, {"images": images[i : i + 100]})[0] for i in pieces])


def emulated(folder: Path) -> None:
    """Run every file of a folder on its images.npy and keep the outputs."""
    images = np.load(folder / "images.npy")
    for path in sorted(folder.glob("*.onnx")):
        np.save(path.with_suffix(".npy"), logits(path, images))


def build(network: str, data: Path, folder: Path) -> None:
    """float.onnx and one file for each range of weights."""
    import networks

    from lissom.recipe import catalog
    from lissom.recipe.prepare import prepare
    from lissom.recipe.run import run
    from lissom.recipe.schema import Recipe, Step
    from lissom.recipe.store import Store
    from lissom.technique import Context, silent

    assert catalog.__all__
    store = Store(folder / "steps")
    model, task = networks.load(network, data)
    original = prepare(model, store, silent).built
    shutil.copyfile(original.path, folder / "float.onnx")
    context = Context(calibration=task.calibration)
    for name in RANGES:
        steps = (
            Step(technique="graph.optimize"),
            Step(technique="quantize.static", config={"weight_range": name}),
        )
        built = run(Recipe(name=name, steps=steps), original, context, store)
        shutil.copyfile(built.path, folder / f"{name}.onnx")


def ratio(found: np.ndarray, truth: np.ndarray) -> str:
    """Signal to noise of outputs against the float network's, in decibels."""
    noise = ((found - truth) ** 2).sum()
    return f"{10 * np.log10((truth**2).sum() / noise):.1f} dB" if noise else "exact"


def main(network: str, data: Path, count: int) -> None:
    import networks
    from publish import facts, publish, table
    from resnet20 import images, normalized

    from lissom.targets.onnxruntime import kernels_saturate

    native = kernels_saturate()
    if not native and shutil.which(EMULATOR[0]) is None:
        sys.exit("this machine's kernels do not saturate, and qemu-x86_64 is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(network, data, folder)
        pixels, labels = images("test")
        # They lie in the order of their classes.
        drawn = np.random.default_rng(0).permutation(np.arange(FIRST, len(labels)))[:count]
        inputs, labels = normalized(pixels[drawn]), labels[drawn]
        np.save(folder / "images.npy", inputs)
        command = [sys.executable, __file__, "--folder", str(folder)]
        subprocess.run(command if native else [*EMULATOR, *command], check=True)
        truth = logits(folder / "float.onnx", inputs)
        rows = []
        for name in ("float", *RANGES):
            exact = logits(folder / f"{name}.onnx", inputs, optimize=name == "float")
            for where, found in (
                ("exact integers", exact),
                ("in pairs", np.load(folder / f"{name}.npy")),
            ):
                if name == "float" and where == "in pairs":
                    continue
                right = 100 * (found.argmax(1) == labels).mean()
                same = 100 * (found.argmax(1) == truth.argmax(1)).mean()
                heading = "float32" if name == "float" else f"int8, {name} weights"
                arithmetic = "" if name == "float" else where
                numbers = ["", ""] if name == "float" else [f"{same:.1f} %", ratio(found, truth)]
                rows.append([heading, arithmetic, f"{right:.1f} %", *numbers])
    machine = "this machine's own kernels" if native else f"an emulated processor ({EMULATOR[2]})"
    heads = ["weights", "sums", "accuracy", "agreement with float", "signal to noise"]
    text = (
        f"{facts('onnxruntime')}\n\nStatic INT8, default settings; {len(inputs)} random images. "
        f'"exact integers": every node as the graph says. "in pairs": the optimized graph on '
        f"{machine}, AVX2 without VNNI.\n\n{table(heads, rows)}"
    )
    publish(f"{networks.NETWORKS[network].title} on kernels that add pairs in 16 bits", text)


def asked() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--network", choices=("resnet20", "mobilenet"), required=True)
    arguments.add_argument("--images", type=int, default=1000)
    return arguments.parse_args()


if __name__ == "__main__":
    if "--folder" in sys.argv:
        emulated(Path(sys.argv[-1]))
    else:
        chosen = asked()
        main(chosen.network, chosen.data, chosen.images)
