"""Which initializer of the exported graph holds which parameter, found by value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch

Transform = Literal["identity", "transpose"]


class Match(BaseModel):
    """Where a parameter went: `shape` is the parameter's; no initializer means that it was folded
    into another one or is not used by the outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    initializer: str | None
    transform: Transform | None = None
    shape: tuple[int, ...]
    reason: str | None = None


def match_parameters(module: torch.nn.Module, graph: ir.Graph) -> dict[str, Match]:
    """Every parameter's initializer, by its bytes as they are or transposed.

    Equal values (biases of zero, tied embeddings) are told apart by name where the name helps.
    """
    by_value: dict[str, list[str]] = {}
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            by_value.setdefault(_fingerprint(value.const_value.numpy()), []).append(name)
    return {
        name: _match(name, parameter.detach().cpu(), by_value)
        for name, parameter in module.named_parameters(remove_duplicate=False)
    }


def _match(name: str, parameter: torch.Tensor, by_value: dict[str, list[str]]) -> Match:
    shape = tuple(parameter.shape)
    if parameter.dtype.is_floating_point and parameter.dtype.itemsize == 2:
        # numpy has no bfloat16; float16 is compared in the same way.
        parameter = parameter.float()
    array = parameter.numpy()
    forms: list[tuple[Transform, np.ndarray]] = [("identity", array)]
    if array.ndim == 2:
        forms.append(("transpose", array.T))
    for transform, form in forms:
        found = by_value.get(_fingerprint(form))
        if found:
            return Match(initializer=_nearest(name, found), transform=transform, shape=shape)
    return Match(initializer=None, shape=shape, reason="folded or unused")


def _fingerprint(array: np.ndarray) -> str:
    if array.dtype.itemsize == 2 and array.dtype.kind in "fV":
        array = array.astype(np.float32)
    data = np.ascontiguousarray(array)
    head = f"{data.dtype} {data.shape} ".encode()
    return hashlib.sha256(head + data.tobytes()).hexdigest()


def _nearest(name: str, candidates: Iterable[str]) -> str:
    """The candidate that ends like the parameter's name; ties go to the first by name."""

    def shared(candidate: str) -> int:
        pairs = zip(reversed(name.split(".")), reversed(candidate.split(".")), strict=False)
        return sum(1 for mine, other in pairs if mine == other)

    return min(candidates, key=lambda candidate: (-shared(candidate), candidate))


def rename_initializers(graph: ir.Graph, matches: dict[str, Match]) -> dict[str, Match]:
    """Give initializers the names of their parameters, and the matches the new names.

    The exporter calls a transposed weight "val_12"; whoever reads a report wants the layer.
    """
    taken = {value.name for value in graph.inputs} | set(graph.initializers)
    taken.update(output.name for node in graph.all_nodes() for output in node.outputs)
    renamed: dict[str, str] = {}
    for name, match in matches.items():
        old = match.initializer
        if old is None or old in renamed or name in taken:
            continue
        graph.initializers[old].name = name
        renamed[old] = name
        taken.add(name)
    return {
        name: match.model_copy(
            update={"initializer": renamed.get(match.initializer or "", match.initializer)}
        )
        for name, match in matches.items()
    }
