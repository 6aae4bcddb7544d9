"""`lissom compress` from outside: killed, interrupted, doubled, refused, and simply used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

from lissom.artifact import read_manifest
from lissom.recipe.schema import Recipe
from lissom.report.results import Results
from tests import models
from tests.cli.conftest import BRIEF, Bench, Lissom, half_written, sha256, start

# Runs the command line in a process that kills itself while it saves: half way through copying
# the model, or with the model in place and the report not.
DIES_SAVING = """
import os, shutil, signal, sys
from pathlib import Path
from lissom import artifact
from lissom.search import result

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def half(source, target):
    Path(target).write_bytes(Path(source).read_bytes()[:1000])
    die()

def report(path, text, real=artifact.write_text):
    die() if path.name == "report.html" else real(path, text)

if sys.argv.pop(1) == "copy":
    shutil.copyfile = half
else:
    result.write_text = report
from lissom.cli.app import main
main()
"""


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until it holds; the process must not end before."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_again_and_again_it_ends_in_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps, records = out / ".lissom" / "steps", out / ".lissom" / "records"
    moments: list[Callable[[], object]] = [
        lambda: steps.is_dir() and any(steps.iterdir()),
        lambda: any(records.glob("*.json")),
        lambda: len(list(records.glob("*.json"))) > 2,
    ]
    for moment in moments:
        process = start(*bench.run, "-o", out)
        until(moment, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "model.onnx").exists()
        assert not (out / "manifest.json").exists()
    for moment_of_saving in ("copy", "report"):
        done = subprocess.run(
            [sys.executable, "-c", DIES_SAVING, moment_of_saving, *bench.run, "-o", str(out)],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (out / "manifest.json").exists()
    finished = set(os.listdir(steps))
    process = start(*bench.run, "-o", out)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert sha256(out / "model.onnx") == sha256(bench.undisturbed / "model.onnx")
    assert (
        set(os.listdir(steps)) == finished == set(os.listdir(bench.undisturbed / ".lissom/steps"))
    )
    assert read_manifest(out).files == read_manifest(bench.undisturbed).files
    assert set(os.listdir(out)) == set(os.listdir(bench.undisturbed))
    assert half_written(out) == []


def test_two_runs_at_once_in_one_folder(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = [start(*bench.run, "-o", out) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    waited = [err for _, err in said if err]
    assert waited == [f"another run holds {out}; waiting for it\n"]
    assert sha256(out / "model.onnx") == sha256(bench.undisturbed / "model.onnx")
    for name, digest in read_manifest(out).files.items():
        assert sha256(out / name) == digest
    assert half_written(out) == []


def test_ctrl_c_keeps_the_finished_steps_and_says_so_in_one_line(
    bench: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    steps = out / ".lissom" / "steps"
    process = start(*bench.run, "-o", out)
    until(lambda: steps.is_dir() and any(steps.iterdir()), process)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert err.endswith(
        "stopped; finished steps are kept, and the same command goes on from them\n"
    )
    assert any((out / ".lissom" / "steps").iterdir())
    assert half_written(out) == []
    assert not (out / "manifest.json").exists()


@pytest.fixture
def out(bench: Bench, tmp_path: Path) -> Path:
    """A copy of the undisturbed run's folder, with every step finished."""
    return Path(shutil.copytree(bench.undisturbed, tmp_path / "out"))


def again(bench: Bench, lissom: Lissom, out: Path, *options: str) -> tuple[int, Results]:
    said = lissom(*bench.run, "-o", out, "--json", *options)
    assert said.err == ""
    return said.code, Results.model_validate(json.loads(said.out))


def test_json_is_all_there_is_on_stdout(bench: Bench, lissom: Lissom, out: Path) -> None:
    code, results = again(bench, lissom, out)
    assert code == 0
    assert results.chosen is not None
    saved = json.loads((out / "results.json").read_text())
    assert saved == json.loads(results.model_dump_json())


