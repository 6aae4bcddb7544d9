"""Every command and every Python block of the guides, run in order on what the reader would have.

What the reader brings (a model, data) is made small by `belongings.py`. Timing is cut short and
fewer candidates are tried; else the commands are those of the page.
"""

from __future__ import annotations

import functools
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lissom
from lissom.cli import app
from tests.docs import belongings
from tests.docs.markdown import Block, blocks_of, commands_of, unsaid

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
TIMED = ("compress", "run", "measure")
BRIEF = ("--seconds", "0.1", "--processes", "1")
QUICK = ("--effort", "quick")  # fewer candidates


class Reader:
    """Follows one page in the folder it stands in."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "text":
            missing = unsaid(block, self.printed)
            assert not missing, f"line {block.line}: not printed: {missing}\n{self.printed}"
        elif block.language in ("python", "sh"):
            self.capsys.readouterr()
            (self.script if block.language == "python" else self.commands)(block)
            out, err = self.capsys.readouterr()
            self.printed = out + err

    def script(self, block: Block) -> None:
        """Run a Python block as a script of its own."""
        exec(compile(block.text, f"line {block.line}", "exec"), {"__name__": "__main__"})

    def commands(self, block: Block) -> None:
        """Run the commands of a block in this process."""
        for command in commands_of(block):
            program, *arguments = command.words
            if program == "python":
                sys.argv = arguments
                runpy.run_path(arguments[0], run_name="__main__")
                continue
            assert program == "lissom", f"line {block.line}: {program} is not run by this test"
            arguments += BRIEF if arguments[0] in TIMED else ()
            arguments += QUICK if arguments[0] == "compress" else ()
            sys.argv = ["lissom", *arguments]
            with pytest.raises(SystemExit) as ended:
                app.main()
            if ended.value.code != command.code:
                out, err = self.capsys.readouterr()
                pytest.fail(f"{' '.join(sys.argv)} ended with {ended.value.code}:\n{out}{err}")


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Reader]:
    """Somebody in an empty folder, where lissom is quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lissom"])
    monkeypatch.syspath_prepend(tmp_path)
    for name in TIMED:
        brief = lissom.Settings(seconds=0.1, processes=1)
        quick: Callable[..., object] = functools.partial(getattr(lissom, name), settings=brief)
        if name == "compress":
            quick = functools.partial(quick, effort="quick")
        monkeypatch.setattr(lissom, name, quick)
    yield Reader(capsys)
    # Modules of a page must not be found by the next one.
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("guide", GUIDES, ids=[guide.stem for guide in GUIDES])
def test_a_reader_can_do_what_the_guide_says(guide: Path, reader: Reader) -> None:
    belongings.OF[guide.stem](Path.cwd())
    blocks = list(blocks_of(guide))
    assert any(block.language == "sh" for block in blocks)
    for block in blocks:
        reader.follow(block)
