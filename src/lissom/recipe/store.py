"""Results kept by the digest of everything that can change them, so that a killed run goes on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from lissom.errors import FolderError

R = TypeVar("R", bound=BaseModel)


class Store:
    """A folder of finished results: `steps/KEY/` holds files, `records/KEY.json` one record.

    Results are written beside and renamed into place, so what has its final name is whole. Two
    runs may share a store: whoever finishes second finds the first one's result and keeps it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps = folder / "steps"
        self.records = folder / "records"
        try:
            self.steps.mkdir(parents=True, exist_ok=True)
            self.records.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from None

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the store for one run; call `waiting` once if another run has it."""
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def step(self, key: str, build: Callable[[Path], None]) -> Path:
        """The folder of a step's files; `build(folder)` writes them if no run has yet.

        Raises:
            FolderError: the disk is full or the folder is not writable.
        """
        final = self.steps / key
        if final.is_dir():
            return final
        with self._unfinished() as part:
            build(part)
            try:
                os.replace(part, final)
            except OSError as error:
                # A folder that is there and not empty: another run was faster, with the same.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        return final

    def has_step(self, key: str) -> bool:
        """Whether a step's files are there."""
        return (self.steps / key).is_dir()

    def record(self, key: str, kind: type[R], make: Callable[[], R]) -> R:
        """The record of that key, made and kept if it is not there; a damaged one is made anew."""
        found = self.find(key, kind)
        if found is not None:
            return found
        made = make()
        with self._unfinished() as part:
            (part / "record").write_text(made.model_dump_json(), encoding="utf-8")
            os.replace(part / "record", self.records / f"{key}.json")
        return made

    def find(self, key: str, kind: type[R]) -> R | None:
        """The record of that key, None if it is not there or damaged."""
        with contextlib.suppress(OSError, ValidationError):
            return kind.model_validate_json((self.records / f"{key}.json").read_bytes())
        return None

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[Path]:
        try:
            part = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self.folder))
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        try:
            yield part
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        except FolderError as error:
            # Of the unfinished folder, which is gone when the message is read.
            if not isinstance(error.__cause__, OSError):
                raise
            raise _unwritable(self.folder, error.__cause__) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _sweep(self) -> None:
        for left in self.folder.glob("unfinished-*"):
            shutil.rmtree(left, ignore_errors=True)


def digest(**facts: Any) -> str:
    """The digest of named facts, each a string, number, list or mapping of such."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _unwritable(folder: Path, error: OSError) -> FolderError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return FolderError(
        f"cannot write: {error.strerror or error}",
        where=str(folder),
        fix="free some space; the same command then goes on from the finished steps"
        if full
        else "choose a folder that you may write to",
    )