def test_the_table_ends_with_the_sentence_and_where_things_lie(
    bench: Bench, lissom: Lissom, out: Path
) -> None:
    said = lissom(*bench.run, "-o", out)
    assert said.code == 0
    flowing = " ".join(said.out.split())
    assert "depthwise became 1." in flowing
    assert flowing.endswith(f"saved: {out / 'model.onnx'} report: {out / 'report.html'}")


def test_when_nothing_fits(bench: Bench, lissom: Lissom, out: Path) -> None:
    """Exit 1; the table, the nearest, which limit by how much, what is needed; nothing stale."""
    said = lissom(*bench.run, "-o", out, "--max-size", "5kB")
    assert said.code == 1
    assert said.err == ""
    flowing = " ".join(said.out.split())
    for words in (
        "int8 static,",
        "over budget: size 8.",
        "exceeds 5kB by 3.",
        "Nothing fits the budget. Nearest is int8 static",
        "instead of 5kB.",
        "No candidate is inside the budget; depthwise stays as it is.",
        f"report: {out / 'report.html'}",
    ):
        assert words in flowing
    assert "saved:" not in flowing
    assert set(os.listdir(out)) == {".lissom", "report.html", "results.json"}


@pytest.mark.parametrize(
    ("option", "limit", "fits"),
    [
        ("--max-size", "1MB", True),
        ("--max-size", "1kB", False),
        ("--max-latency", "10s", True),
        ("--max-latency", "0.01us", False),
        ("--min-throughput", "1/s", True),
        ("--min-throughput", "1e9/s", False),
        ("--max-memory", "10GB", True),
        ("--max-memory", "1B", False),
        ("--max-drop", "50%", True),
    ],
)
def test_every_limit_decides_the_exit_code(
    bench: Bench, lissom: Lissom, out: Path, option: str, limit: str, fits: bool
) -> None:
    code, results = again(bench, lissom, out, option, limit)
    assert (code, results.chosen is not None) == ((0, True) if fits else (1, False))
    assert results.budget[option.split("-")[-1]] == limit


def run_snippet(folder: Path) -> str:
    snippet = json.loads((folder / "results.json").read_text())["snippet"]
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_depthwise_classifier_without_code(bench: Bench) -> None:
    folder = bench.undisturbed
    assert run_snippet(folder) == "[(1, 10)]"
    recipe = Recipe.model_validate(yaml.safe_load((folder / "recipe.yaml").read_text()))
    assert [step.technique for step in recipe.steps] == ["graph.optimize", "quantize.static"]
    for name, digest in read_manifest(folder).files.items():
        assert sha256(folder / name) == digest
    with np.load(bench.folder / "depthwise.npz") as data:
        images, labels = data["image"], data["labels"]
    found = ort.InferenceSession(folder / "model.onnx").run(None, {"image": images})[0]
    assert np.mean(found.argmax(axis=1) == labels) > 0.9


