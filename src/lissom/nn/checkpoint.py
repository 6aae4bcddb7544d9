"""Checkpoints: one safetensors file with JSON in its header, written beside and renamed.

A checkpoint says which run it belongs to: a digest of each thing that decides the run's result.
It is used by that run and refused to every other. There is no pickle in it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn
from torch.optim import Optimizer

from lissom.errors import FolderError
from lissom.nn.schedule import json_part
from lissom.onnx_file import failing_as_folder_error

FILE = "checkpoint.safetensors"

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: tensors by name, the rest as JSON."""

    tensors: Tensors
    state: dict[str, Any]

    def part(self, prefix: str) -> Tensors:
        """The tensors of one part, without its name before theirs."""
        start = prefix + "."
        found = self.tensors.items()
        return {name[len(start) :]: tensor for name, tensor in found if name.startswith(start)}


def save(folder: Path, checkpoint: Checkpoint, identity: Mapping[str, str]) -> None:
    """Write the folder's checkpoint; until that is done the one before it stays.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    path = folder / FILE
    text = {"identity": json.dumps(dict(identity)), "state": json.dumps(checkpoint.state)}
    data = to_bytes(_apart(checkpoint.tensors), text)
    beside = _beside(folder)
    with failing_as_folder_error(path):
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def load(folder: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """The folder's checkpoint, None if there is none.

    Raises:
        FolderError: it belongs to another run, or is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            text = file.metadata() or {}
            of, state = json.loads(text["identity"]), json.loads(text["state"])
            _refuse_other(of, identity, folder)
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception) -> FolderError:
    """The error for a checkpoint that cannot be read as one."""
    return FolderError(
        f"the checkpoint is damaged: {str(error).partition(chr(10))[0]}",
        where=str(folder / FILE),
        fix="delete the file to start training afresh",
    )


def sweep(folder: Path) -> None:
    """Remove what killed runs have left unfinished."""
    for left in folder.glob(f".{FILE}.*"):
        with contextlib.suppress(OSError):
            left.unlink()


def tensors_of(module: nn.Module) -> Tensors:
    """The tensors of a module's state; what else it may hold is not trained."""
    state = module.state_dict().items()
    return {name: value for name, value in state if isinstance(value, torch.Tensor)}


def copied(module: nn.Module) -> Tensors:
    """A copy of them."""
    return {name: value.detach().clone() for name, value in tensors_of(module).items()}


def pack_optimizer(optimizer: Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """An optimizer's state as tensors "parameter.name", and its numbers as JSON."""
    state = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    groups = [
        json_part({name: list(v) if isinstance(v, tuple) else v for name, v in group.items()})
        for group in state["param_groups"]
    ]
    return tensors, {"numbers": numbers, "groups": groups}


def unpack_optimizer(optimizer: Optimizer, tensors: Tensors, state: Mapping[str, Any]) -> None:
    """Put a packed state into a fresh optimizer of the same kind."""
    entries: dict[int, dict[str, Any]] = {
        int(index): dict(numbers) for index, numbers in state["numbers"].items()
    }
    for place, tensor in tensors.items():
        index, name = place.split(".", 1)
        entries.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    for fresh, kept in zip(groups, state["groups"], strict=True):
        for name, value in kept.items():
            fresh[name] = tuple(value) if isinstance(fresh.get(name), tuple) else value
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _refuse_other(of: Any, identity: Mapping[str, str], folder: Path) -> None:
    found = of if isinstance(of, dict) else {}
    names = sorted(name for name in {*identity, *found} if found.get(name) != identity.get(name))
    if names:
        raise FolderError(
            f"the checkpoint in this folder belongs to another run: different {', '.join(names)}",
            where=str(folder / FILE),
            fix="delete the folder to start afresh, choose another one, or put back what changed",
        )


def _apart(tensors: Tensors) -> Tensors:
    """Contiguous tensors on the CPU, none of which shares memory with another (tied weights)."""
    seen: set[int] = set()
    apart: Tensors = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    return apart


def _beside(folder: Path) -> Path:
    return folder / f".{FILE}.{os.getpid()}"
