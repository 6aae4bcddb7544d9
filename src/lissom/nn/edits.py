"""Structural changes of a network as plain data, replayed on a fresh original.

`edits.json` holds `{"format": 1, "edits": [...]}`. An edit of kind "keep_channels" says of one or
more axes, all of the size `of`, which positions were kept, in rising order:

    {"kind": "keep_channels", "of": 4, "kept": [0, 2, 3],
     "axes": [["conv1.weight", 0], ["bn1.weight", 0], ["conv2.weight", 1]]}

Edits apply in order, each to what the one before left. Nothing in the file is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lissom.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
Size = Annotated[int, Field(ge=1, le=2**31, strict=True)]
Position = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Axis = Annotated[int, Field(ge=0, lt=16, strict=True)]


class KeepChannels(BaseModel):
    """The positions that were kept along axes of tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["keep_channels"] = "keep_channels"
    of: Size
    kept: tuple[Position, ...] = Field(min_length=1)
    axes: tuple[tuple[str, Axis], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> KeepChannels:
        rising = all(a < b for a, b in zip(self.kept, self.kept[1:], strict=False))
        if not rising or self.kept[-1] >= self.of:
            raise ValueError(f"kept positions must rise and stay below {self.of}")
        if len(set(self.axes)) != len(self.axes):
            raise ValueError("an axis is named twice")
        return self


# More kinds will stand here; they are told apart by `kind`.
Edit = KeepChannels


class _Edits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    edits: tuple[Edit, ...]


def to_json(edits: Sequence[Edit]) -> bytes:
    """The bytes of `edits.json`; the same edits give the same bytes."""
    return _Edits(format=FORMAT, edits=tuple(edits)).model_dump_json().encode()


def from_json(data: bytes, where: str) -> tuple[Edit, ...]:
    """The edits in such bytes.

    Raises:
        ModelError: they are not edits of a known format.
    """
    try:
        return _Edits.model_validate_json(data).edits
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"edits.json is not a list of edits lissom knows: {place}: {first['msg']}",
            where=where,
            fix="use the file as lissom wrote it, or a newer lissom",
        ) from None


def replay(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """Apply edits to a fresh original, in place; the module is returned.

    Raises:
        ModelError: an edit names a tensor or a size that the module does not have.
    """
    from lissom.nn.surgery import cut, tensors_of

    for number, edit in enumerate(edits):
        tensors = tensors_of(module)
        for name, axis in edit.axes:
            tensor = tensors.get(name)
            if tensor is None:
                problem = "which the model does not have"
            elif axis >= tensor.dim() or tensor.shape[axis] != edit.of:
                problem = f"axis {axis} of size {edit.of}, where the model has {[*tensor.shape]}"
            else:
                continue
            raise ModelError(
                f"the edits do not fit this model: edit {number} changes {name!r}, {problem}",
                fix="open them with the model they were made from",
            )
        cut(module, [(name, axis, edit.kept) for name, axis in edit.axes])
    return module


def removal(places: Iterable[tuple[str, int, int]], module: nn.Module) -> tuple[Edit, ...]:
    """The edits that remove the given positions, `(tensor, axis, position)`, from a module."""
    from lissom.nn.surgery import tensors_of

    tensors = tensors_of(module)
    gone: dict[tuple[str, int], set[int]] = {}
    for name, axis, position in places:
        gone.setdefault((name, axis), set()).add(position)
    alike: dict[tuple[int, tuple[int, ...]], list[tuple[str, int]]] = {}
    for (name, axis), positions in gone.items():
        size = tensors[name].shape[axis]
        kept = tuple(place for place in range(size) if place not in positions)
        alike.setdefault((size, kept), []).append((name, axis))
    return tuple(
        KeepChannels(of=size, kept=kept, axes=tuple(axes)) for (size, kept), axes in alike.items()
    )
