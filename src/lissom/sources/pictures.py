"""Decode a picture to pixels: upright, in the colours wanted, in the size wanted.

Pictures come from anywhere, so a file that is broken, too large or of another kind is an error
that names it, and never a traceback of the decoder.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError, require
from lissom.sources.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

# Pixels of one picture; a small file can declare any number. Pillow's own limit.
LARGEST = 89_478_485
# How damaged files, and files made to do harm, fail in Pillow's decoders.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
# Sixteen bits of gray to eight: 65535 becomes 255.
SIXTEEN_TO_EIGHT = 257


def need_pillow() -> None:
    """Refuse pictures where Pillow is missing.

    Raises:
        MissingExtra: it is.
    """
    require("PIL.Image", extra="images", purpose="a task of pictures")


def pixels_of(source: Path | bytes, wanted: Preprocessing, where: str) -> Array:
    """Pixels (height, width, channels) uint8 of a picture: 3 channels in RGB order, or 1 of gray.

    Orientation follows the camera's note (EXIF); transparency is dropped, as where networks are
    trained; gray of 16 bits is scaled to 8; of several frames the first is taken.

    Raises:
        TaskError: the picture cannot be decoded, is too large, or its pixels are no 8 or 16 bits.
    """
    image = _read(source, where, _upright)
    gray = wanted.channels == "L"
    return np.asarray(_resized(_coloured(image, "L" if gray else "RGB", where), wanted)).reshape(
        *_output_shape(image, wanted), 1 if gray else 3
    )


def broken(source: Path | bytes, where: str) -> str:
    """Why a picture cannot be opened, empty where its head is sound; it is not decoded."""
    try:
        _read(source, where, lambda image: image)
    except TaskError as error:
        return error.what
    return ""


def _read(source: Path | bytes, where: str, finish: Callable[[Image], Image]) -> Image:
    from PIL import Image, UnidentifiedImageError

    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused below
            with Image.open(stream) as image:
                if image.width * image.height > LARGEST:
                    raise _too_large(f"{image.width} x {image.height} pixels", where)
                return finish(image)
    except Image.DecompressionBombError:
        raise _too_large("far more pixels than a picture has", where) from None
    except UnidentifiedImageError:
        raise TaskError(
            "this is no picture, or it is damaged from its first bytes on",
            where=where,
            fix="replace or remove the file",
        ) from None
    except FileNotFoundError:
        raise TaskError("the picture is not there any more", where=where) from None
    except MemoryError:
        raise TaskError(
            "there is not enough memory to decode the picture",
            where=where,
            fix="make the picture smaller, or free memory",
        ) from None
    except DAMAGE as error:
        raise TaskError(
            f"the picture is damaged: {_reason(error)}",
            where=where,
            fix="replace or remove the file",
        ) from None


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:  # a camera's note that cannot be read says nothing about the pixels
        return image.copy()


def _coloured(image: Image, mode: str, where: str) -> Image:
    from PIL import Image as Pillow

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
            raise TaskError(
                f"the pixels are of the kind {image.mode!r}, and a picture has 8 or 16 bits",
                where=where,
                fix="save it with 8 bits a channel, or give arrays: arrays:FILE.npz",
            )
        eight = np.rint(values.astype(np.float64) / SIXTEEN_TO_EIGHT).astype(np.uint8)
        image = Pillow.fromarray(eight)
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image, wanted: Preprocessing) -> Image:
    from PIL import Image as Pillow

    height, width = _scaled(image, wanted)
    if (width, height) != image.size:
        image = image.resize((width, height), Pillow.Resampling[wanted.resample.upper()])
    if wanted.crop is None:
        return image
    left, top = (width - wanted.crop[1]) // 2, (height - wanted.crop[0]) // 2
    return image.crop((left, top, left + wanted.crop[1], top + wanted.crop[0]))


def _scaled(image: Image, wanted: Preprocessing) -> tuple[int, int]:
    """(height, width) of the picture before its centre is cut out."""
    resize, shorter = wanted.resize, min(image.size)
    if isinstance(resize, tuple):
        return resize
    if isinstance(resize, int):
        sides = (max(1, int(resize * side / shorter)) for side in (image.height, image.width))
        height, width = sides
        return height, width
    if resize == "cover" and wanted.crop is not None:
        factor = max(wanted.crop[0] / image.height, wanted.crop[1] / image.width)
        # Rounding must not leave a side one pixel short of the crop.
        return (
            max(wanted.crop[0], round(image.height * factor)),
            max(wanted.crop[1], round(image.width * factor)),
        )
    return image.height, image.width


def _output_shape(image: Image, wanted: Preprocessing) -> tuple[int, int]:
    return wanted.output or _scaled(image, wanted)


def _too_large(size: str, where: str) -> TaskError:
    return TaskError(
        f"the picture declares {size}; more than {LARGEST:,} are not decoded, "
        "since a small file can declare any number",
        where=where,
        fix="make the picture smaller, or remove the file",
    )


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
