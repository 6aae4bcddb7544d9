"""The preprocessing file beside a model, as Hugging Face's image processors and timm write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lissom.errors import TaskError
from lissom.model import read_json
from lissom.sources.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Resize,
    Size,
)

# The numbers by which Pillow and these files call its filters.
RESAMPLES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Processors for which a plain number is the shorter side; for the others it is both.
SHORTER_SIDE = (
    "Bit", "CLIP", "ChineseCLIP", "ConvNext", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT",
    "PoolFormer",
)  # fmt: skip
# What these files may ask for that gives pictures of several sizes, or takes another path.
UNLIKE = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_image_splitting", "rescale_offset")
FIX = "make the batches yourself: a task file, --task file.py:object"


def read_preprocessing(folders: Sequence[Path], *, sized: bool = False) -> Preprocessing | None:
    """The first preprocessing file found in the folders, None where there is none.

    With `sized` the user names the size, and what the file says of it is left aside.

    Raises:
        TaskError: it asks for steps that lissom does not take.
        ModelError: it is not JSON.
    """
    for folder in folders:
        for name in ("preprocessor_config.json", "processor_config.json"):
            content = read_json(folder / name)
            if isinstance(content, dict):
                content = content.get("image_processor", content)
            if isinstance(content, dict) and content.keys() & {"size", "image_mean", "do_resize"}:
                return _checked(_of_huggingface, _without_size(content, sized), folder / name)
        config = read_json(folder / "config.json")
        described = config.get("pretrained_cfg") if isinstance(config, dict) else None
        if isinstance(described, dict) and "input_size" in described:
            return _checked(_of_timm, described, folder / "config.json")
    return None


def _without_size(content: dict[str, Any], sized: bool) -> dict[str, Any]:
    about = {"size", "crop_size", "crop_pct", "do_resize", "do_center_crop"} if sized else set()
    return {name: value for name, value in content.items() if name not in about}


def _checked(read: Any, content: dict[str, Any], file: Path) -> Preprocessing:
    try:
        found: Preprocessing = read(content, file)
    except (TypeError, ValueError, KeyError, OverflowError, ZeroDivisionError) as error:
        raise TaskError(
            f"{file.name} has a value that cannot be read: {error}",
            where=str(file),
            fix="correct the file, or move it away and say size=, mean= and std= in --task",
        ) from None
    return found


def _of_huggingface(content: dict[str, Any], file: Path) -> Preprocessing:
    asked = next((name for name in UNLIKE if content.get(name)), None)
    if asked is not None:
        raise TaskError(
            f"{file.name} asks for {asked!r}, which lissom does not do", where=str(file), fix=FIX
        )
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    resize, crop = _geometry(content, kind, file)
    if not content.get("do_resize", True):
        resize = None
    if content.get("do_center_crop") and crop is None:
        crop = _size(content.get("crop_size", content.get("size")), file)
    mean, std = _three(content.get("image_mean")), _three(content.get("image_std"))
    if not content.get("do_normalize", True):
        mean, std = (0.0,), (1.0,)
    if content.get("include_top"):  # EfficientNet divides by the deviation twice
        std = tuple(value * value for value in std or IMAGENET_STD)
    return Preprocessing(
        resize=resize,
        crop=crop,
        resample=_resample(content.get("resample", 2), file),
        rescale=float(content.get("rescale_factor") or 1 / 255)
        if content.get("do_rescale", True)
        else 1.0,
        mean=mean or IMAGENET_MEAN,
        std=std or IMAGENET_STD,
        channels="BGR" if content.get("do_flip_channel_order") else "RGB",
        source=file.name,
    )


def _geometry(content: dict[str, Any], kind: str, file: Path) -> tuple[Resize, Size | None]:
    """How large the picture is made, and the crop that belongs to that."""
    size = content.get("size", 224)
    if isinstance(size, int | float | str):
        edge = int(size)
        short = kind.startswith(SHORTER_SIDE) or "crop_pct" in content
        size = {"shortest_edge": edge} if short else {"height": edge, "width": edge}
    if isinstance(size, list | tuple):
        size = {"height": size[0], "width": size[1]}
    if size.get("height") and size.get("width"):
        return _size(size, file), None
    if not size.get("shortest_edge") or size.get("longest_edge"):
        raise TaskError(
            f"{file.name} sizes pictures by {', '.join(size) or 'nothing'}, so that they differ "
            "in size and make no batch",
            where=str(file),
            fix="name one size for all: images:FOLDER,size=224",
        )
    edge = int(size["shortest_edge"])
    if kind.startswith("Levit"):
        return int(256 / 224 * edge), None
    portion = content.get("crop_pct")
    if kind.startswith("ConvNext"):
        if edge >= 384:
            return (edge, edge), None
        return int(edge / (portion or 224 / 256)), (edge, edge)
    return (int(edge / portion) if portion else edge), None


def _of_timm(content: dict[str, Any], file: Path) -> Preprocessing:
    """timm's own: the shorter side is the input's over `crop_pct`, then the centre is cut out."""
    _, height, width = (int(side) for side in content["input_size"])
    portion = float(content.get("crop_pct") or 0.875)
    square = content.get("crop_mode", "center") == "squash"
    edge: Resize = int(height / portion), int(width / portion)
    if not square:
        edge = int(min(height, width) / portion)
    return Preprocessing(
        resize=edge,
        crop=(height, width),
        resample=_resample(content.get("interpolation") or "bicubic", file),
        mean=_three(content.get("mean")) or IMAGENET_MEAN,
        std=_three(content.get("std")) or IMAGENET_STD,
        source=f"{file.name} (pretrained_cfg)",
    )


def _size(value: Any, file: Path) -> Size:
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict) and value.get("height") and value.get("width"):
        return int(value["height"]), int(value["width"])
    if isinstance(value, dict) and value.get("shortest_edge"):
        return int(value["shortest_edge"]), int(value["shortest_edge"])
    raise ValueError(f"the size {value!r}")


def _three(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),)


def _resample(value: Any, file: Path) -> str:
    name = RESAMPLES.get(value) if isinstance(value, int) else str(value).lower()
    if name not in RESAMPLES.values():
        raise ValueError(f"the filter {value!r}")
    return str(name)
