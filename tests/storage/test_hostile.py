"""Archives that lie: every one is an error that names the entry, and nothing is written."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import lissom
from lissom.errors import FormatError
from lissom.storage import codec, frames, manifest_bytes, second_reader
from lissom.storage.archive import Archive
from lissom.storage.bits import varint
from lissom.storage.frames import FRAME
from lissom.storage.limits import LARGEST_BLOB, Limits
from lissom.storage.manifest import Blob, File, Manifest, Range, Tensor
from lissom.storage.pack import pack
from lissom.storage.stream import Stream
from lissom.storage.unpack import unpack
from tests.storage import fuzz
from tests.storage.archives import assembled, blob, file, framed, one_file, resealed, write

CONTENT = b"weights!" * 100
TENSOR = Tensor(0, "layer.weight", "U8", (800,), 0, 800)


def refused(data: bytes, folder: Path, match: str, limits: Limits | None = None) -> None:
    """All ways of opening an archive refuse it, in these words, and leave nothing behind."""
    path = write(folder / "a.lsm", data)
    before = sorted(os.listdir(folder))
    with pytest.raises(FormatError, match=match):
        unpack(path, folder / "out", limits=limits)
    if limits is None:
        with pytest.raises(second_reader.ArchiveError):
            second_reader.read_archive(data)
    assert sorted(os.listdir(folder)) == before


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An honest archive of two files with three tensors."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "m").mkdir()
    rng = np.random.default_rng(0)
    arrays = {"w": rng.integers(-9, 9, (16, 64)).astype(np.int8), "b": np.ones(3, np.float32)}
    safetensors.numpy.save_file(arrays, folder / "m" / "w.safetensors")
    (folder / "m" / "config.json").write_text("{}")
    return pack(folder / "m", folder / "m.lsm").path.read_bytes()


def test_an_archive_cut_short_anywhere_is_refused(small: bytes) -> None:
    for length in range(0, len(small), 3):
        with pytest.raises(FormatError, match="cut short|no lissom archive"):
            list(Stream(io.BytesIO(small[:length]), "x", Limits()).contents(threads=1))


def test_an_archive_with_any_byte_changed_is_refused(small: bytes, tmp_path: Path) -> None:
    for at in range(0, len(small), 7):
        changed = bytearray(small)
        changed[at] ^= 1 << at % 8
        with pytest.raises(FormatError):
            list(Stream(io.BytesIO(bytes(changed)), "x", Limits()).contents(threads=1))
    changed = bytearray(small)
    changed[-100] ^= 4
    refused(bytes(changed), tmp_path, "damaged")


def test_a_damaged_tensor_is_named_and_the_others_can_be_read(small: bytes, tmp_path: Path) -> None:
    with Archive(write(tmp_path / "m.lsm", small)) as opened:
        weight = opened.manifest.tensor("w")
        (where,) = opened.manifest.slices(weight.file, weight.offset, weight.length)
        at = opened._starts[where.blob + 1] - 5
    changed = bytearray(small)
    changed[at] ^= 0x10
    with Archive(write(tmp_path / "m.lsm", bytes(changed))) as opened:
        assert opened.tensor(opened.manifest.tensor("b")) == np.ones(3, np.float32).tobytes()
        with pytest.raises(FormatError, match="tensor 'w' of w.safetensors is damaged"):
            opened.tensor(weight)
    refused(resealed(bytes(changed)), tmp_path, "tensor 'w' of w.safetensors is damaged")


def test_another_version_says_what_to_do(small: bytes, tmp_path: Path) -> None:
    data = small[:8] + (2).to_bytes(4, "little") + small[12:]
    path = write(tmp_path / "a.lsm", data)
    with pytest.raises(FormatError, match="format 2, and this lissom reads format 1") as error:
        unpack(path, tmp_path / "out")
    assert error.value.fix == "use a newer lissom"


def test_a_coding_of_a_newer_lissom_says_what_to_do(small: bytes, tmp_path: Path) -> None:
    with Archive(write(tmp_path / "a.lsm", small)) as opened:
        (weight,) = [t for t in opened.manifest.tensors if t.name == "w"]
        (where,) = opened.manifest.slices(weight.file, weight.offset, weight.length)
        start = opened._starts[where.blob]
    tag = start + 8 + int.from_bytes(small[start : start + 4], "little")
    newer = bytearray(small)
    newer[tag] = 77
    told = pytest.raises(FormatError, match=r"'w' of w.* coding 77.* newer lissom")
    with Archive(write(tmp_path / "a.lsm", bytes(newer))) as opened, told as error:
        opened.tensor(weight)
    assert "use a newer lissom" in (error.value.fix or "")


def test_bytes_after_the_end_are_refused(small: bytes, tmp_path: Path) -> None:
    refused(small + b"\0", tmp_path, "goes on after its end")
    with pytest.raises(FormatError, match="after its end"):
        Archive(write(tmp_path / "a.lsm", small + b"\0"))


@pytest.mark.parametrize(
    "path",
    ["../up", "/etc/passwd", "a/../../up", "a//b", "./a", "a/", "", "C:\\x", "a\\..\\b", "a\nb",
     "a/\x00", "x" * 256, "a/" * 2100 + "b"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    honest = one_file(CONTENT)
    escaping = Manifest("m", False, honest.blobs, (file(path, CONTENT),), ())
    refused(assembled(escaping, [framed(CONTENT)]), tmp_path, "a file's path is refused")
    renamed = Manifest(path, True, honest.blobs, (file(path, CONTENT),), ())
    refused(assembled(renamed, [framed(CONTENT)]), tmp_path, "path is refused")


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b")])
def test_a_path_that_is_there_twice_is_refused(paths: tuple[str, str], tmp_path: Path) -> None:
    files = tuple(file(path, CONTENT) for path in paths)
    twice = Manifest("m", False, (blob(CONTENT),), files, ())
    refused(assembled(twice, [framed(CONTENT)]), tmp_path, "'a(/b)?' is there twice")


def lying(**changes: object) -> Manifest:
    honest = one_file(CONTENT, TENSOR)
    return Manifest(**{**{name: getattr(honest, name) for name in vars(honest)}, **changes})


FILE = file("w.bin", CONTENT)
BLOB = blob(CONTENT)
LIES = {
    "a blob that is not there": (
        lying(files=(file("w.bin", CONTENT, Range(1, 0, 800)),)), "w.bin names blob 1"),
    "bytes a blob does not have": (
        lying(files=(file("w.bin", CONTENT, Range(0, 1, 800)),)), "w.bin names bytes that blob 0"),
    "an empty range": (
        lying(files=(file("w.bin", CONTENT, Range(0, 0, 800), Range(0, 5, 0)),)), "w.bin names"),
    "a file larger than its ranges": (
        lying(files=(File("w.bin", "bytes", 900, bytes(32), FILE.ranges),)), "ranges of w.bin"),
    "a blob of no file": (lying(blobs=(BLOB, blob(b"x"))), "blob 1 belongs to no file"),
    "a blob over the limit": (
        lying(blobs=(Blob(LARGEST_BLOB + 1, 0),)), "blob 0 has 67,108,865 bytes"),
    "an empty blob": (
        lying(blobs=(Blob(0, 0),), files=(File("w.bin", "bytes", 0, bytes(32), ()),), tensors=()),
        "belongs to no file"),
    "blobs that are mostly unused": (
        lying(blobs=(Blob(1 << 20, 0),)), "hold more bytes than its files"),
    "no files": (lying(files=(), tensors=(), blobs=()), "holds no file"),
    "one file that is two": (
        lying(files=(FILE, file("x", CONTENT))), "says it is one file, and holds others"),
    "a tensor that leaves its file": (
        lying(tensors=(Tensor(0, "w", "U8", (1,), 799, 2),)), "tensor 'w' of w.bin leaves its"),
    "a tensor of no file": (
        lying(tensors=(Tensor(7, "w", "U8", (1,), 0, 1),)), "tensor 'w' is of a file that is not"),
    "tensors that overlap": (
        lying(tensors=(TENSOR, Tensor(0, "w", "U8", (1,), 4, 8))), "'w' of w.bin overlaps"),
    "a tensor twice": (lying(tensors=(TENSOR, TENSOR)), "'layer.weight' of w.bin is there twice"),
    "tensors out of order": (
        lying(tensors=(Tensor(0, "v", "U8", (1,), 4, 8), Tensor(0, "w", "U8", (1,), 0, 4))),
        "'w' of w.bin"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_is_refused(lie: str, tmp_path: Path) -> None:
    manifest, match = LIES[lie]
    refused(assembled(manifest, [framed(CONTENT)]), tmp_path, match)


def test_a_tensor_of_no_bytes_overlaps_nothing(tmp_path: Path) -> None:
    inside = one_file(CONTENT, TENSOR, Tensor(0, "none", "U8", (0,), 400, 0))
    path = write(tmp_path / "a.lsm", assembled(inside, [framed(CONTENT)]))
    assert unpack(path, tmp_path / "out").path.read_bytes() == CONTENT
    assert second_reader.read_archive(path.read_bytes()).files == {"w.bin": CONTENT}


def test_tied_tensors_are_no_overlap(tmp_path: Path) -> None:
    tied = one_file(CONTENT, Tensor(0, "a", "U8", (800,), 0, 800), TENSOR)
    path = write(tmp_path / "a.lsm", assembled(tied, [framed(CONTENT)]))
    assert unpack(path, tmp_path / "out").path.read_bytes() == CONTENT


def test_more_than_the_limit_is_refused_and_the_limit_is_a_setting(tmp_path: Path) -> None:
    data = assembled(one_file(CONTENT), [framed(CONTENT)])
    refused(data, tmp_path, "says it holds 800 bytes, and the limit is 799", Limits(content=799))
    unpack(write(tmp_path / "a.lsm", data), tmp_path / "out", limits=Limits(content=800))


def test_a_total_that_lies_is_refused(tmp_path: Path) -> None:
    data = assembled(one_file(CONTENT), [framed(CONTENT)], content=700)
    refused(data, tmp_path, "says it holds 700 bytes, and its files have 800")


@pytest.mark.parametrize("part", ["blobs", "files", "ranges", "tensors"])
def test_an_enormous_count_is_refused_before_it_is_believed(part: str, tmp_path: Path) -> None:
    honest = manifest_bytes.to_bytes(one_file(CONTENT))
    huge = varint((1 << 61) + 1)
    at = {
        "blobs": honest.index(b"w.bin") + 5, "files": honest.index(b"w.bin") + 5 + 1 + 6,
        "ranges": len(honest) - 6, "tensors": len(honest) - 1,
    }[part]  # fmt: skip
    assert honest[at] in (0, 1)
    data = assembled(honest[:at] + huge + honest[at + 1 :], [framed(CONTENT)], content=800)
    refused(data, tmp_path, "says 2,305,843,009,213,693,953 entries")


def test_more_entries_than_the_limit_are_refused(tmp_path: Path) -> None:
    tensors = tuple(Tensor(0, str(n), "U8", (0,), 0, 0) for n in range(100))
    data = assembled(one_file(CONTENT, *tensors), [framed(CONTENT)])
    refused(data, tmp_path, "3 entries more than the limit", Limits(entries=100))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m + b"\0", "goes on after its end"),
        (lambda m: m[:-1], "ends too soon"),
        (lambda m: b"\x02" + m[1:], "neither one file nor several"),
        (lambda m: m[:1] + b"\x85\x00" + m[2:], "longer than it needs to be"),
        (lambda m: m[:1] + b"\xff" * 9 + b"\x01" + m[2:], "too large"),
        (lambda m: m.replace(b"w.bin", b"w.\xffin"), "not UTF-8"),
    ],
)
def test_a_manifest_that_is_spelled_otherwise_is_refused(
    change, match: str, tmp_path: Path
) -> None:
    data = change(manifest_bytes.to_bytes(one_file(CONTENT)))
    refused(assembled(data, [framed(CONTENT)], content=800), tmp_path, match)


def test_frames_that_lie_are_refused_by_name(tmp_path: Path) -> None:
    manifest, honest = one_file(CONTENT, TENSOR), framed(CONTENT)
    named = "tensor 'layer.weight' of w.bin"
    huge = FRAME.pack(10, 2**32 - 11) + honest[FRAME.size :]
    refused(assembled(manifest, [huge]), tmp_path, f"{named} is damaged: it says 4,294,967,295")
    refused(assembled(manifest, [framed(b"other" * 160)]), tmp_path, f"{named}.*checksum is wrong")
    refused(assembled(manifest, [framed(b"short")]), tmp_path, f"{named} is damaged")
    refused(assembled(manifest, [honest], lengths=[len(honest) + 1]), tmp_path, "its trailer")
    for lengths in ([len(honest) + 1], [0]):
        path = write(tmp_path / "a.lsm", assembled(manifest, [honest], lengths=lengths))
        with pytest.raises(FormatError, match="lengths in its trailer"):
            Archive(path)


def test_a_file_with_another_checksum_is_refused_by_name(tmp_path: Path) -> None:
    other = File("w.bin", "bytes", 800, bytes(32), FILE.ranges)
    manifest = Manifest("w.bin", True, (BLOB,), (other,), ())
    refused(assembled(manifest, [framed(CONTENT)]), tmp_path, "the checksum of w.bin is wrong")


BOMB = """
import resource, sys
from lissom.errors import FormatError
from lissom.storage.unpack import unpack
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
try:
    unpack(sys.argv[1], sys.argv[2])
