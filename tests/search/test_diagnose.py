"""`lissom.diagnose`: what is looked at, what is refused before the long work, and one real run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lissom.errors import FolderError, ModelError, RequestError, TaskError
from lissom.model import Model
from lissom.onnx_file import TensorSpec, inputs_of, read_onnx, write_onnx
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.report.diagnosis import Diagnosis
from lissom.search import diagnose as module
from lissom.search.diagnose import diagnose
from lissom.search.looked_at import made_up, of_task
from lissom.task import Task
from lissom.technique import Context
from tests import models

X = TensorSpec("x", "float32", ("n", 3))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network, and the same with 8-bit weights."""
    folder = tmp_path_factory.mktemp("diagnose")
    original = models.saved(models.mlp(), folder / "mlp.onnx")
    compressed = folder / "mlp.int8.onnx"
    write_onnx(dynamic(read_onnx(original), Dynamic(), Context()), compressed)
    return original, compressed


def rows(batches: Iterable[dict[str, Any]]) -> list[np.ndarray[Any, Any]]:
    return [next(iter(batch.values())) for batch in batches]


def numbered(samples: int, **more: Any) -> Task:
    numbers = np.arange(samples)
    inputs = np.repeat(numbers[:, None], 3, axis=1).astype(np.float32)
    return Task(validation=({"x": inputs}, numbers % 3), name="numbers", **more)


def test_a_real_pair_without_a_task(files: tuple[Path, Path]) -> None:
    found = diagnose(*files)
    assert (found.original, found.compressed) == ("mlp.onnx", "mlp.int8.onnx")
    assert found.made_up and found.quality == ""
    assert found.inputs == "32 made-up samples (standard normal numbers)"
    assert found.samples == 32
    assert 1e-6 < found.output_error < 1e-2
    assert found.verdicts
    assert sum(layer.share or 0.0 for layer in found.layers) == pytest.approx(1.0)


def test_a_task_gives_samples_and_quality(files: tuple[Path, Path]) -> None:
    inputs = models.feeds(models.mlp(), 60)
    labels = np.arange(60) % 5
    found = diagnose(*files, Task(validation=(inputs, labels)), samples=20, seed=3)
    assert found.inputs == "20 of 60 validation samples, drawn at random (seed 3)"
    assert found.samples == 20 and not found.made_up
    assert found.quality.startswith("accuracy 0.")
    assert found.quality.endswith(", 20 samples")


def test_layers_are_timed_unless_that_is_left_out(files: tuple[Path, Path]) -> None:
    timed = diagnose(*files, samples=8).times
    assert timed is not None
    known = [layer.name for layer in diagnose(*files, samples=8, times=False).layers]
    assert all((found := timed.of(name)) and found.runs == "integer" for name in known)
    assert timed.original > 0 and timed.compressed > 0
    assert diagnose(*files, samples=8, times=False).times is None


