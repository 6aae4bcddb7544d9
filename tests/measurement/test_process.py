"""A worker that dies is reported with the file and its last words."""

import json
import subprocess
import sys

import numpy as np
import pytest

from lissom.errors import RunError
from lissom.measurement import process
from tests.measurement.stacks import stack


def dying(tmp_path, monkeypatch, code):
    """Let the interpreter that `ask` starts run `code` instead of the worker."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_worker_names_file_and_signal(tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, "echo allocating weights >&2; kill -9 $$")
    with pytest.raises(RunError, match="was killed by SIGKILL") as error:
        process.ask("time", [tmp_path / "m.onnx"], tmp_path / "f.npz")
    assert "m.onnx" in str(error.value)
    assert "allocating weights" in str(error.value)
    assert "out of memory" in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="shell")
def test_only_the_last_lines_of_stderr_are_shown(tmp_path, monkeypatch):
    dying(tmp_path, monkeypatch, "for i in $(seq 100 150); do echo line $i >&2; done; exit 3")
    with pytest.raises(RunError, match="exit code 3") as error:
        process.ask("time", [tmp_path / "m.onnx"], tmp_path / "f.npz")
    assert "line 150" in str(error.value)
    assert "line 120" not in str(error.value)


def test_names_of_inputs_survive_the_way(tmp_path):
    feeds = {"file": np.arange(3.0), "a/b:0": np.array(["x"]), "": np.array(True)}
    with process.stored(feeds) as path:
        from lissom.measurement.worker import read_feeds

        found = read_feeds(str(path))
    assert list(found) == list(feeds)
    for name, array in feeds.items():
        np.testing.assert_array_equal(found[name], array)
    assert not path.exists()


def test_modules_where_the_user_stands_are_not_imported(tmp_path, monkeypatch):
    if sys.version_info < (3, 11):
        pytest.skip("PYTHONSAFEPATH came with Python 3.11")
    (tmp_path / "numpy.py").write_text("raise SystemExit('hijacked')")
    model = stack(tmp_path / "a.onnx", 1)
    monkeypatch.chdir(tmp_path)
    with process.stored({"x": np.ones((1, 128), np.float32)}) as path:
        answer = process.ask("memory", [model], path, threads=1, runtime="onnxruntime")
    assert set(answer) == {"bytes"}


def test_what_a_runtime_prints_is_no_part_of_the_answer(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    model = stack(tmp_path / "a.onnx", 1)
    # The library below OpenVINO then tells on stdout what it runs.
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    monkeypatch.setenv("DNNL_VERBOSE", "1")
    with process.stored({"x": np.ones((1, 128), np.float32)}) as path:
        answer = process.ask("memory", [model], path, threads=1, runtime="openvino")
    assert set(answer) == {"bytes"}


def test_a_worker_whose_asker_is_gone_ends(tmp_path):
    model = stack(tmp_path / "a.onnx", 1)
    with process.stored({"x": np.ones((1, 128), np.float32)}) as path:
        job = {"job": "time", "files": [str(model)], "feeds": str(path)}
        job |= {"threads": 1, "seconds": 600.0, "least_turns": 1, "runtime": "onnxruntime"}
        with subprocess.Popen(
            [sys.executable, "-m", "lissom.measurement.worker"], stdin=subprocess.PIPE, text=True
        ) as worker:
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(timeout=1.0)
            worker.stdin.close()
            try:
                assert worker.wait(timeout=10.0) == 1
            finally:
                worker.kill()
