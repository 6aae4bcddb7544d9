"""Put what a benchmark printed into RESULTS.md, each benchmark in a section of its own."""

from __future__ import annotations

import datetime
import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path

import lissom
from lissom.targets.machine import this_machine

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = "# Results\n\nWhat the scripts in this folder printed, one section a script.\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def facts(*packages: str) -> str:
    """The machine, the day and the versions, as one line."""
    versions = ", ".join(
        [f"lissom {lissom.__version__}"]
        + [f"{name} {importlib.metadata.version(name)}" for name in packages]
    )
    machine = this_machine()
    return (
        f"{datetime.date.today()}, {machine}, {machine.system.split('-')[0]}, "
        f"Python {machine.python}; {versions}."
    )


def publish(name: str, text: str) -> None:
    """Print a section, and put it into RESULTS.md in place of the one of that name."""
    section = f"## {name}\n\n{text.rstrip()}\n"
    print(section)
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search(old)
    if found:
        new = old[: found.start()] + section + "\n" + old[found.end() :]
    else:
        new = old.rstrip() + "\n\n" + section
    RESULTS.write_text(new.rstrip() + "\n", encoding="utf-8")
