"""Exit codes, errors on one screen or as JSON, usage errors, interruptions."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import lissom as package
from lissom.errors import ModelError
from tests.cli.conftest import COMMAND, Lissom


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every command that opens a model end so."""

    def fail(*args: Any, **options: Any) -> None:
        raise error

    # They keep the `open_model` that there is when they are first imported.
    for name in ("diagnose", "outcome", "side_by_side"):
        importlib.import_module(f"lissom.search.{name}")
    monkeypatch.setattr("lissom.model.open_model", fail)


def test_version_and_help(lissom: Lissom) -> None:
    assert lissom("--version").out == f"lissom {package.__version__}\n"
    said = lissom("--help")
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in ("compress", "measure", "techniques"))
    assert "Exit code 0: done, inside the budget. 1: done, nothing fits it." in said.out
    said = lissom("compress", "--help")
    assert "MODEL" in said.out
    assert "Exit code 0" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compres", "m.onnx"], "No such command 'compres'"),
        (["compress"], "Missing argument 'MODEL'"),
        (["compress", "m.onnx", "--max-sise", "1MB"], "--max-size"),
        (["compress", "m.onnx", "--batch", "0"], "Invalid value for '--batch'"),
        (["compress", "m.onnx", "--batch", "two"], "Invalid value for '--batch'"),
        (["compress", "m.onnx", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["compress", "m.onnx", "--seconds", "nan"], "--seconds"),
        (["measure"], "Missing argument 'MODEL'"),
        (["techniques", "extra"], "unexpected extra argument"),
    ],
)
def test_usage_errors_are_exit_code_2(lissom: Lissom, arguments: list[str], words: str) -> None:
    said = lissom(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err
    said = lissom(*arguments, "--json")
    assert said.code == 2
    assert words in json.loads(said.out)["error"]["what"]


def test_an_error_has_what_where_and_fix(lissom: Lissom, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ModelError("it is broken", where="here\nline 2", fix="mend it"))
    said = lissom("compress", "m.onnx")
    assert said.code == 2
    assert said.out == ""
    assert said.err == ("error: it is broken\n  where: here\n         line 2\n  fix:   mend it\n")


@pytest.mark.parametrize("command", ["compress", "measure"])
def test_an_error_is_one_json_document_on_stdout(
    lissom: Lissom, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    raising(monkeypatch, ModelError("it is broken", fix="mend it"))
    said = lissom(command, "m.onnx", "--json")
    assert said.code == 2
    assert json.loads(said.out) == {
        "schema_version": 1,
        "error": {"what": "it is broken", "where": None, "fix": "mend it"},
    }
    assert said.err.startswith("error: it is broken")


def test_an_interruption_is_one_line_and_130(
    lissom: Lissom, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    said = lissom("compress", "m.onnx")
    assert said.code == 130
    assert said.out == ""
    assert re.fullmatch(r"stopped; finished steps are kept.*\n", said.err)
    said = lissom("compress", "m.onnx", "--json")
    assert said.code == 130
    assert json.loads(said.out)["error"]["what"] == "stopped"


def test_a_full_disk_outside_our_folders_is_an_error_too(
    lissom: Lissom, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/lissom-x"))
    said = lissom("compress", "m.onnx")
    assert said.code == 2
    assert "No space left on device" in said.err
    assert "where: /tmp/lissom-x" in said.err


def test_a_mistake_of_ours_is_not_hidden(lissom: Lissom, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        lissom("compress", "m.onnx")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "techniques", "--json"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("says", ["", "Unable to allocate 91.6 GiB for an array"])
def test_full_memory_names_the_settings_to_lower(
    lissom: Lissom, mlp_onnx: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MemoryError(says)

    monkeypatch.setattr("lissom.search.side_by_side.side_by_side", full)
    said = lissom("measure", mlp_onnx)
    assert said.code == 2
    assert f"error: there is not enough memory{': ' if says else ''}{says}" in said.err
    assert "--task ...,batch=8; --batch of a timed run" in said.err
    assert "Traceback" not in said.err
