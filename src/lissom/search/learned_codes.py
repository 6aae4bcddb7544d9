"""Errors of layers as learned codes leave them, of tables that were measured before learning."""

from __future__ import annotations

import dataclasses
from itertools import islice
from math import inf, isfinite

from lissom.recipe.run import run
from lissom.recipe.schema import Recipe
from lissom.search.attempts import Attempts
from lissom.search.comparable import file_error
from lissom.search.layer_tables import Tables
from lissom.tables import STATIC, Format

# Candidates in one format with learned codes, the narrowest first; they are learned in the last
# step.
LEARNED_FILES: tuple[tuple[str, Format], ...] = (
    ("int8 static, 4-bit weights", "w4a8"),
    ("int8 static, learned", "w8a8"),
)


def left_by_learning(attempts: Attempts, tables: Tables, batches: int) -> float:
    """What learned codes leave of the errors in static formats, as a share.

    As much as in the narrowest file of one format that was built with them; all where none was, or
    where outputs overflow.

    Args:
        attempts: what was built.
        tables: with errors of each layer alone.
        batches: of calibration data that the error of a file is measured on.

    Raises:
        ModelError, RunError: the runtime cannot run a file.
    """
    ready = attempts.ready
    calibration = ready.context.calibration
    assert calibration is not None
    for name, form in LEARNED_FILES:
        if name not in attempts.files:
            continue
        # Against the network before that step: what an earlier one made of large tables is not
        # among what is predicted.
        earlier = Recipe(name="before codes", steps=attempts.recipes[name].steps[:-1])
        before = run(earlier, ready.prepared.built, ready.context, attempts.store)
        error = file_error(
            ready.targets[0].open,
            before.path,
            attempts.files[name].path,
            islice(calibration, batches),
        )
        predicted = tables.sensitivity.predict(tables.uniform(form))
        if error is not None and isfinite(error) and 0 < predicted < inf:
            return error / predicted
    return 1.0


def with_learned(tables: Tables, left: float) -> Tables:
    """Tables whose errors in the static formats are so many times what they were.

    No other format learns its codes.

    Args:
        tables: with errors of each layer alone.
        left: what learned codes leave, as a share.
    """
    layers = tuple(
        layer.model_copy(
            update={
                "errors": {
                    form: error * left if form in STATIC else error
                    for form, error in layer.errors.items()
                }
            }
        )
        for layer in tables.sensitivity.layers
    )
    sensitivity = tables.sensitivity.model_copy(update={"layers": layers})
    return dataclasses.replace(tables, sensitivity=sensitivity)
