"""Paths of the files in an archive: relative, and none that could lead out of a folder."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_PART, LONGEST = 255, 4096
# Separators and drives of other systems; the rest a shell or a terminal would trip over.
REFUSED = frozenset('\\:*?"<>|') | frozenset(map(chr, range(32))) | {"\x7f"}


def why_not_portable(path: str) -> str:
    """Why a path may not stand in an archive, in words; "" if it may."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    parts = path.split("/")
    if not path or length > LONGEST:
        return "it is empty or too long"
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return f"{path!r} is no plain path inside a folder"
    if any(len(part.encode()) > LONGEST_PART for part in parts):
        return "a part of it is too long"
    if REFUSED & set(path):
        return f"{path!r} has a character that some system does not take"
    return ""


def first_clash(paths: Iterable[str]) -> str | None:
    """A path that is there twice, or is also a folder of another; None if there is none."""
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        if path in files:
            return path
        files.add(path)
        at = path.find("/")
        while at >= 0:
            folders.add(path[:at])
            at = path.find("/", at + 1)
    return min(files & folders, default=None)
