"""Read text files: one text per line, or columns between tabs under a header."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError

TEXTS = ("sentence", "label")
PAIRS = ("score", "sentence1", "sentence2")


def read_texts(path: Path) -> tuple[list[str], Array | None]:
    """Texts, and their labels (integers or floats) if the file is a table sentence<TAB>label.

    Raises:
        TaskError: the file cannot be read, or a line is not as the header says.
    """
    lines = _lines(path)
    if "\t" not in lines[0] and lines[0].strip() != "sentence":
        texts = [line for line in lines if line.strip()]
        if not texts:
            raise _empty(path)
        return texts, None
    columns = _columns(lines, TEXTS, path, "a file of one text per line has no tab in its first")
    return columns["sentence"], _labels(columns["label"], path)


def read_pairs(path: Path) -> tuple[list[str], list[str], Array]:
    """First sentences, second sentences and scores of a table score<TAB>sentence1<TAB>sentence2.

    Raises:
        TaskError: the file cannot be read, or a line is not as the header says.
    """
    columns = _columns(_lines(path), PAIRS, path)
    scores = _numbers(columns["score"], "score", path)
    return columns["sentence1"], columns["sentence2"], scores


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TaskError(
            f"cannot read the file: {error.strerror}", where=str(path), fix="check the path"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TaskError(
            f"line {line} is not UTF-8 text",
            where=str(path),
            fix=f"save it as UTF-8: iconv -f LATIN1 -t UTF-8 {path.name}",
        ) from None
    # Not splitlines(): it also splits at characters that may stand inside a sentence.
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise _empty(path)
    return lines


def _columns(
    lines: list[str], wanted: tuple[str, ...], path: Path, otherwise: str = ""
) -> dict[str, list[str]]:
    header = lines[0].split("\t")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise TaskError(
            f"the header lacks the column {missing[0]!r}; it has: {', '.join(header)[:120]}",
            where=f"{path}, line 1",
            fix=f"the first line must be {'<TAB>'.join(wanted)}"
            + (f"; {otherwise} line" if otherwise else ""),
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        row = line.split("\t")
        if len(row) != len(header):
            raise TaskError(
                f"the line has {len(row)} column{'s' * (len(row) != 1)}, the header {len(header)}",
                where=f"{path}, line {number}",
                fix="separate columns by one tab each, and write no tab inside a sentence",
            )
        rows.append(row)
    if not rows:
        raise _empty(path, " below its header")
    places = [header.index(name) for name in wanted]
    return {name: [row[at] for row in rows] for name, at in zip(wanted, places, strict=True)}


def _labels(column: list[str], path: Path) -> Array:
    if all(label.strip().removeprefix("-").isdecimal() for label in column):
        return _integers(column, path)
    return _numbers(column, "label", path)


def _integers(column: Iterable[str], path: Path) -> Array:
    try:
        return np.array([int(label) for label in column], dtype=np.int64)
    except (OverflowError, ValueError):  # beyond 64 bits, beyond what int() reads
        raise TaskError("a label is too large to be a class", where=str(path)) from None


def _numbers(column: list[str], name: str, path: Path) -> Array:
    numbers = []
    for line, text in enumerate(column, start=2):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise TaskError(
                f"the {name} {text!r} is not a number",
                where=f"{path}, line {line}",
                fix="number the classes from 0, in the order of the model's output"
                if name == "label"
                else None,
            )
        numbers.append(number)
    return np.array(numbers, dtype=np.float64)


def _empty(path: Path, place: str = "") -> TaskError:
    return TaskError(f"the file has no text{place}", where=str(path))
