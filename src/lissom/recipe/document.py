"""Recipes as YAML documents: the shipped ones by name, anyone's from a file, and their schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lissom.errors import RequestError, unknown
from lissom.recipe import catalog
from lissom.recipe.schema import Recipe
from lissom.technique import TECHNIQUES

assert catalog.__all__, "importing the catalog fills the table of techniques"

# A recipe of a hundred steps is a few kilobytes.
LARGEST = 256 * 1024
DEEPEST = 32
FIELDS = ("name", "steps")
SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """Plain data only: aliases could repeat a node without end, and recipes need none.

    Nor do they need tags, whose constructors fail in ways of their own, or dates.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed in a recipe", event)
        if event.tag is not None:
            raise _refusal("tags are not allowed in a recipe", event)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refusal("nested too deeply for a recipe", event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and SURROGATE.search(node.value):
            raise _refusal("half a character is no text", event)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refusal(why: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def shipped() -> dict[str, Recipe]:
    """The recipes that come with lissom, by name."""
    return {recipe.name: recipe for recipe in _shipped()}


def _shipped() -> Iterator[Recipe]:
    folder = resources.files("lissom.recipe").joinpath("shipped")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            yield parse(file.read_text(encoding="utf-8"), file.name)


def open_recipe(spec: str) -> Recipe:
    """The recipe of a shipped name or of a YAML file.

    Raises:
        RequestError: there is no such recipe, or it is not a valid one; says where.
    """
    path = Path(spec)
    # A folder of that name does not count: `lissom run int8 -o int8` goes on from one.
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        try:
            return shipped()[spec]
        except KeyError:
            raise unknown("recipe", spec, shipped()) from None
    try:
        if path.stat().st_size > LARGEST:
            raise RequestError(
                f"the file has {path.stat().st_size:,} bytes; a recipe has at most {LARGEST:,}",
                where=spec,
                fix="check that this is a recipe",
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RequestError(
            f"the recipe cannot be read: {reason}",
            where=spec,
            fix=f"name a YAML file, or one of {', '.join(shipped())}",
        ) from None
    return parse(text, spec)


def parse(text: str, where: str) -> Recipe:
    """A recipe from YAML text, every step's technique and settings checked.

    Raises:
        RequestError: it is not YAML, not a recipe, or a step is wrong; `where` and the step are
            named.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    # Numbers that only look like one, such as 0x_ or one of five thousand digits: ValueError.
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RequestError(
            f"the recipe is not valid YAML: {problem}", where=f"{where}{line}", fix=EXAMPLE
        ) from None
    if not isinstance(data, dict):
        raise RequestError("the recipe is not a mapping", where=where, fix=EXAMPLE)
    for name in data:
        if name not in FIELDS:
            raise unknown("key of a recipe", str(name), FIELDS)
    data.setdefault("name", Path(where).stem)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"the recipe is wrong at {place}: {first['msg']}", where=where, fix=EXAMPLE
        ) from None
    if not recipe.steps:
        raise RequestError("the recipe has no steps", where=where, fix=EXAMPLE)
    for number, step in enumerate(recipe.steps, start=1):
        try:
            step.settings()
        except RequestError as error:
            raise RequestError(
                error.what, where=f"{where}, step {number} ({step.technique})", fix=error.fix
            ) from None
    return recipe


EXAMPLE = """write it like
name: my-recipe
steps:
  - technique: graph.optimize
  - technique: quantize.static
    config: {observer: percentile}"""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors: every technique with its own settings."""
    steps = []
    definitions: dict[str, Any] = {}
    for name, entry in sorted(TECHNIQUES.items()):
        settings = entry.config.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(settings.pop("$defs", {}))
        steps.append(
            {
                "type": "object",
                "description": entry.summary,
                "properties": {"technique": {"const": name}, "config": settings},
                "required": ["technique"],
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lissom recipe",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "steps": {"type": "array", "minItems": 1, "items": {"oneOf": steps}},
        },
        "required": ["steps"],
        "additionalProperties": False,
        "$defs": definitions,
    }
