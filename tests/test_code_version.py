from importlib import resources
from pathlib import Path

import pytest

from lissom.code_version import RESULTS, code_version


def test_the_code_version_changes_with_the_code_of_results_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (
        "metric.py", "quantize/static.py", "recipe/run.py", "search/layer_errors.py",
        "search/latency_table.py", "cli/app.py", "report/text.py", "search/explore.py",
    )  # fmt: skip
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)

    def now() -> str:
        code_version.cache_clear()
        return code_version()

    try:
        changed = []
        for name in files:
            before = now()
            (tmp_path / name).write_text("after")
            if now() != before:
                changed.append(name)
    finally:
        code_version.cache_clear()
    assert changed == [*files[:5]]


def test_parts_that_change_results_are_there() -> None:
    root = resources.files("lissom")
    assert all(root.joinpath(name).is_file() for name in RESULTS)
