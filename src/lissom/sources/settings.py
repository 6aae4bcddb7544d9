"""Settings behind a task's file: `images:FOLDER,size=224,mean=0.5/0.5/0.5`.

Commas and slashes, because a shell leaves them alone; `?` and `&` it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lissom.errors import TaskError, unknown

SETTING = re.compile(r"^(?P<name>[a-z_]+)=(?P<value>.*)$")
SIZE = re.compile(r"^(\d{1,6})(?:x(\d{1,6}))?$")


def split_settings(rest: str, known: Iterable[str]) -> tuple[Path, dict[str, str]]:
    """The file, and the settings behind it; a path that exists as written has none.

    Raises:
        TaskError: a setting is given twice, or without a value.
        RequestError: no setting has that name; the nearest one is offered.
    """
    if "," not in rest or Path(rest).exists():
        return Path(rest), {}
    parts = rest.split(",")
    settings: dict[str, str] = {}
    while len(parts) > 1 and (match := SETTING.match(parts[-1].strip())):
        parts.pop()
        name, value = match["name"], match["value"].strip()
        if name not in known:
            raise unknown("setting", name, known)
        if name in settings or not value:
            wrong = "is given twice" if value else "has no value"
            raise TaskError(f"the setting {name!r} {wrong}", where=rest, fix=f"write {name}=VALUE")
        settings[name] = value
    return Path(",".join(parts)), dict(reversed(settings.items()))  # as typed


def whole_number(settings: Mapping[str, str], name: str) -> int | None:
    """A positive whole number, None where the setting is not given.

    Raises:
        TaskError: it is no such number.
    """
    text = settings.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise TaskError(f"{name}={text} is no whole number from 1 on", fix=f"write {name}=8")
    return int(text)


def numbers(settings: Mapping[str, str], name: str) -> tuple[float, ...] | None:
    """Numbers between slashes, one for each channel; None where the setting is not given.

    Raises:
        TaskError: one of them is no number.
    """
    text = settings.get(name)
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split("/"))
    except ValueError:
        raise TaskError(
            f"{name}={text} is not one number for each channel",
            fix=f"write {name}=0.485/0.456/0.406, or {name}=0.5 for all channels",
        ) from None


def sizes(settings: Mapping[str, str], name: str) -> int | tuple[int, int] | None:
    """One size, or height x width; None where the setting is not given.

    Raises:
        TaskError: it is no size.
    """
    text = settings.get(name)
    if text is None:
        return None
    match = SIZE.match(text)
    if match is None or "0" in (match[1].lstrip("0") or "0", (match[2] or "1").lstrip("0") or "0"):
        raise TaskError(
            f"{name}={text} is no size", fix=f"write {name}=224, or height first: {name}=224x320"
        )
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def one_of(settings: Mapping[str, str], name: str, choices: Iterable[str]) -> str | None:
    """The choice as it is spelled in `choices`, whatever its case; None where it is not given.

    Raises:
        TaskError: it is none of them.
    """
    text = settings.get(name)
    if text is None:
        return None
    for choice in choices:
        if choice.lower() == text.lower():
            return choice
    raise TaskError(f"{name}={text} is not known", fix=f"one of: {', '.join(choices)}")
