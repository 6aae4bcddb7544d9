"""Results of several runtimes, taken apart: what one of them says of every file."""

from __future__ import annotations

from lissom.report.results import Results, Row


def runtimes(results: Results) -> tuple[str, ...]:
    """The names of the runtimes that the files were measured in."""
    return tuple(each.runtime for each in results.original.measurement.everywhere)


def in_runtime(results: Results, place: int) -> Results:
    """The record as if that runtime alone had been asked for.

    What is said of a file in all runtimes alike stands with the first.
    """
    names = runtimes(results)
    if len(names) == 1:
        return results
    return results.model_copy(
        update={
            "original": _row(results.original, names, place),
            "rows": tuple(_row(row, names, place) for row in results.rows),
        }
    )


def _row(row: Row, names: tuple[str, ...], place: int) -> Row:
    one = row.measurement.everywhere[place].model_copy(update={"elsewhere": ()})
    return row.model_copy(
        update={
            "measurement": one,
            "flags": row.flags if place == 0 else (),
            "misses": _said(row.misses, names, place),
            "unproven": _said(row.unproven, names, place),
        }
    )


def _said(words: tuple[str, ...], names: tuple[str, ...], place: int) -> tuple[str, ...]:
    """What is told of this runtime, without its name."""
    own = f" ({names[place]})"
    others = tuple(f" ({name})" for name in names)
    return tuple(
        each.removesuffix(own)
        for each in words
        if each.endswith(own) or (place == 0 and not each.endswith(others))
    )
