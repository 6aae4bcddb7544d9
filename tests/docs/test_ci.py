"""The workflow of docs/ci.md: each of its commands is run, in order, on a tiny model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import yaml

import lissom
from tests import models

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
# Shorter than a job would time, and one technique; the commands are as they stand on the page.
SHORT = {
    "compress": "--technique quantize.float16 --objective size --seconds 0.1 --processes 1",
    "check": "--seconds 0.1 --processes 1",
}


def commands() -> list[str]:
    """The `run:` lines of the workflow, job by job, without the installation."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    jobs = yaml.safe_load(block)["jobs"].values()
    lines = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    installed = [line for line in lines if line == "pip install -r requirements.txt"]
    assert len(installed) == len(jobs)
    return [line for line in lines if line not in installed]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the page says is in the repository, and a `lissom` that times for less long."""
    model = models.mlp(hidden=512)
    path = models.saved(model, tmp_path / "model.onnx")
    feeds = models.feeds(model, 160)
    labels = ort.InferenceSession(path).run(None, feeds)[0].argmax(axis=1)
    np.savez(tmp_path / "data.npz", labels=labels, **feeds)
    program = tmp_path / "bin" / "lissom"
    program.parent.mkdir()
    cases = "".join(f'{name}) exec {sys.executable} -m lissom "$@" {options};;\n'
                    for name, options in SHORT.items())  # fmt: skip
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\nexit 99\n')
    program.chmod(0o755)
    return tmp_path


def test_the_workflow_runs(repository: Path) -> None:
    environment = os.environ | {
        "PATH": f"{repository / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(lissom.__file__).parents[1]),
    }
    told = []
    for command in commands():
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=repository, env=environment, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        told.append(" ".join(done.stdout.split()))
    compressed, measured, produced = told
    assert "saved: out/model.onnx" in compressed
    # The recorded data and the original are found where they were.
    assert re.search(r"size: promised 25MB, found [\d.]+ kB: holds", measured)
    assert re.search(r"drop: promised 1pt, found .* on 120 samples: holds", measured)
    assert re.search(r"latency: promised 20ms, found .*: holds", produced)
    suite = ElementTree.parse(repository / "lissom.xml").getroot()[0]
    assert [case.get("name") for case in suite] == ["artifact", "size", "latency", "drop"]
    assert suite.get("failures") == suite.get("skipped") == "0"


def test_every_option_on_the_page_is_one_of_check() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "lissom", "check", "--help"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(lissom.__file__).parents[1])},
    ).stdout  # fmt: skip
    table = PAGE.partition("| --- | --- |")[2].partition("\n\n")[0]
    options = set(re.findall(r"--[a-z-]{3,}", table))
    assert len(options) >= 6
    assert all(option in help_text for option in options), options
