"""Load an object from a user's Python file or module, and show their lines when it fails."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lissom.errors import LissomError

# Frames of these places are machinery between us and the user's code.
MACHINERY = ("<frozen ", "<string>", "importlib", "site-packages", "dist-packages")
# Ours, and Python's own.
FOLDERS = tuple(str(Path(file).resolve().parent) for file in (__file__, traceback.__file__))
FRAMES = 4


def split_spec(spec: str) -> tuple[str, str] | None:
    """`place:object` in two, or None where the text has not that form (a drive letter is none)."""
    place, separator, name = spec.rpartition(":")
    if not separator or not name.isidentifier() or len(place) < 2:
        return None
    if place.endswith(".py") or all(part.isidentifier() for part in place.split(".")):
        return place, name
    return None


def load_object(spec: str, *, error: type[LissomError]) -> tuple[object, Path | None]:
    """The object that `file.py:object` or `module:object` names, and the file it is from.

    Running the file runs whatever is in it: it is the user's own code, named by them.

    Raises:
        LissomError: of the class `error`: the file, module or object is not there, or running
            it failed.
    """
    split = split_spec(spec)
    if split is None:
        raise error(
            f"{spec!r} does not name an object in Python code", fix="write file.py:name_of_object"
        )
    place, name = split
    with showing_user_lines(spec, error):
        module = _run_file(Path(place), error) if place.endswith(".py") else _import(place, error)
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        raise error(
            f"{place} has no object named {name!r}",
            fix=f"it defines: {', '.join(public[-12:]) or 'nothing'}",
        )
    source = getattr(module, "__file__", None)
    return getattr(module, name), Path(source) if source else None


def _run_file(file: Path, error: type[LissomError]) -> ModuleType:
    if not file.is_file():
        raise error("there is no such Python file", where=str(file), fix="check the path")
    file = file.resolve()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise error("this file cannot be run as Python", where=str(file))
    module = importlib.util.module_from_spec(spec)
    with _search_path(str(file.parent)):
        # Registered because dataclasses look their module up, but never in place of another.
        registered = sys.modules.setdefault(file.stem, module) is module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            if registered:
                del sys.modules[file.stem]
            raise
    return module


def _import(name: str, error: type[LissomError]) -> ModuleType:
    with _search_path(""):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name is None or not (name + ".").startswith(missing.name + "."):
                raise
            raise error(
                f"there is no Python module {missing.name!r}",
                fix="run from the folder it is in, or write path/to/file.py:object",
            ) from None


@contextmanager
def _search_path(folder: str) -> Iterator[None]:
    """A script finds the modules beside it; so does a file that is named to us."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextmanager
def showing_user_lines(spec: str, error: type[LissomError]) -> Iterator[None]:
    """Turn whatever the user's code raises into an error that shows their own lines.

    Raises:
        LissomError: of the class `error`, with the trimmed traceback in `where`.
    """
    try:
        yield
    except LissomError:
        raise
    except (Exception, SystemExit) as problem:  # anything may come out of code we did not write
        reason = traceback.format_exception_only(problem)[-1].strip()
        raise error(
            f"{spec} failed: {reason}",
            where=user_lines(problem) or None,
            fix="run it in Python on its own to see the whole traceback",
        ) from problem


def user_lines(problem: BaseException) -> str:
    """The last few lines of the user's own code on the way to the problem."""
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if not frame.filename.startswith(FOLDERS)
        and not any(part in frame.filename for part in MACHINERY)
    ]
    lines = [f"{f.filename}:{f.lineno} in {f.name}: {f.line or ''}" for f in frames[-FRAMES:]]
    if isinstance(problem, SyntaxError) and problem.filename:
        lines = [f"{problem.filename}:{problem.lineno}: {(problem.text or '').strip()}"]
    return "\n".join(lines)