def test_a_classifier_with_two_inputs_without_code(
    bench: Bench, lissom: Lissom, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model, data = bench.folder / "two_input.onnx", bench.folder / "two_input.npz"
    said = lissom(
        "compress", model, "--task", f"arrays:{data}", "-o", out, "--shape", "ids=1x9",
        "--objective", "size", *BRIEF,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert (out / "model.onnx").stat().st_size < 0.7 * model.stat().st_size
    assert run_snippet(out) == "[(1, 3)]"
    results = Results.model_validate_json((out / "results.json").read_bytes())
    assert "np.zeros((1, 9), 'int64')" in results.snippet
    assert len(results.rows) >= 8
    assert all(row.measurement.quality is not None for row in results.rows)
    assert results.chosen is not None
    assert results.chosen.misses == ()


# Bad input: what, where, fix on one screen, exit 2, and nothing built.


def refused(lissom: Lissom, *arguments: str | Path, out: Path) -> str:
    said = lissom("compress", *BRIEF, *arguments, "-o", out)
    assert said.code == 2, said.out
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) <= 12
    assert said.err.startswith("error: ")
    assert "\n  fix:   " in said.err
    steps = out / ".lissom" / "steps" if out.is_dir() else out
    assert not steps.is_dir() or not any(steps.iterdir())
    return said.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.onnx", None, "there is no such model"),
        ("empty.onnx", b"", "the model file is empty"),
        ("text.onnx", b"404 not found\n" * 20, "not an ONNX model"),
        ("page.onnx", b"<!DOCTYPE html><html>404</html>", "a web page, not a model"),
        ("net.pth", b"\x80\x02}q\x00.", "looks like a pickle"),
        ("net.pt", b"PK\x03\x04" + bytes(40), "return model.eval(), torch.randn"),
        ("net.pkl", b"\x80\x04\x95", "lissom never loads one"),
        ("model.onnx", b"\x80\x04\x95aaaa", "pickle"),
    ],
)
def test_files_that_are_no_model(
    lissom: Lissom, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = refused(lissom, tmp_path / name, out=tmp_path / "out")
    assert words in said
    assert name in said


def test_a_pickle_is_never_loaded(lissom: Lissom, tmp_path: Path) -> None:
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR."
    for name in ("net.pth", "net.bin", "net.onnx"):
        (tmp_path / name).write_bytes(trap)
        refused(lissom, tmp_path / name, out=tmp_path / "out")
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_file(bench: Bench, lissom: Lissom, tmp_path: Path) -> None:
    whole = (bench.folder / "mlp.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    assert "cut.onnx" in refused(lissom, tmp_path / "cut.onnx", out=tmp_path / "out")


def test_missing_external_data(lissom: Lissom, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        models.mlp(), path, save_as_external_data=True, location="m.weights", size_threshold=0
    )
    (tmp_path / "m.weights").unlink()
    said = refused(lissom, path, out=tmp_path / "out")
    assert "the external data file 'm.weights' is missing" in said


def test_nan_in_the_weights(lissom: Lissom, tmp_path: Path) -> None:
    model = models.mlp()
    tensor = next(t for t in model.graph.initializer if t.name == "fc1.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[3, 4] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    said = refused(lissom, models.saved(model, tmp_path / "nan.onnx"), out=tmp_path / "out")
    assert "the weights hold NaN: tensor 'fc1.weight'" in said


def test_an_operator_the_runtime_lacks(lissom: Lissom, tmp_path: Path) -> None:
    model = models.mlp()
    model.graph.node[2].op_type, model.graph.node[2].domain = "Mystery", "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    said = refused(lissom, models.saved(model, tmp_path / "m.onnx"), out=tmp_path / "out")
    assert "Mystery" in said
    assert "standard operators" in said


def test_nothing_to_compress(lissom: Lissom, tmp_path: Path) -> None:
    value = models.value
    nodes = [models.node("Relu", ["x"], "y")]
    model = models.build(
        "relu", nodes, [value("x", 1, "n", 4)], value("y", 1, "n", 4), models.Weights(0), 17
    )
    path = models.saved(model, tmp_path / "relu.onnx")
    said = lissom("compress", path, "-o", tmp_path / "out", *BRIEF)
    assert said.code == 2
    assert "nothing to compress: the model holds no weights" in said.err


GOOD = {"input": np.zeros((8, 16), np.float32)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"inputs": GOOD["input"]}, "did you mean 'input'?"),
        ({"input": np.zeros((8, 16), np.float64)}, "input.astype(np.float32)"),
        ({"input": np.zeros((8, 17), np.float32)}, "has shape (6, 17)"),
        ({"input": np.zeros((8, 16, 1), np.float32)}, "input.squeeze(2)"),
        ({"input": np.full((8, 16), np.nan, np.float32)}, "contains NaN"),
        ({"input": np.zeros((0, 16), np.float32)}, "no "),
        ({**GOOD, "more": GOOD["input"]}, "'more' is not an input of the model"),
    ],
)
def test_data_that_do_not_fit(
    bench: Bench, lissom: Lissom, tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    task = f"arrays:{tmp_path / 'data.npz'}"
    said = refused(lissom, bench.folder / "mlp.onnx", "--task", task, out=tmp_path / "out")
    assert words in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "arrays:none.npz"], "No such file"),
        (["--task", "array:DATA"], "did you mean arrays:"),
        (["--task", "arrays:DATA", "--metric", "acuracy"], "did you mean 'accuracy'?"),
        (["--metric", "accuracy"], "is given without --task"),
        (["--metric", "acuracy"], "did you mean 'accuracy'?"),
        (["--tokenizer", "tokenizer.json"], "is given without --task"),
        (["--technique", "quantize.statik"], "did you mean 'quantize.static'?"),
        (["--target", "onnxruntim"], "did you mean 'onnxruntime'?"),
        (["--objective", "latencies"], "did you mean 'latency'?"),
        (["--max-drop", "1pt"], "there is no task that measures quality"),
        (["--max-drop=-1pt"], "cannot read the drop '-1pt'"),
        (["--max-size", "25"], 'write it like "25MB"'),
        (["--max-size", "0MB"], "which nothing can keep to"),
        (["--max-size", "20ms"], "cannot read the size"),
        (["--max-latency", "5MB"], "cannot read the latency"),
        (["--max-latency", "fast"], "cannot read the latency"),
        (["--min-throughput", "0"], "which nothing can keep to"),
        (["--threads", "4096"], "cores"),
        (["--seconds", "inf"], "is no time"),
        (["--shape", "input=1x17"], "axis 1 of 'input' cannot be 17"),
        (["--shape", "inputs=1x16"], "did you mean 'input'?"),
        (["--shape", "input=axb"], "cannot read the shape"),
        (["--shape", "input=1x16", "--shape", "input=2x16"], "two shapes"),
    ],
)
def test_requests_that_are_wrong(
    bench: Bench, lissom: Lissom, tmp_path: Path, options: list[str], words: str
) -> None:
    data = str(bench.folder / "mlp.npz")
    options = [option.replace("DATA", data) for option in options]
    said = refused(lissom, bench.folder / "mlp.onnx", *options, out=tmp_path / "out")
    assert words in said


