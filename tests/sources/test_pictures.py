"""Every kind of picture a folder may hold: modes, orientation, damage, files made to do harm."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest

from lissom.errors import MissingExtra, TaskError
from lissom.sources.pictures import LARGEST, need_pillow, pixels_of
from lissom.sources.preprocessing import Preprocessing

Image = pytest.importorskip("PIL.Image")

AS_IS = Preprocessing(resize=None, crop=None)
GRAY = Preprocessing(resize=None, crop=None, channels="L", mean=(0.0,), std=(1.0,))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(content: bytes, wanted: Preprocessing = AS_IS) -> np.ndarray:
    return pixels_of(content, wanted, "photo.png")


RED = Image.new("RGB", (6, 4), (200, 30, 40))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colours_come_out_of_every_mode(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = RED.quantize() if mode == "P" else RED.convert(mode)
    found = pixels(encoded(image, kind))
    assert found.shape == (4, 6, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, np.broadcast_to([200, 30, 40], found.shape), atol=2)


def test_gray_becomes_three_equal_channels_and_colour_one():
    gray = pixels(encoded(Image.new("L", (6, 4), 77)))
    assert (gray == 77).all() and gray.shape == (4, 6, 3)
    found = pixels(encoded(RED), GRAY)
    assert found.shape == (4, 6, 1)
    assert abs(int(found[0, 0, 0]) - (0.299 * 200 + 0.587 * 30 + 0.114 * 40)) <= 1


def test_sixteen_bits_keep_their_shades():
    ramp = np.linspace(0, 0xFFFF, 12).astype(np.uint16).reshape(3, 4)
    found = pixels(encoded(Image.fromarray(ramp)), GRAY)[..., 0]
    np.testing.assert_array_equal(found, np.rint(ramp / 257).astype(np.uint8))
    assert found.max() == 255 and len(np.unique(found)) == 12


def test_floating_pixels_are_refused():
    with pytest.raises(TaskError, match="of the kind 'F', and a picture has 8 or 16 bits") as error:
        pixels(encoded(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"))
    assert "arrays:FILE.npz" in error.value.fix


def test_a_picture_stands_upright_as_the_camera_noted():
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    found = pixels(encoded(image, exif=exif), GRAY)[..., 0]
    np.testing.assert_array_equal(found, np.rot90(np.arange(24).reshape(4, 6), -1))


def test_the_first_of_several_frames():
    frames = [Image.new("L", (5, 5), value) for value in (10, 200)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(moving, GRAY) == 10).all()


def test_a_picture_smaller_than_the_crop_gets_black_edges():
    wanted = Preprocessing(resize=None, crop=(8, 8))
    found = pixels(encoded(Image.new("RGB", (6, 4), "white")), wanted)
    assert found.shape == (8, 8, 3)
    assert found[2:6, 1:7].min() == 255 and found.sum() == 4 * 6 * 3 * 255


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (37, 53), (8, 8)])
def test_cover_leaves_no_black_edge(shape):
    wanted = Preprocessing(resize="cover", crop=(24, 31))
    found = pixels(encoded(Image.new("RGB", shape, "white")), wanted)
    assert found.shape == (24, 31, 3) and found.min() == 255


JPEG = encoded(Image.effect_noise((64, 64), 60), "JPEG")
NOISE = encoded(Image.effect_noise((64, 64), 60))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no picture, or it is damaged"),
        (b"not a picture at all", "no picture, or it is damaged"),
        (encoded(RED)[:12], "no picture, or it is damaged"),
        (JPEG[: len(JPEG) // 2], "the picture is damaged: .*truncated"),
        (NOISE[: len(NOISE) // 2], "the picture is damaged: .*truncated"),
        (NOISE[:60] + bytes(9) + NOISE[69:], "the picture is damaged"),
    ],
    ids=["empty", "text", "head only", "half a jpeg", "half a png", "changed"],
)
def test_a_broken_picture_is_named(content, says):
    with pytest.raises(TaskError, match=says) as error:
        pixels(content)
    assert error.value.where == "photo.png"
    assert error.value.fix == "replace or remove the file"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    ("side", "says"),
    [(10_000, "10000 x 10000 pixels"), (60_000, "far more pixels")],
)
def test_a_bomb_is_refused_before_it_is_unpacked(side, says):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    bomb = b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")
    with pytest.raises(TaskError, match=says) as error:
        pixels(bomb)
    assert f"more than {LARGEST:,} are not decoded" in error.value.what


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match="a task of pictures needs the package 'PIL'") as error:
        need_pillow()
    assert error.value.fix == "pip install 'lissom[images]'"
