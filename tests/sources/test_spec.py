from __future__ import annotations

import shutil

import numpy as np
import pytest

from lissom.errors import RequestError, TaskError
from lissom.model import Model
from lissom.sources import open_task

MODEL = Model("huggingface", "somewhere")

TASK_FILE = """
import numpy as np
import lissom.task

X = np.ones((8, 3), np.float32)
mine = lissom.task.Task(validation=(X, np.arange(8) % 2), name="mine")

def plain():
    return mine

def named(model, size=3):
    return lissom.task.Task(calibration=X, name=model.spec)

def needy(rows):
    return mine

def broken():
    return missing_name

def refused():
    return lissom.task.Task(
        validation=X, metric="accuracy")

number = 3
"""


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mytask.py").write_text(TASK_FILE)
    np.savez(tmp_path / "data.npz", x=np.ones((8, 3), np.float32), labels=np.arange(8) % 2)
    return tmp_path


def test_a_task_a_function_and_a_function_of_the_model(in_folder):
    assert open_task("mytask.py:mine", model=MODEL).description == "mine"
    assert open_task(f"{in_folder}/mytask.py:plain", model=MODEL).description == "mine"
    assert open_task("mytask.py:named", model=MODEL).description == "somewhere"


def test_the_metric_of_the_command_line_goes_first(in_folder):
    assert open_task("mytask.py:mine", model=MODEL, metric="f1").metric.name == "f1"
    assert open_task("arrays:data.npz", model=MODEL, metric="f1").metric.name == "f1"
    with pytest.raises(RequestError, match="did you mean 'accuracy'"):
        open_task("arrays:data.npz", model=MODEL, metric="acuracy")


def test_a_file_that_raises_shows_the_users_line(in_folder):
    with pytest.raises(TaskError, match="NameError: name 'missing_name'") as error:
        open_task("mytask.py:broken", model=MODEL)
    assert error.value.where.endswith("mytask.py:18 in broken: return missing_name")
    assert len(error.value.where.splitlines()) == 1  # nothing of ours, or of Python's
    (in_folder / "bad.py").write_text("x = 1\ny = (\n")
    with pytest.raises(TaskError, match="SyntaxError") as error:
        open_task("bad.py:x", model=MODEL)
    assert "bad.py:2" in error.value.where


def test_a_task_that_is_refused_shows_where_it_is_made(in_folder):
    with pytest.raises(TaskError, match="needs labels"):
        open_task("mytask.py:refused", model=MODEL)
    (in_folder / "empty.py").write_text("import lissom.task\n\nt = lissom.task.Task()\n")
    with pytest.raises(TaskError, match="without data") as error:
        open_task("empty.py:t", model=MODEL)
    assert "empty.py:3" in error.value.where
    (in_folder / "uneven.py").write_text(
        "import numpy as np\nimport lissom.task\n\n\ndef task():\n"
        "    return lissom.task.Task(validation=(np.ones((8, 3)), [1, 2]))\n"
    )
    with pytest.raises(TaskError, match="8 rows and there are 2 targets") as error:
        open_task("uneven.py:task", model=MODEL)
    assert error.value.where.splitlines()[0] == "validation"
    assert "uneven.py:6 in task: return lissom.task.Task(" in error.value.where


@pytest.mark.parametrize(
    ("spec", "says", "fix"),
    [
        ("mytask.py:mnie", "no object named 'mnie'", "mine"),
        ("mytask.py:number", "'int', not a task", "lissom.Task"),
        ("mytask.py:needy", "needs the arguments rows", "`model`"),
        ("none.py:task", "no such Python file", "path"),
        ("mytask.py", "is no task", "mytask.py:NAME"),
        ("data.npz", "is no task", "did you mean arrays:data.npz?"),
        ("texts:corpus.txt", "is no task", "did you mean text:corpus.txt?"),
        ("array:data", "is no task", "did you mean arrays:data?"),
        ("foo:bar/baz", "is no task", "pairs:FILE.tsv"),
        ("arrays:", "names no file", "arrays:FILE.npz"),
        ("image:photos", "is no task", "did you mean images:photos?"),
        ("arrays:data.npz,batch=0", "no whole number", "batch=8"),
        ("arrays:data.npz,batch=4,batch=4", "given twice", "batch=VALUE"),
        ("no_such_module_here:task", "no Python module", "file.py:object"),
    ],
)
def test_what_names_no_task_says_what_would(in_folder, spec, says, fix):
    with pytest.raises(TaskError, match=says) as error:
        open_task(spec, model=MODEL)
    assert fix in error.value.fix


def test_arrays_of_a_model_with_known_inputs(in_folder, mlp_onnx):
    model = Model("onnx", str(mlp_onnx), path=mlp_onnx, folder=mlp_onnx.parent)
    x = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    np.savez("mlp.npz", input=x, labels=np.arange(60) % 5)
    task = open_task("arrays:mlp.npz", model=model)
    assert task.description == "arrays:mlp.npz"
    assert sum(len(targets) for _, targets in task.samples()) == 45


def test_settings_stand_behind_the_file(in_folder):
    task = open_task("arrays:data.npz,batch=3", model=MODEL)
    assert [len(targets) for _, targets in task.samples()] == [3, 3]
    np.savez(in_folder / "a,batch=2.npz", x=np.ones((8, 3), np.float32))
    task = open_task("arrays:a,batch=2.npz", model=MODEL)
    assert [len(batch["x"]) for batch, _ in task.samples()] == [6]
    assert task.description == "arrays:a,batch=2.npz"
    with pytest.raises(RequestError, match="unknown setting 'bach'") as error:
        open_task("arrays:data.npz,bach=3", model=MODEL)
    assert "did you mean 'batch'" in error.value.fix


@pytest.mark.parametrize("place", ["data.npz,batch=3", "below/data.npz,batch=3"])
def test_what_is_recorded_of_a_task_opens_it_again(in_folder, place):
    (in_folder / "below").mkdir()
    shutil.copy("data.npz", "below")
    task = open_task(f"arrays:{place}", model=MODEL)
    assert open_task(task.description, model=MODEL).digest() == task.digest()
    elsewhere = open_task(f"arrays:{in_folder}/{place}", model=MODEL)
    assert elsewhere.description == "arrays:data.npz,batch=3"  # no path of this machine


def test_pairs_of_an_encoder(in_folder, encoder):
    rows = [f"{i}\ta b\tc" for i in range(8)]
    (in_folder / "p.tsv").write_text("\n".join(["score\tsentence1\tsentence2", *rows]))
    task = open_task("pairs:p.tsv", model=encoder)
    assert task.metric.name == "spearman"
    assert set(next(iter(task.calibration))) == {"input_ids", "attention_mask", "token_type_ids"}