def test_a_technique_that_needs_data_without_any(
    bench: Bench, lissom: Lissom, tmp_path: Path
) -> None:
    said = lissom(
        "compress", bench.folder / "mlp.onnx", "-o", tmp_path / "out", "--technique",
        "quantize.static", *BRIEF,
    )  # fmt: skip
    assert said.code == 2
    assert "none of the techniques quantize.static applies" in said.err
    assert "int8 static: needs calibration data, and no task brings any" in said.err


def test_a_batch_the_model_fixes(lissom: Lissom, tmp_path: Path) -> None:
    model = models.mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    path = models.saved(model, tmp_path / "fixed.onnx")
    said = refused(lissom, path, "--batch", "8", out=tmp_path / "out")
    assert "fixed at 2 along its first axis" in said
    assert "--batch 2" in said


def test_output_folders_that_cannot_be(bench: Bench, lissom: Lissom, tmp_path: Path) -> None:
    model = bench.folder / "mlp.onnx"
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    for out, words in (
        (tmp_path / "file", "is a file, not a folder"),
        (tmp_path / "file" / "deep", "a file is in the way"),
        (tmp_path / "full", "not empty and was not made by lissom"),
        (Path("/proc/lissom"), "cannot write"),
    ):
        said = refused(lissom, model, out=out)
        assert words in said
        assert str(out) in said
    assert (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]


def test_the_result_never_replaces_the_model(lissom: Lissom, bench: Bench, out: Path) -> None:
    before = sha256(out / "model.onnx")
    said = lissom("compress", out / "model.onnx", "-o", out, *BRIEF)
    assert said.code == 2
    assert "lies in the output folder" in said.err
    assert sha256(out / "model.onnx") == before
