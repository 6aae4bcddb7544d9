"""CIFAR ResNet-20: prune to half the multiply-accumulates, recover, quantize; beside torch-pruning.

    python benchmarks/resnet20_spine.py DATA_FOLDER [--epochs 8] [--work FOLDER]

The steps are those of resnet20.yaml. Needs `pip install pillow` and, without its dependencies,
torch-pruning==1.6.1. Every row is an ONNX file exported the same way, judged on all 10,000 test
images and timed in turns with the original. Every recovery trains the same epochs on the same
augmented images with the same settings and keeps the last epoch, so that nothing is chosen on the
test images. Finished steps are kept in the work folder: run it again and it goes on.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch_pruning
from publish import facts, publish, table

import lissom
from lissom.measurement.feeds import example_feeds
from lissom.measurement.footprint import footprint
from lissom.measurement.latency import compare_speed
from lissom.measurement.quality import judge, statistics_of
from lissom.measurement.records import Settings
from lissom.onnx_file import inputs_of
from lissom.report import text

RECIPE = Path(__file__).with_name("resnet20.yaml")
BATCH = 8


# With multiples of eight, half of the multiply-accumulates is half of every block's channels but
# one's, or 49.5 % and half of all. The peers are given the latter; lissom is asked for both.
PEERS_SHARE = 0.49


def shortened(epochs: int, **pruning: float) -> lissom.Recipe:
    """The recipe, training so many epochs, with other settings of the pruning."""
    found = lissom.open_recipe(str(RECIPE))
    steps = []
    for step in found.steps:
        config = copy.deepcopy(dict(step.config))
        if step.technique == "prune.structured":
            config.update(pruning)
        if "training" in config:
            config["training"]["epochs"] = epochs
        steps.append(lissom.Step(technique=step.technique, config=config))
    return lissom.Recipe(name=found.name, steps=tuple(steps))


def recipe(name: str, *steps: tuple[str, dict[str, Any]]) -> lissom.Recipe:
    """A recipe from technique names and settings."""
    made = tuple(lissom.Step(technique=technique, config=config) for technique, config in steps)
    return lissom.Recipe(name=name, steps=made)


def main() -> None:
    """Build, judge and time everything, and publish the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--work", type=Path, default=Path("benchmark-work/resnet20"))
    chosen = arguments.parse_args()
    os.environ["LISSOM_DATA"] = str(chosen.data.resolve())
    import resnet20

    task = resnet20.task()
    files = dict(built(resnet20.factory(), task, chosen))
    publish(f"CIFAR ResNet-20, {chosen.epochs} epochs of recovery", told(files, task))


def built(
    network: tuple[Any, Any, Any], task: lissom.Task, chosen: argparse.Namespace
) -> Iterator[tuple[str, Path]]:
    """Every row's name and ONNX file, the original first."""
    whole = shortened(chosen.epochs)
    prune, teacher, *int8 = ((step.technique, dict(step.config)) for step in whole.steps)
    labels = ("distill.logits", {"alpha": 1.0, "training": teacher[1]["training"]})

    ours = followed(recipe("int8", *int8), network, task, chosen.work / "ours")
    yield "original, float32", ours.found.original.path
    yield "INT8", ours.artifacts[-1].path
    bare = {**prune[1], "correct": False}
    plain = followed(
        recipe("bare", ("prune.structured", bare)), network, task, chosen.work / "ours"
    )
    yield "pruned, not corrected", plain.artifacts[0].path
    by_labels = followed(recipe("labels", prune, labels), network, task, chosen.work / "ours")
    yield "pruned, corrected by least squares", by_labels.artifacts[0].path
    yield "... recovered by labels", by_labels.artifacts[1].path
    spine = followed(whole, network, task, chosen.work / "ours")
    yield "... recovered by distillation", spine.artifacts[1].path
    yield "... and INT8", spine.artifacts[-1].path
    alike = shortened(chosen.epochs, macs=PEERS_SHARE)
    same = followed(alike, network, task, chosen.work / "ours")
    yield "pruned as the peers are, recovered by distillation", same.artifacts[1].path
    yield "pruned as the peers are, and INT8", same.artifacts[-1].path
    for name, pruner, importance in peers():
        module = pruned_by_peer(network[0], pruner, importance, prune[1]["multiple_of"])
        result = followed(
            recipe("peer", labels, *int8),
            (module, network[1], network[2]),
            task,
            chosen.work / name.replace(" ", "-"),
        )
        yield f"torch-pruning {name}, no training", result.found.original.path
        yield f"torch-pruning {name}, recovered by labels", result.artifacts[0].path
        yield f"torch-pruning {name}, and INT8", result.artifacts[-1].path


