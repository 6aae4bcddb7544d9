"""Folders of pictures become tasks: labels, order, batches, notes, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.model import Model, TensorSpec
from lissom.sources import gallery, open_task
from lissom.sources.image_folder import list_pictures, remarks_on
from lissom.sources.image_tasks import image_task
from tests import models

Image = pytest.importorskip("PIL.Image")

SPEC = TensorSpec("pixels", "float32", ("batch", 3, 8, 8))
PLAIN = {"mean": "0", "std": "1", "rescale": "1"}


@pytest.fixture
def photos(tmp_path):
    """Classes cat (0), dog (1), owl (2) of five pictures: pixel value 50 x class + number."""
    for label, name in enumerate(("cat", "dog", "owl")):
        for number in range(5):
            place = tmp_path / "photos" / name / ("more" if number == 4 else "")
            place.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (9, 8), (50 * label + number,) * 3)
            image.save(place / f"{number}.png")
    (tmp_path / "photos" / "cat" / "Thumbs.db").write_bytes(b"no picture")
    (tmp_path / "photos" / ".cache").mkdir()
    return tmp_path / "photos"


def made(folder, specs=(SPEC,), model=None, batch=4, **settings):
    model = model or Model("onnx", "m.onnx", folder=folder.parent)
    return image_task(folder, model, specs, None, batch, "images:photos", {**PLAIN, **settings})


def seen(task) -> dict[int, int]:
    """Pixel value -> label of all validation samples."""
    return {
        int(pixels[0, 0, 0]): int(label)
        for batch, labels in task.samples()
        for pixels, label in zip(batch["pixels"], labels, strict=True)
    }


def test_the_label_is_the_place_of_the_folders_name(photos):
    task = made(photos)
    assert task.metric.name == "accuracy"
    found = seen(task)
    assert len(found) == 12 and all(value // 50 == label for value, label in found.items())
    held = [int(pixels[0, 0, 0]) for batch in task.calibration for pixels in batch["pixels"]]
    assert sorted([*held, *found]) == [50 * c + n for c in range(3) for n in range(5)]
    assert task.digest() == made(photos).digest()


def test_a_list_of_classes_orders_them(photos, tmp_path):
    (tmp_path / "names.txt").write_text("owl\nemu\ncat\ndog\n")
    found = seen(made(photos, classes=str(tmp_path / "names.txt")))
    assert {value // 50: label for value, label in found.items()} == {0: 2, 1: 3, 2: 0}


def test_the_models_own_names_order_them(photos):
    labels = {"0": "owl", "1": "cat", "2": "dog"}
    (photos.parent / "config.json").write_text(json.dumps({"id2label": labels}))
    task = made(photos)
    assert {value // 50: label for value, label in seen(task).items()} == {0: 1, 1: 2, 2: 0}
    assert "id2label" in task.notes[0]


def test_a_name_that_the_model_gives_twice_is_no_order(photos):
    config = photos.parent / "config.json"
    labels = {"0": "cat", "1": "dog", "2": "owl", "3": "emu", "4": "emu"}
    config.write_text(json.dumps({"id2label": labels}))
    assert len(seen(made(photos))) == 12  # nothing here is an emu
    config.write_text(json.dumps({"id2label": {**labels, "4": "dog"}}))
    with pytest.raises(TaskError, match="calls several classes 'dog': 1, 4"):
        made(photos)


def test_pictures_alone_are_fidelity(photos):
    for number in range(8):
        Image.new("RGB", (8, 8), (number,) * 3).save(photos / "cat" / "more" / f"x{number}.png")
    task = made(photos / "cat" / "more")
    assert task.fidelity and task.metric.name == "cosine"
    assert sum(len(batch["pixels"]) for batch, _ in task.samples()) == 7


def test_a_guess_is_said_aloud_and_the_models_word_is_told(photos):
    model = Model("onnx", "m.onnx", folder=photos.parent)
    guessed = image_task(photos, model, (SPEC,), None, 4, "images", {})
    assert guessed.check([SPEC])[0] == guessed.notes[0]
    assert guessed.notes[0].startswith("Pictures: just large enough for the crop (bilinear), ")
    assert "ImageNet's mean and std; if it was trained otherwise" in guessed.notes[0]
    content = {"size": {"height": 8, "width": 8}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (photos.parent / "preprocessor_config.json").write_text(json.dumps(content))
    told = image_task(photos, model, (SPEC,), None, 4, "images", {}).notes[0]
    assert told.startswith("Pictures as preprocessor_config.json beside the model says: to 8x8")


def test_a_fixed_batch_and_a_large_picture_bound_the_batches(photos, monkeypatch):
    fixed = TensorSpec("pixels", "float32", (3, 3, 8, 8))
    task = made(photos, specs=(fixed,))
    task.check([fixed])
    assert [len(labels) for _, labels in task.samples()] == [3, 3, 3, 3]
    monkeypatch.setattr(gallery, "BATCH_BYTES", 2 * 8 * 8 * 3 * 4)
    assert [len(labels) for _, labels in made(photos).samples()] == [2] * 6


def test_decoded_pixels_are_kept_up_to_a_bound(photos, monkeypatch):
    decoded = []
    original = gallery.pixels_of
    monkeypatch.setattr(gallery, "pixels_of", lambda *one: decoded.append(one[0]) or original(*one))
    monkeypatch.setattr(gallery, "KEPT_BYTES", 4 * 8 * 8 * 3)
    task = made(photos)
    first = seen(task)
    assert len(decoded) == 12
    assert seen(task) == first
    assert len(decoded) == 12 + 8


def test_broken_files_are_named_all_at_once(photos):
    (photos / "cat" / "0.png").write_bytes(b"broken")
    (photos / "dog" / "1.png").write_bytes(b"")
    with pytest.raises(TaskError, match="no picture, or it is damaged") as error:
        made(photos).check([SPEC])
    assert sorted(error.value.where.splitlines()) == [
        str(photos / "cat" / "0.png"), str(photos / "dog" / "1.png"),
    ]  # fmt: skip


def test_pictures_of_several_sizes_need_one(photos):
    Image.new("RGB", (30, 8)).save(photos / "cat" / "wide.png")
    (photos.parent / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8}})
    )
    spec = TensorSpec("pixels", "float32", ("n", 3, "h", "w"))
    with pytest.raises(TaskError, match="8x30 where others are 8x9, and a batch needs one") as e:
        made(photos, specs=(spec,), batch=20).check([spec])
    assert e.value.where.endswith("wide.png")


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ((TensorSpec("x", "float32", ("n", 16)),), "has no input for pictures"),
        ((SPEC, TensorSpec("mask", "int64", ("n", 8))), "also takes 'mask'"),
        ((TensorSpec("x", "int64", ("n", 3, 8, 8)),), "has no input for pictures"),
    ],
)
def test_a_model_that_takes_something_else(photos, specs, says):
    with pytest.raises(TaskError, match=says) as error:
        made(photos, specs=specs)
    assert "task file" in error.value.fix


def folder_of(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["a/1.png", "2.png"], "pictures lie beside class folders: 2.png, and the folder a"),
        (["a/notes.txt", "b.csv"], "no pictures in the folder: it holds a, b.csv"),
        (["train/a/1.png", "val/a/2.png"], "train, val look like parts of a data set"),
    ],
)
def test_folders_that_are_no_task(tmp_path, paths, says):
    with pytest.raises(TaskError, match=says):
        list_pictures(folder_of(tmp_path / "root", *paths))


def test_places_that_are_no_folder(tmp_path):
    with pytest.raises(TaskError, match="No such file"):
        list_pictures(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TaskError, match="it is a file"):
        list_pictures(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="it is empty"):
        list_pictures(tmp_path / "empty")


def test_lists_of_classes_that_do_not_fit(photos, tmp_path):
    names = tmp_path / "names.txt"
    for content, says in (
        ("cat\ndog\n", "the folder 'owl' is none of the 2 classes"),
        ("cat\ncat\n", "names 'cat' twice"),
        ("\n", "is empty"),
    ):
        names.write_text(content)
        with pytest.raises(TaskError, match=says):
            made(photos, classes=str(names))
    with pytest.raises(TaskError, match="cannot read the list of classes"):
        made(photos, classes=str(tmp_path / "none.txt"))


def test_what_is_easily_wrong_is_told(tmp_path):
    numbered = folder_of(tmp_path / "numbered", *(f"{n}/1.png" for n in range(11)))
    assert "10 before 2" in remarks_on(list_pictures(numbered), listed=False)[0]
    one = folder_of(tmp_path / "one", "cat/1.png")
    assert (
        "Only one class folder was found (cat)" in remarks_on(list_pictures(one), listed=False)[0]
    )
    gap = folder_of(tmp_path / "gap", "a/1.png", "b/notes.txt", "c/1.png")
    found = list_pictures(gap)
    assert found.labels.tolist() == [0, 2]
    assert "No pictures in the class folder b" in remarks_on(found, listed=False)[0]


def test_from_the_command_lines_text_to_a_model(tmp_path):
    path = models.saved(models.depthwise(), tmp_path / "depthwise.onnx")
    model = Model("onnx", str(path), path=path, folder=tmp_path)
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            shade = (30 * number, 10, 200)
            Image.new("RGB", (40, 50), shade).save(tmp_path / "photos" / label / f"{number}.jpg")
    task = open_task(f"images:{tmp_path / 'photos'},mean=0.5,std=0.5", model=model)
    assert task.description == "images:photos,mean=0.5,std=0.5"
    batch, labels = next(iter(task.samples()))
    assert batch["image"].shape == (6, 3, 32, 32) and labels.dtype == np.int64
    assert abs(batch["image"][0, 2, 0, 0] - (200 / 255 - 0.5) / 0.5) < 0.02


def test_the_number_of_classes_is_compared_with_the_models(photos, depthwise_onnx, tmp_path):
    model = Model("onnx", "m", path=depthwise_onnx, folder=tmp_path / "model")
    spec = TensorSpec("image", "float32", ("batch", 3, 32, 32))
    task = made(photos, (spec,), model)
    assert task.notes[0] == (
        "There are 3 class folders and the model has 10 classes: they are taken as its first 3, "
        "by name. If they are others, give classes=FILE."
    )
    for number in range(8):
        (photos / f"x{number}").mkdir()
    with pytest.raises(TaskError, match="11 class folders, and the model tells 10 classes") as e:
        made(photos, (spec,), model)
    assert e.value.fix.endswith("give its own list: classes=FILE")


def test_a_single_picture_is_too_few(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    with pytest.raises(TaskError, match="1 sample is too few to draw") as error:
        made(tmp_path / "photos")
    assert error.value.fix == "give at least 4; a few hundred make the intervals useful"
