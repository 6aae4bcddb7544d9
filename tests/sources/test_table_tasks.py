"""Tables of every kind become tasks, and what a table can have wrong is told with its column."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from lissom.errors import LissomError, MissingExtra, RequestError, TaskError
from lissom.model import Model, TensorSpec, inputs_of
from lissom.sources import arrow_files, open_task
from lissom.sources.columns import array_of
from lissom.sources.table_tasks import table_task

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = 40
X = np.arange(ROWS * 3, dtype=np.float64).reshape(ROWS, 3)
Y = np.arange(ROWS) % 4
SPEC = TensorSpec("x", "float32", ("batch", 3))
MODEL = Model("onnx", "m.onnx")
LISTS = {"x": X.tolist(), "label": Y}


@pytest.fixture
def written(tmp_path):
    def write(columns, name="data.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=7)
        return tmp_path / name

    return write


def made(path, specs=(SPEC,), model=MODEL, metric=None, **settings):
    return table_task(path, model, specs, metric, 8, "table:data", settings)


def rows_of(task, name="x"):
    """Inputs and targets of all validation samples."""
    parts = list(task.samples())
    inputs = np.concatenate([batch[name] for batch, _ in parts])
    return inputs, None if task.fidelity else np.concatenate([targets for _, targets in parts])


def test_a_column_of_lists_is_the_input_of_its_name(written):
    task = made(written(LISTS))
    inputs, labels = rows_of(task)
    assert task.metric.name == "accuracy" and task.check([SPEC]) == ()
    assert inputs.dtype == np.float32 and len(inputs) == 30
    np.testing.assert_array_equal(labels, Y[(inputs[:, 0] // 3).astype(int)])
    np.testing.assert_array_equal(inputs, X[(inputs[:, 0] // 3).astype(int)])


def test_columns_of_one_number_make_the_vector_a_model_takes(written):
    columns = {"a": X[:, 0], "b": X[:, 1].astype(np.int32), "target": Y / 2, "c": X[:, 2]}
    task = made(written(columns))
    inputs, targets = rows_of(task)
    np.testing.assert_array_equal(inputs, X[(inputs[:, 0] // 3).astype(int)])
    assert task.metric.name == "mse" and targets.dtype.kind == "f"
    assert task.notes == ("The input 'x' is made of the columns a, b, c, in this order.",)


def test_a_label_of_another_name_and_labels_in_words(written):
    words = np.array(["dog", "cat", "emu", "bee"])[Y]
    task = made(written({"x": X.tolist(), "kind": words}), label="kind")
    inputs, labels = rows_of(task)
    place = np.array([2, 1, 3, 0])  # of dog, cat, emu, bee when sorted
    np.testing.assert_array_equal(labels, place[Y][(inputs[:, 0] // 3).astype(int)])
    assert "'kind' are words; they are numbered sorted by name" in task.notes[0]


def test_words_are_numbered_as_the_model_names_them(written, tmp_path):
    names = {"0": "emu", "1": "dog", "2": "cat", "3": "bee"}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    words = np.array(["dog", "cat", "emu", "bee"])[Y]
    model = Model("onnx", "m.onnx", folder=tmp_path)
    inputs, labels = rows_of(made(written({"x": X.tolist(), "label": words}), model=model))
    place = np.array([1, 2, 0, 3])
    np.testing.assert_array_equal(labels, place[Y][(inputs[:, 0] // 3).astype(int)])


def test_a_class_without_a_row_does_not_shift_those_after_it(written, mlp_onnx, tmp_path):
    """The model has five classes; of the third there is no row."""
    words = np.array(["c0", "c1", "c3", "c4"])[Y]
    path = written({"input": np.zeros((ROWS, 16)).tolist(), "label": words})
    model = Model("onnx", "m", path=mlp_onnx, folder=tmp_path)
    spec = inputs_of(mlp_onnx)
    with pytest.raises(TaskError, match="4 different words and the model tells 5 classes") as e:
        made(path, spec, model)
    assert "classes=FILE" in e.value.fix
    listed = tmp_path / "names.txt"
    listed.write_text("c0\nc1\nc2\nc3\nc4\n")
    task = made(path, spec, model, classes=str(listed))
    assert "numbered as names.txt lists them" in task.notes[0]
    _, labels = rows_of(task, spec[0].name)
    assert sorted(set(labels.tolist())) == [0, 1, 3, 4]
    listed.write_text("c0\nc1\nc2\nc4\nc5\n")
    with pytest.raises(TaskError, match="the label 'c3' in the column 'label' is not in the list"):
        made(path, spec, model, classes=str(listed))


def test_yes_and_no_are_classes(written):
    inputs, labels = rows_of(made(written({"x": X.tolist(), "label": Y == 3})))
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, (Y == 3)[(inputs[:, 0] // 3).astype(int)])


def test_without_labels_it_is_fidelity(written):
    assert made(written({"x": X.tolist()})).fidelity


def stream(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=9)


@pytest.fixture
def saved_to_disk(tmp_path):
    """What `datasets` writes: two Arrow streams, and the list of them, not in the names' order."""
    folder = tmp_path / "saved" / "test"
    folder.mkdir(parents=True)
    table = pa.table(LISTS)
    stream(table.slice(0, 25), folder / "data-00001-of-00002.arrow")
    stream(table.slice(25), folder / "data-00000-of-00002.arrow")
    listed = [{"filename": f"data-0000{n}-of-00002.arrow"} for n in (1, 0)]
    (folder / "state.json").write_text(json.dumps({"_data_files": listed}))
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return folder


