"""Pictures as the model's own file says, against transformers' processors; what is not readable."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.model import Model, TensorSpec
from lissom.sources.image_tasks import preprocessing_of
from lissom.sources.preprocessing import Preprocessing
from lissom.sources.preprocessor_config import read_preprocessing

Image = pytest.importorskip("PIL.Image")
from lissom.sources.pictures import pixels_of  # noqa: E402

FLOAT = TensorSpec("pixels", "float32", ("batch", 3, 32, 32))


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colours, so that filters differ and nothing hides in noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, path) -> object:
    image.save(path)
    return path


HALF = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]}
PROCESSORS = {
    "ViT": {"size": {"height": 32, "width": 40}, "resample": 2, **HALF},
    "CLIP": {
        "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 36},
        "do_center_crop": True, "resample": 3, **HALF,
    },
    "ConvNext": {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3, **HALF},
    "Levit": {
        "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True, "resample": 3, **HALF,
    },
    "EfficientNet": {"size": {"height": 33, "width": 33}, "resample": 0, "include_top": True,
                     "rescale_factor": 1 / 127.5, "rescale_offset": False, **HALF},
    "MobileViT": {
        "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True, "do_flip_channel_order": True, "do_normalize": False,
        "resample": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("shape", [(61, 83), (90, 47)])
def test_the_numbers_are_those_of_the_models_own_processor(tmp_path, kind, shape):
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**PROCESSORS[kind])
    theirs.save_pretrained(tmp_path)
    image = picture(*shape)
    found = read_preprocessing([tmp_path])
    expected = theirs(image, return_tensors="np")["pixel_values"]
    pixels = pixels_of(saved(image, tmp_path / "a.png"), found, "a.png")
    np.testing.assert_allclose(found.numbers(pixels[None]), expected, rtol=0, atol=2e-6)


def test_an_old_file_with_plain_numbers(tmp_path):
    def read(**content: object) -> Preprocessing:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
        found = read_preprocessing([tmp_path])
        assert found is not None
        return found

    vit = read(feature_extractor_type="ViTFeatureExtractor", size=224, do_resize=True)
    assert (vit.resize, vit.crop, vit.resample) == ((224, 224), None, "bilinear")
    clip = read(
        feature_extractor_type="CLIPFeatureExtractor", size=224, crop_size=200, resample=3,
        do_center_crop=True,
    )  # fmt: skip
    assert (clip.resize, clip.crop, clip.resample) == (224, (200, 200), "bicubic")
    raw = read(size=[8, 9], do_rescale=False, do_normalize=False, do_resize=True)
    assert (raw.rescale, raw.mean, raw.std, raw.output) == (1.0, (0.0,), (1.0,), (8, 9))


def test_a_processor_inside_another_file_and_timms_own(tmp_path):
    inner = {"image_processor": {"size": {"height": 20, "width": 20}, "image_mean": [0.1] * 3}}
    (tmp_path / "processor_config.json").write_text(json.dumps(inner))
    assert read_preprocessing([tmp_path]).mean == (0.1, 0.1, 0.1)
    folder = tmp_path / "timm"
    folder.mkdir()
    described = {"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic"}
    (folder / "config.json").write_text(
        json.dumps({"pretrained_cfg": {**described, "mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    found = read_preprocessing([folder])
    assert (found.resize, found.crop, found.resample, found.std) == (
        248, (224, 224), "bicubic", (0.5, 0.5, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, "differ in size"),
        ({"size": 224, "do_pad": True}, "asks for 'do_pad'"),
        ({"size": {"height": "tall", "width": 3}}, "cannot be read"),
        ({"size": 224, "resample": 17}, "the filter 17"),
        ({"size": 224, "image_std": [0.1, 0, 0.1]}, "scaled by zero"),
        ({"size": 224, "image_mean": [0.1, 0.2]}, "mean has 2 numbers"),
    ],
)
def test_a_file_that_cannot_be_followed_is_named(tmp_path, content, says):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(TaskError, match=says) as error:
        read_preprocessing([tmp_path])
    assert "preprocessor_config.json" in error.value.where


def of(spec: TensorSpec | None, folder=None, **settings: str) -> Preprocessing:
    model = Model("onnx", "model.onnx", folder=folder)
    return preprocessing_of(model, spec, settings)


def test_without_a_file_the_inputs_shape_and_imagenet_are_taken():
    found = of(FLOAT)
    assert (found.crop, found.resize, found.layout) == ((32, 32), "cover", "NCHW")
    assert str(found) == (
        "just large enough for the crop (bilinear), centre 32x32, RGB NCHW, "
        "pixels x 1/255, mean 0.485/0.456/0.406, std 0.229/0.224/0.225"
    )
    last = of(TensorSpec("pixels", "uint8", (None, 24, 40, 3)))
    assert str(last).endswith("centre 24x40, RGB NHWC, pixels 0..255")
    gray = of(TensorSpec("pixels", "float32", ("n", 1, 28, 28)))
    assert (gray.channels, gray.mean, gray.std) == ("L", (0.0,), (1.0,))


def test_settings_go_before_file_and_shape(tmp_path):
    content = {"size": {"height": 32, "width": 32}, "image_mean": [0.1] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert of(FLOAT, tmp_path).mean == (0.1, 0.1, 0.1)
    found = of(FLOAT, tmp_path, mean="0.5", std="0.2/0.3/0.4", channels="bgr", resize="40")
    assert (found.mean, found.std, found.channels) == ((0.5,), (0.2, 0.3, 0.4), "BGR")
    free = TensorSpec("pixels", "float32", ("n", 3, "h", "w"))
    found = of(free, tmp_path, size="16x24", rescale="1/127.5", resample="BOX", layout="nhwc")
    assert (found.output, found.resample, found.layout) == ((16, 24), "box", "NHWC")
    assert found.rescale == 1 / 127.5


@pytest.mark.parametrize(
    ("spec", "settings", "says"),
    [
        (TensorSpec("p", "float32", ("n", 3, "h", "w")), {}, "size of the pictures is not known"),
        (FLOAT, {"size": "64"}, "the settings make pictures of 64x64, and the model takes 32x32"),
        (FLOAT, {"size": "0"}, "size=0 is no size"),
        (FLOAT, {"size": "32x"}, "size=32x is no size"),
        (FLOAT, {"mean": "0.5,0.5"}, "mean=0.5,0.5 is not one number"),
        (FLOAT, {"mean": "0.5/0.5"}, "mean has 2 numbers, and the pictures have 3 channels"),
        (FLOAT, {"std": "0"}, "scaled by zero"),
        (FLOAT, {"rescale": "1/0"}, "rescale=1/0 is no factor"),
        (FLOAT, {"resample": "cubic"}, "resample=cubic is not known"),
        (TensorSpec("p", "uint8", ("n", 3, 8, 8)), {"mean": "0.5"}, "pixels of uint8"),
    ],
)
def test_what_does_not_go_together_is_refused(spec, settings, says):
    with pytest.raises(TaskError, match=says) as error:
        of(spec, **settings)
    assert error.value.fix


def test_a_file_of_another_size_than_the_model_is_refused(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 64}))
    with pytest.raises(TaskError, match="makes pictures of 64x64, and the model takes 32x32") as e:
        of(FLOAT, tmp_path)
    assert e.value.fix == "set the size: size=32x32"
    assert of(FLOAT, tmp_path, size="32").output == (32, 32)
