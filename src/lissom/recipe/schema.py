"""A recipe: ordered steps, each a technique and its settings; it round-trips through YAML."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from lissom.errors import RequestError, unknown
from lissom.technique import Config, find_technique

# Entries of a mapping that are written out in a line.
SHOWN = 3


class Step(BaseModel):
    """One technique and the settings that differ from its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    technique: str
    config: dict[str, Any] = {}

    def settings(self) -> Config:
        """The technique's validated config.

        Raises:
            RequestError: the technique or one of its settings is unknown or wrong.
        """
        found = find_technique(self.technique)
        for name in self.config:
            if name not in found.config.model_fields:
                raise unknown(f"setting of {self.technique}", name, found.config.model_fields)
        try:
            return found.config.model_validate(self.config)
        except ValidationError as error:
            first = error.errors()[0]
            setting = ".".join(str(part) for part in first["loc"])
            raise RequestError(
                f"{self.technique}: {setting} is wrong: {first['msg']}",
                where=f"the value {first['input']!r}",
                fix="`lissom techniques` shows every setting and its default",
            ) from None

    def __str__(self) -> str:
        if not self.config:
            return self.technique
        settings = ", ".join(f"{name}={_plain(value)}" for name, value in self.config.items())
        return f"{self.technique}({settings})"


class Recipe(BaseModel):
    """Steps in the order they run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    steps: tuple[Step, ...]

    def to_yaml(self) -> str:
        """The recipe as a YAML document."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        told = ", ".join(f"{name}: {_plain(held)}" for name, held in value.items())
        return f"{{{told}}}" if len(value) <= SHOWN else f"{{{len(value)} named}}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    return str(value)
