"""The pages and the API reference build without a warning, and leave nothing public out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import lissom
from lissom.cli.app import app
from lissom.recipe import catalog

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    told = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    explained = set(re.findall(r'id="lissom\.(\w+)"', told))
    assert set(lissom.__all__) - {"__version__"} <= explained


def test_the_settings_of_every_technique_are_in_the_reference(site: Path) -> None:
    told = (site / "reference" / "recipes.html").read_text("utf-8")
    for name in catalog.__all__:
        config = getattr(catalog, name)
        assert f'id="{config.__module__}.{name}"' in told


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        fetched = re.findall(
            r"<(?:script|img|link)[^>]+(?:src|href)=\"?(https?:[^\">]+)", page.read_text("utf-8")
        )
        assert not fetched, page.name


def test_the_first_page_names_every_command() -> None:
    told = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in commands if f"`lissom {name}" not in told] == []
