"""What the data have to say for themselves reaches the table, the page and the JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lissom
from lissom.report.page import render_page
from lissom.task import Task
from tests import models
from tests.search.conftest import BRIEF, Finished


def test_the_same_samples_for_both_are_told_everywhere(finished: Finished) -> None:
    results = finished.result.results
    told = "All 128 validation samples are calibration samples too"
    assert [note for note in results.notes if note.startswith(told)]
    assert told in " ".join(str(finished.result).split())
    assert told in render_page(results)
    assert told in results.model_dump_json()


def test_how_many_samples_prove_a_drop_is_told_everywhere(
    tmp_path: Path, instant: list[str]
) -> None:
    path = models.saved(models.depthwise(), tmp_path / "depthwise.onnx")
    feeds = models.feeds(models.depthwise(), 60)
    spread = lissom.Metric(
        "spread", lambda outputs, targets: _spread(outputs["logits"], targets), bounded=True,
        needs_labels=False,
    )  # fmt: skip
    task = Task(calibration=feeds, validation=feeds, metric=spread)
    result = lissom.compress(
        path, task, budget=lissom.Budget(drop="10pt"), settings=BRIEF,
        techniques=("quantize.static",),
    )  # fmt: skip
    row = next(row for row in result.results.rows if row.unproven)
    drop = row.measurement.quality.drop
    assert row.samples_needed == pytest.approx(
        60 * ((drop.high - drop.value) / (0.1 - drop.value)) ** 2, abs=1
    )
    assert row.samples_needed > 60
    told = "validation samples would prove it if the estimate stays (60 were judged)"
    assert told in row.unproven[0]
    assert told in " ".join(str(result).split())
    assert told in " ".join(render_page(result.results).split())


def _spread(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """1 for the original itself; for a file that differs, 0 or 2 by the sample, 0.95 on average."""
    same = np.array_equal(values, original)
    turns = np.arange(len(values)) % 2 == 0
    return np.ones(len(values)) if same else np.where(turns, 1.95, -0.05)
