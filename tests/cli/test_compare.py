"""`lissom compare`: two finished runs in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lissom.report.compare import Comparison
from tests.cli.conftest import Bench, Lissom


@pytest.fixture
def elsewhere(bench: Bench, tmp_path: Path) -> Path:
    """The same run as another machine would have made it."""
    out = Path(shutil.copytree(bench.undisturbed, tmp_path / "elsewhere"))
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    results["machine"]["cpu"] = "Another 7000"
    (out / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return out


def test_a_run_beside_itself_has_no_difference(lissom: Lissom, bench: Bench) -> None:
    said = lissom("compare", bench.undisturbed, bench.undisturbed, "--json")
    assert said.code == 0
    found = Comparison.model_validate(json.loads(said.out))
    assert found.size == 1.0
    assert found.speed is not None and found.speed.value == pytest.approx(1.0)
    assert found.quality is not None and found.quality.value == 0.0
    assert found.warnings == ("Both folders hold the results of the same run.",)
    assert all(fact.same for fact in found.facts)
    assert all(step.place == "both" for step in found.steps)


def test_another_machine_is_a_warning_in_text_and_page(
    lissom: Lissom, bench: Bench, elsewhere: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    said = lissom("compare", bench.undisturbed, elsewhere, "-o", page)
    assert said.code == 0
    assert "warning: The machines are different" in said.out
    assert f"page: {page}" in said.out
    assert "Processor:" in said.out and "Another 7000" in said.out
    assert "Another 7000" in page.read_text(encoding="utf-8")
    assert "faster" not in said.out and "slower" not in said.out.split("Limits")[0]