def test_a_data_set_saved_to_disk(saved_to_disk):
    inputs, labels = rows_of(made(saved_to_disk))
    assert len(inputs) == 30
    np.testing.assert_array_equal(labels, Y[(inputs[:, 0] // 3).astype(int)])
    table = arrow_files.read_table(saved_to_disk)
    np.testing.assert_array_equal(np.array(table.column("x").to_pylist()), X)


def test_splits_are_offered(saved_to_disk):
    with pytest.raises(TaskError, match="holds the splits train, test") as error:
        made(saved_to_disk.parent)
    assert error.value.fix == f"name one of them: table:{saved_to_disk}"


def test_a_list_that_leads_out_of_the_folder_is_refused(saved_to_disk):
    for content in (
        {"_data_files": [{"filename": "../../secret.arrow"}]}, {"_data_files": []}, {}, [1],
    ):  # fmt: skip
        (saved_to_disk / "state.json").write_text(json.dumps(content))
        with pytest.raises(TaskError, match="state.json (lists no files|cannot be read)"):
            made(saved_to_disk)


def test_a_folder_of_shards_and_an_arrow_file(written, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(4):
        part = slice(10 * number, 10 * number + 10)
        written({"x": X[part].tolist(), "label": Y[part]}, f"shards/{number}.parquet")
    assert len(rows_of(made(folder))[0]) == 30
    table = arrow_files.read_table(folder)
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    np.testing.assert_array_equal(rows_of(made(tmp_path / "a.arrow"))[0], rows_of(made(folder))[0])


def test_texts_and_pairs_of_an_encoder(encoder, written):
    texts = ["a b", "c", "d e", "a a a"] * 3
    task = made(written({"id": range(12), "sentence": texts, "label": Y[:12]}), None, encoder)
    assert task.metric.name == "accuracy"
    assert set(next(iter(task.calibration))) == {"input_ids", "attention_mask", "token_type_ids"}
    pairs = {"one": texts, "two": texts[::-1], "score": np.linspace(0, 5, 12)}
    task = made(written(pairs), None, encoder, text="one/two")
    assert task.metric.name == "spearman"
    first, scores = next(iter(task.samples()))
    assert len(first["input_ids"]) == 2 * len(scores)


def test_pictures_of_a_saved_data_set(tmp_path, written):
    image = pytest.importorskip("PIL.Image")

    def encoded(value):
        content = io.BytesIO()
        image.new("RGB", (9, 9), (value,) * 3).save(content, "PNG")
        return content.getvalue()

    cells = [{"bytes": encoded(5 * n), "path": None} for n in range(12)]
    image.new("RGB", (8, 8), (250,) * 3).save(tmp_path / "x.png")
    cells[3] = {"bytes": None, "path": str(tmp_path / "x.png")}
    spec = TensorSpec("pixels", "float32", (None, 3, 8, 8))
    path = written({"image": cells, "label": np.arange(12)})
    task = made(path, (spec,), mean="0", std="1", rescale="1")
    inputs, labels = rows_of(task, "pixels")
    assert {int(p[0, 0, 0]): int(n) for p, n in zip(inputs, labels, strict=True)}.items() <= {
        **{5 * n: n for n in range(12)}, 250: 3,
    }.items()  # fmt: skip
    path = written({"image": [c["bytes"] or b"" for c in cells], "label": np.arange(12)})
    with pytest.raises(TaskError, match="no picture") as error:
        made(path, (spec,)).check([spec])
    assert error.value.where == f"{path}, column 'image', row 3"


def nulls(values):
    return [None if n == 5 else value for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"x": nulls(X.tolist()), "label": Y}, "the column 'x' has 1 empty value"),
        ({"x": X.tolist(), "label": nulls(Y.tolist())}, "the column 'label' has 1 empty value"),
        ({"x": [[1.0, None, 2.0]] * 9}, "the column 'x' has 9 empty values"),
        ({"x": [[1.0] * (1 + (n > 4)) for n in range(9)]}, "differ in length: 1 in the first, 2"),
        ({"x": ["a", "b"] * 9}, "the column 'x' holds string, not numbers"),
        ({"y": X.tolist(), "label": Y}, "the table lacks the column 'x'; it has y"),
        ({"a": X[:, 0], "b": X[:, 1], "label": Y}, "the table lacks the column 'x'"),
        ({"x": X[:3].tolist()}, "3 samples are too few"),
        ({"x": X[:0].tolist()}, "the table has no rows; its columns are x"),
    ],
)
def test_columns_that_do_not_fit(written, columns, says):
    with pytest.raises(TaskError, match=says):
        made(written(columns))


def test_columns_that_are_not_there(written):
    for settings in ({"label": "labl"}, {"text": "words"}, {"image": "photo"}):
        with pytest.raises(TaskError, match="the table has no column") as error:
            made(written(LISTS), **settings)
        assert "it has x (list<" in error.value.fix
    with pytest.raises(TaskError, match="the column 'x' holds no texts"):
        made(written(LISTS), text="x")


def test_whole_numbers_must_fit_the_models():
    spec = TensorSpec("ids", "int32", ("n",))
    assert array_of(pa.chunked_array([[1, 2]]), "ids", spec).dtype == np.int32
    with pytest.raises(TaskError, match="'ids' holds numbers beyond int32"):
        array_of(pa.chunked_array([[1, 2**40]]), "ids", spec)


def test_a_file_of_text_is_told_how_to_become_a_table(tmp_path):
    (tmp_path / "data.CSV").write_text("x,label\n1,2\n")
    with pytest.raises(TaskError, match="only Parquet and Arrow are read") as error:
        made(tmp_path / "data.CSV")
    assert "pandas.read_csv(FILE).to_parquet" in error.value.fix


def test_a_column_too_many_is_counted(written):
    with pytest.raises(TaskError, match="lacks the column 'x'") as error:
        made(written({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "id": Y, "label": Y}))
    assert "3, and the label: there are 4 besides the label" in error.value.fix


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("damage", ["empty", "half", "text", "changed"])
def test_damaged_files_are_named(written, tmp_path, name, damage):
    path = written(LISTS, name)
    if name == "a.arrow":
        stream(pa.table(LISTS), path)
    content = path.read_bytes()
    path.write_bytes({
        "empty": b"", "half": content[: len(content) // 2], "text": b"x,y\n1,2\n" * 9,
        "changed": content[:-20] + bytes(20) if name == "a.parquet" else bytes(20) + content[20:],
    }[damage])  # fmt: skip
    with pytest.raises(TaskError, match="the file is damaged, or no table") as error:
        made(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("name", ["data.npz", "data.parquet"])
def test_arrays_given_as_a_table_are_told_apart_from_damage(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        np.savez(file, x=X)
    with pytest.raises(TaskError, match="a zip archive, as NumPy's .npz is") as error:
        made(tmp_path / name)
    assert error.value.fix.endswith("--task arrays:data.npz")


def test_files_of_one_folder_need_one_schema(written, tmp_path):
    (tmp_path / "shards").mkdir()
    written(LISTS, "shards/a.parquet")
    written({"z": [1, 2]}, "shards/b.parquet")
    with pytest.raises(TaskError, match="different columns or types") as error:
        made(tmp_path / "shards")
    assert "b.parquet has z" in error.value.where


def test_what_is_not_there_or_too_large(written, tmp_path, monkeypatch):
    with pytest.raises(TaskError, match="there is no such file or folder"):
        made(tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="the folder holds no tables"):
        made(tmp_path / "empty")
    monkeypatch.setattr(arrow_files, "LARGEST", 100)
    with pytest.raises(TaskError, match="more than 0 GiB of memory"):
        made(written(LISTS))


def test_without_pyarrow_the_extra_is_named(written, monkeypatch):
    path = written(LISTS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="a task of tables needs the package 'pyarrow'") as error:
        made(path)
    assert error.value.fix == "pip install 'lissom[tables]'"


def test_from_the_command_lines_text_to_a_model(written, mlp_onnx):
    model = Model("onnx", str(mlp_onnx), path=mlp_onnx, folder=mlp_onnx.parent)
    x = np.random.default_rng(0).normal(size=(60, 16))
    path = written({"input": x.tolist(), "answer": np.arange(60) % 5})
    task = open_task(f"table:{path},label=answer,batch=9", model=model)
    assert [len(targets) for _, targets in task.samples()] == [9] * 5
    with pytest.raises(RequestError, match="unknown setting 'lable'"):
        open_task(f"table:{path},lable=answer", model=model)
    with pytest.raises(LissomError) as error:
        open_task(str(path), model=model)
    assert f"did you mean table:{path}?" in error.value.fix