def test_calibration_data_go_with_the_task(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = models.feeds(models.mlp(), 60)
    calm = [{name: 0.1 * array for name, array in inputs.items()}]
    found = diagnose(*files, Task(calibration=calm, validation=(inputs, np.arange(60) % 5)))
    first = found.shifts[0]
    assert (first.tensor, first.layer) == ("input", None)
    assert first.calibration[1] == pytest.approx(first.validation[1] / 10, rel=0.01)
    assert first.beyond > 0.3


@pytest.mark.parametrize(("cpu", "counts"), [("avx2", True), ("vnni", False)])
def test_saturation_counts_on_the_processor_asked_for(
    files: tuple[Path, Path], cpu: str, counts: bool
) -> None:
    assert diagnose(*files, samples=8, cpu=cpu).pair_sums is counts


def test_samples_are_drawn_and_not_the_first_ones() -> None:
    looked = of_task(numbered(500), [X], 40)
    drawn = np.concatenate(rows(looked.batches))[:, 0]
    assert len(drawn) == len(set(drawn)) == 40
    assert drawn.max() > 300, "not the first ones"
    again = np.concatenate(rows(looked.batches))[:, 0]
    assert np.array_equal(drawn, again)
    other = np.concatenate(rows(of_task(numbered(500), [X], 40, seed=1).batches))[:, 0]
    assert not np.array_equal(drawn, other)
    assert of_task(numbered(30), [X], 40).words == "all 30 validation samples"


def test_whole_batches_are_drawn_where_the_batch_is_fixed() -> None:
    fixed = [TensorSpec("x", "float32", (4, 3))]
    looked = of_task(numbered(200, batch_size=4), fixed, 42)
    found = rows(looked.batches)
    assert [len(batch) for batch in found] == [4] * 10
    assert max(batch.max() for batch in found) > 100
    assert looked.words == "40 of 200 validation samples, drawn at random (seed 0)"


def test_calibration_data_serve_where_there_are_no_others() -> None:
    batches = [{"x": np.full((8, 3), at, np.float32)} for at in range(10)]
    looked = of_task(Task(calibration=batches), [X], 16)
    assert looked.words.startswith("16 of 80 calibration samples")
    assert looked.judged is None


def test_made_up_inputs_differ_from_seed_to_seed() -> None:
    looked = made_up([TensorSpec("x", "float32", ("n", 3))], 256)
    found = rows(looked.batches)
    assert [len(batch) for batch in found] == [8] * 4
    assert not np.array_equal(found[0], found[1])
    assert abs(np.concatenate(found).mean()) < 0.3
    fixed = made_up([TensorSpec("x", "float32", (4, 3))], 12)
    assert [len(batch) for batch in rows(fixed.batches)] == [4] * 3
    ids = made_up([TensorSpec("ids", "int64", ("n", "length"))], 256, shapes={"ids": (1, 5)})
    assert [batch.shape for batch in rows(ids.batches)] == [(1, 5)]
    assert ids.words == "1 made-up sample (every integer 0, every mask 1)"


@pytest.mark.parametrize("count", [1, 7])
def test_too_few_samples_are_refused_with_how_many_would_do(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(module, "layer_errors", lambda *_, **__: pytest.fail("it began"))
    task = Task(validation=models.feeds(models.mlp(), count))
    with pytest.raises(TaskError, match=f"{count} validation sample") as error:
        diagnose(*files, task)
    assert "give 8 at least" in str(error.value)
    with pytest.raises(RequestError, match="7 samples are too few"):
        diagnose(*files, samples=7)


def test_one_file_twice_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    original, _ = files
    with pytest.raises(RequestError, match="are the same file"):
        diagnose(original, original.parent / "." / original.name)
    copy = Path(shutil.copy(original, tmp_path / "copy.onnx"))
    with pytest.raises(RequestError, match="is a copy of"):
        diagnose(original, copy)


def test_other_inputs_are_refused_before_data_are_read(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    other = models.saved(models.two_input(), tmp_path / "other.onnx")

    def never() -> Any:
        pytest.fail("data were read")

    with pytest.raises(RequestError, match="take different inputs"):
        diagnose(files[0], other, Task.__new__(Task), track=never)


def test_what_is_no_onnx_file_is_refused(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        diagnose(files[0], bad)
    with pytest.raises(ModelError, match="no such model"):
        diagnose(tmp_path / "nowhere.onnx", files[1])
    network = Model("factory", "net.py:build")
    monkeypatch.setattr(module, "open_model", lambda spec: network)
    with pytest.raises(ModelError, match=r"is not an \.onnx file, and only a file that runs"):
        diagnose(Model("onnx", "m", path=files[0]), "net.py:build")


def test_an_original_that_is_no_file_is_exported_first(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(model: Model, folder: Path, track: Any) -> SimpleNamespace:
        return SimpleNamespace(path=shutil.copy(files[0], folder / "model.onnx"), notes=())

    monkeypatch.setattr("lissom.nn.export.export", export)
    monkeypatch.setattr(Model, "digest", lambda self: self.spec)
    found = diagnose(Model("huggingface", "encoder", folder=Path("encoder")), files[1])
    assert (found.original, found.compressed) == ("encoder", "mlp.int8.onnx")
    assert found.layers


class Labels:
    """A track that says which loops ran."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, items: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
        self.seen.add(label)
        return iter(items)


def test_a_finished_diagnosis_is_answered_at_once(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = models.feeds(models.mlp(), 60)
    task = Task(calibration=[inputs], validation=(inputs, np.arange(60) % 5))
    folder = tmp_path / "out"
    run = partial(diagnose, *files, task, samples=40, times=False)
    first = run(folder=folder)
    assert {each.name for each in folder.iterdir()} == {".lissom"}
    other, again, anew = Labels(), Labels(), Labels()
    assert run(folder=folder, seed=1, track=other) != first
    assert run(folder=folder, track=again) == first
    assert {"layers", "shares", "repairs"} <= other.seen
    assert all(label.startswith(("read ", "draw ")) for label in again.seen), "data alone"
    assert run(folder=folder, fresh=True, track=anew) == first
    assert anew.seen == other.seen
    monkeypatch.setattr("lissom.diagnosis.kept.kernels_saturate", lambda: "on another machine")
    elsewhere = Labels()
    run(folder=folder, track=elsewhere)
    assert "shares" in elsewhere.seen


def test_a_folder_of_others_is_left_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderError, match="not made by lissom"):
        diagnose(*files, folder=tmp_path)


def test_files_of_one_name_are_told_apart(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "float").mkdir()
    (tmp_path / "int8").mkdir()
    one = Path(shutil.copy(files[0], tmp_path / "float" / "model.onnx"))
    other = Path(shutil.copy(files[1], tmp_path / "int8" / "model.onnx"))
    empty = Diagnosis(original="", compressed="", inputs="", samples=0, output_error=0.0, layers=())
    monkeypatch.setattr(module, "layer_errors", lambda *_, **__: empty)
    found = diagnose(one, other)
    assert (found.original, found.compressed) == ("float/model.onnx", "int8/model.onnx")


def test_inputs_of_a_model_with_a_fixed_batch(tmp_path: Path) -> None:
    model = models.mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    path = tmp_path / "fixed.onnx"
    onnx.save(model, path)
    looked = made_up(inputs_of(path), 32)
    assert [len(batch) for batch in rows(looked.batches)] == [2] * 16
    assert ir.load(path).graph.inputs[0].shape is not None
