"""Adds to a record of results where the bytes of the original and of the outcome lie."""

from __future__ import annotations

import dataclasses

from lissom.measurement.layer_bytes import layer_bytes
from lissom.search.ready import Found


def with_layers(found: Found) -> Found:
    """The record with bytes by layer: of the chosen file, or of a recipe's last stage.

    Nothing is added where a search chose none.

    Raises:
        ModelError: a file that was measured can no longer be read.
    """
    results = found.results
    outcome = results.outcome
    if outcome is None:
        return found
    layers = layer_bytes(found.original.path, found.files[outcome.name].path)
    return dataclasses.replace(found, results=results.model_copy(update={"layers": layers}))