def followed(
    steps: lissom.Recipe, network: tuple[Any, Any, Any], task: lissom.Task, folder: Path
) -> Any:
    """The result of a recipe; its own timing is kept short, the table has another."""
    module, examples, axes = network
    return lissom.run(
        steps,
        lissom.open_model(module, example_inputs=examples, dynamic_axes=axes),
        task,
        folder=folder,
        settings=Settings(seconds=0.2, processes=1),
        track=spoken,
    )


def spoken(items: Any, label: str, total: int | None = None) -> Any:
    """Progress as lines: steps and epochs only."""
    for item in items:
        name = getattr(item, "name", None) or getattr(item, "number", None)
        if name is not None:
            print(f"  {label}: {name}", flush=True)
        yield item


def peers() -> Iterator[tuple[str, Any, Any]]:
    """torch-pruning's pruners."""
    importance = torch_pruning.importance
    yield "L1", torch_pruning.pruner.BasePruner, importance.MagnitudeImportance(p=1)
    yield (
        "group norm",
        torch_pruning.pruner.GroupNormPruner,
        importance.GroupMagnitudeImportance(p=2),
    )


def pruned_by_peer(original: Any, pruner: Any, importance: Any, multiple: int) -> Any:
    """The first convolution of every block pruned alike until half the products are gone.

    The residual stream runs through zero-padded shortcuts, which torch-pruning cannot follow.
    """
    whole, _ = torch_pruning.utils.count_ops_and_params(original, torch.zeros(1, 3, 32, 32))
    for percent in range(40, 70):
        module = copy.deepcopy(original)
        inner = {m.conv1: percent / 100 for m in module.modules() if hasattr(m, "conv2")}
        pruner(
            module,
            torch.zeros(1, 3, 32, 32),
            importance=importance,
            pruning_ratio=0.0,
            pruning_ratio_dict=inner,
            round_to=multiple,
            ignored_layers=[module.conv1, module.linear]
            + [m.conv2 for m in module.modules() if hasattr(m, "conv2")],
        ).step()
        left, _ = torch_pruning.utils.count_ops_and_params(module, torch.zeros(1, 3, 32, 32))
        if left <= 0.51 * whole:
            return module.eval()
    raise SystemExit("torch-pruning did not reach half of the products")


def told(files: dict[str, Path], task: lissom.Task) -> str:
    """The table and what it was measured on."""
    original = next(iter(files.values()))
    inputs = inputs_of(original)
    bound = task.bind([spec.name for spec in inputs])
    batch, _ = next(bound.samples())
    reference = statistics_of(original, bound)
    lines = []
    for name, path in files.items():
        quality = judge(bound.metric, reference, statistics_of(path, bound), fidelity=False)
        cells = [name]
        for samples in (1, BATCH):
            settings = Settings(batch=samples, seconds=2.0)
            feeds = example_feeds(inputs, settings, batch)
            if samples == 1:
                weighed = footprint(path, feeds)
                cells += [text.size(weighed.bytes), f"{(weighed.macs or 0) / 1e6:.1f} M"]
                accuracy = quality.value
                cells.append(
                    f"{100 * accuracy.value:.2f} % "
                    f"[{100 * accuracy.low:.2f}, {100 * accuracy.high:.2f}]"
                )
                cells.append(f"{text.drop(quality)} {text.drop_interval(quality)}")
            if path == original:
                cells.append("1")
                continue
            speed = compare_speed(original, path, feeds, settings)
            cells.append(f"{text.ratio(speed.ratio.value)} {text.speed_interval(speed.ratio)}")
        lines.append(cells)
        print(" | ".join(cells), flush=True)
    heads = ["file", "size", "multiply-accumulates", "accuracy [95 %]", "drop [95 %]"]
    heads += [f"speed-up, batch {samples} [95 %]" for samples in (1, BATCH)]
    return f"{facts('onnxruntime', 'torch', 'torch-pruning', 'numpy')} One thread.\n\n" + table(
        heads, lines
    )


if __name__ == "__main__":
    main()
