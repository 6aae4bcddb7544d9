"""How a picture becomes a model's input: resized, cropped, scaled, normalised, laid out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError
from lissom.sources.settings import numbers, one_of, sizes

if TYPE_CHECKING:
    from lissom.model import TensorSpec

Size = tuple[int, int]
# An edge's length, (height, width), or as large as covers the crop.
Resize = int | Size | Literal["cover"] | None

RESAMPLES = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
CHANNELS = ("RGB", "BGR", "L")
LAYOUTS = ("NCHW", "NHWC")
# Of the training set of ILSVRC 2012, pixels in 0..1; what most networks for pictures expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SETTINGS = ("size", "resize", "resample", "rescale", "mean", "std", "channels", "layout")


@dataclass(frozen=True)
class Preprocessing:
    """Steps in this order: resize, crop at the centre, times `rescale`, less `mean`, over `std`.

    Attributes:
        resize: length of the shorter side, (height, width), "cover": as large as just covers the
            crop, or None.
        crop: (height, width) cut out of the middle, black where the picture is smaller, or None.
        resample: Pillow's filter.
        rescale: factor on pixels of 0..255.
        mean: one for each channel, or one for all.
        std: as `mean`.
        channels: "RGB", "BGR", or "L" for gray.
        layout: "NCHW" or "NHWC".
        dtype: of the input; "uint8" takes the pixels as they are.
        source: where this is from, in words.
    """

    resize: Resize
    crop: Size | None
    resample: str = "bilinear"
    rescale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: str = "RGB"
    layout: str = "NCHW"
    dtype: str = "float32"
    source: str = ""

    def __post_init__(self) -> None:
        depth = 1 if self.channels == "L" else 3
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, depth) or not all(map(math.isfinite, values)):
                raise TaskError(
                    f"{name} has {len(values)} numbers, and the pictures have {depth} channels",
                    where=self.source or None,
                    fix=f"give {name} with {depth} numbers between slashes, or one for all",
                )
        if 0 in self.std or not math.isfinite(self.rescale) or not self.rescale:
            raise TaskError(
                "pixels cannot be scaled by zero, or by what is no number",
                where=self.source or None,
                fix="give rescale and std other than 0",
            )

    @property
    def output(self) -> Size | None:
        """(height, width) of every picture, None where it depends on the picture."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    @property
    def raw(self) -> bool:
        """Whether the model takes the pixels as they are."""
        return self.dtype == "uint8"

    def numbers(self, pixels: Array) -> Array:
        """The model's input from pixels (samples, height, width, channels) uint8."""
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        if not self.raw:
            scaled = pixels.astype(np.float32) * np.float32(self.rescale)
            pixels = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.layout == "NCHW":
            pixels = np.moveaxis(pixels, -1, 1)
        return np.ascontiguousarray(pixels, dtype=self.dtype)

    def __str__(self) -> str:
        steps = []
        if isinstance(self.resize, int):
            steps.append(f"shorter side to {self.resize} ({self.resample})")
        elif isinstance(self.resize, tuple):
            steps.append(f"to {_by(self.resize)} ({self.resample})")
        elif self.resize == "cover":
            steps.append(f"just large enough for the crop ({self.resample})")
        if self.crop is not None:
            steps.append(f"centre {_by(self.crop)}")
        steps.append(f"{self.channels} {self.layout}")
        if self.raw:
            return ", ".join([*steps, "pixels 0..255"])
        scale = "1/255" if math.isclose(self.rescale, 1 / 255) else f"{self.rescale:.6g}"
        told = f"pixels x {scale}, mean {_slashed(self.mean)}, std {_slashed(self.std)}"
        return ", ".join([*steps, told])


def assumed(spec: TensorSpec | None, size: Size | None) -> Preprocessing:
    """What a model's input suggests where no file tells: its size and layout, ImageNet's numbers.

    Raises:
        TaskError: the size is not known.
    """
    layout, channels, found = shape_of(spec)
    size = size or found
    if size is None:
        raise TaskError(
            "the size of the pictures is not known: no preprocessing file is beside the model, "
            "and its input does not fix one",
            where=None if spec is None else str(spec),
            fix="name it: images:FOLDER,size=224",
        )
    plain = channels == "L"
    return Preprocessing(
        resize="cover",
        crop=size,
        mean=(0.0,) if plain else IMAGENET_MEAN,
        std=(1.0,) if plain else IMAGENET_STD,
        channels=channels,
        layout=layout,
        dtype="float32" if spec is None else spec.dtype,
    )


def shape_of(spec: TensorSpec | None) -> tuple[str, str, Size | None]:
    """Layout, channels and (height, width) of an image input, as far as its shape tells."""
    if spec is None or len(spec.shape) != 4:
        return "NCHW", "RGB", None
    last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    layout = "NHWC" if last else "NCHW"
    sides = spec.shape[1:3] if last else spec.shape[2:]
    channels = "L" if spec.shape[3 if last else 1] == 1 else "RGB"
    match sides:
        case (int(height), int(width)):
            return layout, channels, (height, width)
    return layout, channels, None


def with_settings(found: Preprocessing, settings: Mapping[str, str]) -> Preprocessing:
    """The same with what the user set behind the folder's name.

    Raises:
        TaskError: a setting cannot be read, or does not go with the model.
    """
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("resize", sizes(settings, "resize")),
            ("resample", one_of(settings, "resample", RESAMPLES)),
            ("mean", numbers(settings, "mean")),
            ("std", numbers(settings, "std")),
            ("channels", one_of(settings, "channels", CHANNELS)),
            ("layout", one_of(settings, "layout", LAYOUTS)),
        )
        if value is not None
    }
    if "rescale" in settings:
        changes["rescale"] = _factor(settings["rescale"])
    if (size := sizes(settings, "size")) is not None:
        changes["crop"] = square(size)
        changes.setdefault("resize", "cover")
    if found.raw and changes.keys() & {"rescale", "mean", "std"}:
        raise TaskError(
            "the model takes pixels of uint8 as they are: rescale, mean and std do not apply",
            fix="leave them out",
        )
    if changes.get("channels") == "L" and found.channels != "L" and found.mean == IMAGENET_MEAN:
        changes.setdefault("mean", (0.0,))
        changes.setdefault("std", (1.0,))
    return dataclasses.replace(found, **changes)


def square(size: int | Size) -> Size:
    """(height, width) of a size, one number being a square."""
    return (size, size) if isinstance(size, int) else size


def _factor(text: str) -> float:
    """A factor such as 0.0039 or 1/255."""
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise TaskError(f"rescale={text} is no factor", fix="write rescale=1/255") from None


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _slashed(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in values)
