"""The store: results whole or absent, found again by key, shared by runs, full disks survived."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from lissom.errors import FolderError, ModelError
from lissom.recipe.store import Store, digest


class Note(BaseModel):
    text: str


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def unfinished(store: Store) -> list[str]:
    return [path.name for path in store.folder.glob("unfinished-*")]


def test_a_step_is_built_once_and_found_by_a_later_run(store: Store) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "x").write_text("whole")

    assert not store.has_step("k")
    first = store.step("k", build)
    again = Store(store.folder).step("k", build)
    assert first == again
    assert (again / "x").read_text() == "whole"
    assert len(built) == 1
    assert built[0] != first
    assert store.has_step("k")
    assert unfinished(store) == []


@pytest.mark.parametrize("failure", [ModelError("no"), KeyboardInterrupt()])
def test_a_failure_is_not_stored(store: Store, failure: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "x").write_text("half")
        raise failure

    with pytest.raises(type(failure)):
        store.step("k", fail)
    assert not store.has_step("k")
    assert unfinished(store) == []


def test_whoever_finishes_second_keeps_the_first_result(store: Store) -> None:
    def slow(folder: Path) -> None:
        (folder / "x").write_text("second")
        store.step("k", lambda quick: (quick / "x").write_text("first") and None)

    assert (store.step("k", slow) / "x").read_text() == "first"
    assert unfinished(store) == []


def test_a_record_is_made_once_and_a_damaged_one_anew(store: Store) -> None:
    made = []

    def make() -> Note:
        made.append(1)
        return Note(text=f"number {len(made)}")

    assert store.record("k", Note, make).text == "number 1"
    assert store.record("k", Note, make).text == "number 1"
    for damage in (b"", b'{"text": "cut sh', b"\xff\xfe", b'{"other": 1}'):
        (store.records / "k.json").write_bytes(damage)
        before = len(made)
        assert store.record("k", Note, make).text == f"number {before + 1}"
        assert store.record("k", Note, make).text == f"number {before + 1}"


def test_a_full_disk_while_building_says_so_and_a_rerun_goes_on(store: Store) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.step("done", lambda folder: None)
    with pytest.raises(FolderError, match="No space left on device") as caught:
        store.step("k", full)
    assert "the same command then goes on" in str(caught.value.fix)
    assert unfinished(store) == []
    assert store.step("k", lambda folder: (folder / "x").write_text("y") and None).is_dir()
    assert store.has_step("done")


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 kB, where this process may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("mounting is not permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "big").write_bytes(bytes(400_000))

    with tiny_disk(tmp_path / "disk") as disk:
        store = Store(disk / "store")
        with pytest.raises(FolderError, match="No space left on device"):
            store.step("k", build)
        assert unfinished(store) == []
        assert not store.has_step("k")
        store.step("small", lambda folder: (folder / "x").write_text("y") and None)
        assert store.has_step("small")


def test_a_store_that_cannot_be_made_is_a_folder_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError, match="cannot write: Not a directory") as caught:
        Store(tmp_path / "file" / "store")
    assert "choose a folder that you may write to" in str(caught.value.fix)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_file_system_that_takes_no_files_is_a_folder_error() -> None:
    with pytest.raises(FolderError, match="cannot write"):
        Store(Path("/proc/lissom"))


def test_leftovers_of_a_killed_run_are_swept_by_the_next(store: Store) -> None:
    kill = (
        "import os, signal, sys; from pathlib import Path; from lissom.recipe.store import Store\n"
        "def build(folder):\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.alone(lambda: None): store.step('k', build)\n"
    )
    done = subprocess.run([sys.executable, "-c", kill, str(store.folder)], check=False)
    assert done.returncode == -9
    assert len(unfinished(store)) == 1
    assert not store.has_step("k")
    with store.alone(lambda: pytest.fail("a dead run holds the store")):
        assert unfinished(store) == []


def test_the_second_run_waits_for_the_first(store: Store) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with Store(store.folder).alone(waits.set):
            order.append("second")

    with store.alone(lambda: pytest.fail("nobody else is here")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_digest_depends_on_every_fact_and_on_no_order() -> None:
    one = digest(a={"x": 1, "y": [1, 2]}, b="2")
    assert one == digest(b="2", a={"y": [1, 2], "x": 1})
    others = [digest(a={"x": 1, "y": [2, 1]}, b="2"), digest(a={"x": 1, "y": [1, 2]}, b=2)]
    assert len({one, *others}) == 3
    with pytest.raises(TypeError):
        digest(a={1, 2})
