"""`lissom.run`: an explicit recipe instead of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lissom.measurement.records import Settings
from lissom.model import Model
from lissom.recipe.document import open_recipe
from lissom.recipe.schema import Recipe
from lissom.search.budget import Budget
from lissom.search.follow import follow
from lissom.search.outcome import outcome
from lissom.search.request import Request
from lissom.search.result import Result
from lissom.task import Task
from lissom.technique import Track, silent


def run(
    recipe: Recipe | str | Path,
    model: Model | str | Path | Any,
    task: Task | None = None,
    *,
    target: str | Sequence[str] = "onnxruntime",
    cpu: str | None = None,
    budget: Budget | None = None,
    folder: Path | str | None = None,
    example_inputs: Any = None,
    settings: Settings | None = None,
    seed: int = 0,
    track: Track = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Result:
    """Run a recipe's steps in order, each measured next to the original.

    Args:
        recipe: a `Recipe`, the name of a shipped one, or a YAML file.
        model: an `.onnx` file, a Hugging Face folder, `file.py:factory`, or an `nn.Module`.
        task: what the model must do; steps say what they need of it.
        target: the runtime it will live in, "onnxruntime" or "openvino"; or several: every file
            is then measured in each, and the limits hold in all of them.
        cpu: the class of processor it will run on, "avx2", "avx512", "vnni" or "neon"; None is
            this machine's. Of another one latency is not measured.
        budget: limits on the result; as in `compress`, a drop is limited even where none is named.
        folder: where finished steps and checkpoints are kept, so that a killed run goes on, and
            where the result is saved; a temporary one when None.
        example_inputs: what an `nn.Module` is exported with.
        settings: how latency is measured.
        seed: seeds whatever is random.
        track: shows progress.
        waiting: called when another run holds the folder.

    Raises:
        LissomError: the recipe cannot run on this model and task, or a step fails.
    """
    steps = recipe if isinstance(recipe, Recipe) else open_recipe(str(recipe))
    request = Request(
        target=target,
        cpu=cpu,
        budget=budget or Budget(),
        settings=settings or Settings(),
        seed=seed,
        track=track,
    )
    return outcome(
        model,
        task,
        lambda opened, store: follow(steps, opened, task, request, store),
        folder=folder,
        example_inputs=example_inputs,
        waiting=waiting,
    )
