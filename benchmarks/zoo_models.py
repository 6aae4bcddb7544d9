"""Fill a folder with ONNX files that lissom did not make, for `zoo.py`.

    python benchmarks/zoo_models.py FOLDER

takes every file that a package of this environment ships, and makes those whose exporter is
installed; what is missing is told and left out, so that the folder can be filled from several
environments in turn. The packages: rapidocr-onnxruntime, silero-vad, faster-whisper, magika,
nudenet, ddddocr, piper-tts, onnx (its own test models); torch, skl2onnx with scikit-learn,
onnxmltools with lightgbm, tf2onnx with tensorflow.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import zoo_exports as make

INDEX = "zoo.json"


@dataclass(frozen=True)
class Shipped:
    """A file inside a package."""

    package: str
    path: str


@dataclass(frozen=True)
class Made:
    """A file that a package's exporter writes."""

    package: str
    how: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Known:
    """What the table tells of a file: where it is from, and options of a second run."""

    origin: str
    options: tuple[str, ...] = ()


_OCR = "rapidocr_onnxruntime/models"
_LIGHT = "onnx/backend/test/data/light"
SHIPPED = {
    "ocr-detection": Shipped("rapidocr-onnxruntime", f"{_OCR}/ch_PP-OCRv4_det_infer.onnx"),
    "ocr-recognition": Shipped("rapidocr-onnxruntime", f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx"),
    "ocr-angle": Shipped("rapidocr-onnxruntime", f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "silero-vad": Shipped("silero-vad", "silero_vad/data/silero_vad.onnx"),
    "silero-vad-op15": Shipped("silero-vad", "silero_vad/data/silero_vad_16k_op15.onnx"),
    "silero-vad-ifless": Shipped("silero-vad", "silero_vad/data/silero_vad_op18_ifless.onnx"),
    "silero-vad-half": Shipped("silero-vad", "silero_vad/data/silero_vad_half.onnx"),
    "silero-vad-v6": Shipped("faster-whisper", "faster_whisper/assets/silero_vad_v6.onnx"),
    "magika": Shipped("magika", "magika/models/standard_v3_3/model.onnx"),
    "nudenet": Shipped("nudenet", "nudenet/320n.onnx"),
    "ddddocr": Shipped("ddddocr", "ddddocr/common.onnx"),
    "ddddocr-old": Shipped("ddddocr", "ddddocr/common_old.onnx"),
    "ddddocr-detection": Shipped("ddddocr", "ddddocr/common_det.onnx"),
    "piper-hebrew": Shipped("piper-tts", "piper/hebrew/nakdimon.onnx"),
    "piper-tashkeel": Shipped("piper-tts", "piper/tashkeel/model.onnx"),
    "onnx-squeezenet": Shipped("onnx", f"{_LIGHT}/light_squeezenet.onnx"),
    "onnx-densenet": Shipped("onnx", f"{_LIGHT}/light_densenet121.onnx"),
}
MADE = {
    "torch-classic-11": Made("torch", "torch.onnx, classic", make.torch_images(11)),
    "torch-classic-17": Made("torch", "torch.onnx, classic", make.torch_images(17)),
    "torch-text-14": Made("torch", "torch.onnx, classic", make.torch_text(14)),
    "torch-lstm-state": Made("torch", "torch.onnx, classic", make.torch_state),
    "torch-dynamo-images": Made("torch", "torch.onnx, dynamo", make.dynamo_images),
    "torch-dynamo-text": Made("torch", "torch.onnx, dynamo", make.dynamo_text),
    "sklearn-forest": Made("skl2onnx", "skl2onnx", make.sklearn_forest),
    "sklearn-mlp": Made("skl2onnx", "skl2onnx", make.sklearn_mlp),
    "sklearn-mlp-11": Made("skl2onnx", "skl2onnx", make.sklearn_mlp_opset_11),
    "sklearn-pipeline": Made("skl2onnx", "skl2onnx", make.sklearn_pipeline),
    "lightgbm": Made("onnxmltools", "onnxmltools", make.lightgbm_trees),
    "keras-mobilenet": Made("tf2onnx", "tf2onnx", make.keras_images(13)),
    "keras-mobilenet-18": Made("tf2onnx", "tf2onnx", make.keras_images(18)),
    "keras-lstm": Made("tf2onnx", "tf2onnx", make.keras_text),
    "bad-ids-from-100000": Made("torch", "torch.onnx, classic", make.torch_text(17, 100_000)),
    "bad-lengths": Made("torch", "torch.onnx, classic", make.torch_lengths),
}
# Files that only seem to be models, by what they hold.
BROKEN: Mapping[str, Callable[[Path], bytes]] = {
    "bad-empty": lambda folder: b"",
    "bad-cut-short": lambda folder: _half(folder / "torch-classic-17.onnx"),
    "bad-page": lambda folder: b"<!DOCTYPE html><html><body>404: not found</body></html>",
    "bad-pointer": lambda folder: b"version https://git-lfs.github.com/spec/v1\nsize 90405214\n",
}
# What makes a file go whose inputs cannot be guessed: a second row.
OPTIONS = {
    "bad-lengths": ("--shape", "near=1x128", "--shape", "far=1x2x64"),
    "ocr-recognition": ("--shape", "x=1x3x48x320"),
    "silero-vad-half": ("--shape", "input=1x576"),
    "silero-vad-op15": ("--shape", "input=1x576"),
    "torch-text-14": ("--shape", "ids=2x16", "--shape", "mask=2x16"),
}


def main() -> None:
    """Add to the folder what this environment has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    known = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    for name, origin in _fill(folder):
        known[name] = asdict(Known(origin, OPTIONS.get(name, ())))
        index.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _fill(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file as it is added, with where it is from."""
    for name, shipped in SHIPPED.items():
        if version := _version(shipped.package):
            place = importlib.metadata.distribution(shipped.package).locate_file(shipped.path)
            shutil.copyfile(str(place), folder / f"{name}.onnx")
            yield name, f"shipped in {shipped.package} {version}"
    for name, made in MADE.items():
        if version := _version(made.package):
            made.write(folder / f"{name}.onnx")
            yield name, f"{made.how} {version}"
    if version := _version("torch"):
        import torch

        torch.save({"weight": torch.zeros(8, 8)}, folder / "bad-checkpoint.onnx")
        yield "bad-checkpoint", f"torch.save {version}, renamed"
        for name, content in BROKEN.items():
            (folder / f"{name}.onnx").write_bytes(content(folder))
            yield name, "no model"


def _half(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: len(data) // 2]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed: its files are left out")
        return ""


if __name__ == "__main__":
    main()
