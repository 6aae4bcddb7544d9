"""lissom as a maker of model files (see isolated.py)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from isolated import Build

import lissom
from lissom.recipe import catalog
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.technique import Context

assert catalog.__all__


def recipe(*steps: tuple[str, dict[str, Any]]) -> Build:
    """The graph clean-up that precedes every format, then these steps."""
    return Build("ours:make_recipe", {"steps": [["graph.optimize", {}], *map(list, steps)]})


def make_recipe(
    original: Path,
    out: Path,
    calibration: list[dict[str, np.ndarray]],
    *,
    steps: Sequence[tuple[str, dict[str, Any]]],
) -> None:
    """Run a recipe without a cache of earlier steps."""
    made = tuple(Step(technique=name, config=config) for name, config in steps)
    context = Context(
        pair_sums=onnxruntime_target().pair_sums,
        calibration=lissom.Task(calibration=calibration).calibration,
    )
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        source = Built(original, original.stem)
        built = run(Recipe(name=out.stem, steps=made), source, context, Store(Path(folder)))
        out.unlink(missing_ok=True)
        os.link(built.path, out)
