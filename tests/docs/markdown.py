"""What a Markdown page tells its reader to do, as blocks in reading order.

A page's fenced blocks mean:

    ```sh                        commands, one a line; "# exit code 1" where they end in another
    ```text                      what the commands of the block before print, in part
    ```python title="mine.py"    a file the reader writes; yaml likewise
    ```python                    a script the reader runs

Any other language is shown and not run. Indented blocks are for what cannot run in a test.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# Words without digits: what stays the same on every machine.
WORD = re.compile(r"(?<![\w.])[A-Za-z][A-Za-z_'-]*(?![\w.]*\d)")


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is where it begins, `title` the file it is, or ""."""

    language: str
    title: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """One command line and the exit code it ends in."""

    words: tuple[str, ...]
    code: int


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found.group(1), found.group(2) or "", found.group(3), line)


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a `sh` block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        said = re.search(r"# exit code (\d)", line)
        if words:
            yield Command(tuple(words), int(said.group(1)) if said else 0)


def unsaid(block: Block, printed: str) -> list[str]:
    """Words of a `text` block that were not printed."""
    known = set(WORD.findall(printed))
    return [word for word in WORD.findall(block.text) if word not in known]
