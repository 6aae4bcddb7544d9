"""The pages' templates: everything put into them is escaped and cannot steer the text around it."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

# Control characters but line ends and tabs, marks that turn the direction of what follows, and
# halves of characters, which no encoding can write. A page that names a file shows them instead.
STEERING = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(value: Any) -> Any:
    """A text with every steering character as its code: U+202E."""
    if not isinstance(value, str) or not STEERING.search(value):
        return value
    return type(value)(STEERING.sub(lambda found: f"[U+{ord(found[0]):04X}]", value))


@cache
def template(name: str) -> Template:
    """One of the package's templates."""
    environment = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _packaged(name: str) -> str:
    return resources.files("lissom.report").joinpath(name).read_text(encoding="utf-8")
