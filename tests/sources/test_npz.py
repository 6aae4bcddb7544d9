from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.sources import npz
from lissom.sources.npz import read_npz


def header(shape, dtype="<f4"):
    """The start of an .npy file that declares such an array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_was_saved_is_read(tmp_path, save):
    arrays = {"x": np.arange(6.0).reshape(2, 3).T, "n": np.array(3), "e": np.zeros((0, 2), "i1")}
    save(tmp_path / "a.npz", **arrays)
    read = read_npz(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_pickle_is_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2), bad=np.array([{}, 1], dtype=object))
    with pytest.raises(TaskError, match=r"'bad' holds pickled"):
        read_npz(tmp_path / "a.npz")


def test_a_declared_size_that_is_not_there_is_never_allocated(tmp_path):
    path = archive(tmp_path / "a.npz", {"x.npy": header((2**40,)) + b"1234"})
    with pytest.raises(TaskError, match=r"declares 4398046511104 bytes and has 4"):
        read_npz(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "LARGEST", 2**20)
    part = header((2**18 - 1,)) + bytes(4 * (2**18 - 1))
    path = archive(tmp_path / "a.npz", {"x.npy": part, "y.npy": part})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("it was unpacked"))
    with pytest.raises(TaskError, match="would take more than"):
        read_npz(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04 and nothing", "damaged"),
        (b"plain text", "damaged"),
    ],
)
def test_what_is_no_npz_is_refused(tmp_path, content, says):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(TaskError, match=says) as error:
        read_npz(tmp_path / "a.npz")
    assert "np.savez" in error.value.fix
    assert str(tmp_path) in error.value.where


def test_a_single_npy_array_is_no_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(TaskError, match=r"no \.npz"):
        read_npz(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "members",
    [{}, {"x.npy": b""}, {"x.npy": b"no array"}, {"x.npy": b"\x93NUMPY\x09\x00"}],
)
def test_members_that_are_no_arrays_are_refused(tmp_path, members):
    with pytest.raises(TaskError):
        read_npz(archive(tmp_path / "a.npz", members))


def test_a_truncated_or_changed_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(1000.0))
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(TaskError, match="damaged"):
        read_npz(path)
    path.write_bytes(good[:4000] + b"\xff" + good[4001:])
    with pytest.raises(TaskError, match="damaged"):
        read_npz(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TaskError, match="No such file"):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "text",
    [
        "-" * 9000 + "1",  # beyond the parser's stack
        "(" * 9000,
        "{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 0)}",
    ],
)
def test_a_header_made_to_do_harm_is_refused(tmp_path, text):
    line = text.encode() + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
    with pytest.raises(TaskError, match="damaged"):
        read_npz(archive(tmp_path / "a.npz", {"x.npy": member}))


def test_damaged_compression_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=1000))
    good = path.read_bytes()
    for place in range(60, 2000, 97):
        path.write_bytes(
            good[:place]
            + bytes(byte ^ 0xFF for byte in good[place : place + 9])
            + good[place + 9 :]
        )
        with pytest.raises(TaskError, match="damaged"):
            read_npz(path)
