"""The networks to learn from: the original, and others that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lissom.factory import digest_of, from_module, from_spec
from lissom.nn.calls import Call


@dataclass(frozen=True)
class Teacher:
    """A network to learn from: how it is called, and its share of the teaching."""

    module: nn.Module
    call: Call
    weight: float = 1.0
    name: str = "the original"

    def digest(self) -> str:
        """Sha256 over its weights and its code."""
        return digest_of(from_module(self.module, torch.zeros(1))())


def named_teachers(specs: Sequence[str], student: Call) -> list[Teacher]:
    """The networks that `file.py:factory` specs name.

    One that takes its inputs by position gets those of the student, in its order.

    Raises:
        ModelError: a spec names no network.
    """
    teachers = []
    for spec in specs:
        network = from_spec(spec)()
        alike = not network.keywords and len(network.inputs) == len(student.names)
        names = student.names if alike else tuple(network.inputs)
        teachers.append(Teacher(network.module, Call(names, network.keywords), name=spec))
    return teachers