except FormatError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("kind", ["manifest", "blob"])
def test_a_bomb_is_refused_within_little_memory(kind: str, tmp_path: Path) -> None:
    """A few bytes that say they are gigabytes, in a process that has 1.5 GB of addresses."""
    if kind == "manifest":
        header = frames.Header(0, LARGEST_BLOB, 1 << 40).to_bytes()
        data = header + FRAME.pack(4, 4) + bytes(8)
    else:
        count = 1000
        size = LARGEST_BLOB * count
        entry = File(
            "w", "bytes", size, bytes(32), tuple(Range(0, 0, LARGEST_BLOB) for _ in range(count))
        )
        coded = codec.encode(memoryview(bytes(LARGEST_BLOB)), "U8", (LARGEST_BLOB,))
        frame = FRAME.pack(len(coded.coding), len(coded.payload)) + coded.coding + coded.payload
        assert len(frame) < 1000
        data = assembled(Manifest("w", True, (Blob(LARGEST_BLOB, 1),), (entry,), ()), [frame])
    path = write(tmp_path / "bomb.lsm", data)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, path, tmp_path / "out", str(3 << 29)],
        capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(lissom.__file__).parents[1]),
                          "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "refused:" in done.stdout, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["bomb.lsm"]


@given(st.data())
def test_a_manifest_changed_at_random_never_does_more_than_fail(data: st.DataObject) -> None:
    entries = bytearray(manifest_bytes.to_bytes(one_file(CONTENT, TENSOR)))
    for _ in range(data.draw(st.integers(1, 3))):
        entries[data.draw(st.integers(0, len(entries) - 1))] = data.draw(st.integers(0, 255))
    fuzz.read(assembled(bytes(entries), [framed(CONTENT)], content=800))


@given(st.data())
@settings(max_examples=30)
def test_a_frame_changed_at_random_never_gives_other_bytes(data: st.DataObject) -> None:
    content = np.random.default_rng(0).integers(-9, 9, 3000).astype(np.int8).tobytes()
    frame = bytearray(framed(content))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    found = fuzz.read(assembled(one_file(content), [bytes(frame)]))
    assert found is None or found.files[0].sha256 == one_file(content).files[0].sha256


def test_unpacking_never_follows_a_link_that_waits_there(tmp_path: Path) -> None:
    inside = Manifest("m", False, (BLOB,), (file("sub/w.bin", CONTENT),), ())
    path = write(tmp_path / "a.lsm", assembled(inside, [framed(CONTENT)]))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(lissom.LissomError, match="something already"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())
