"""A torch network between steps, and its form on disk: safetensors and edits, never pickle."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lissom.errors import ModelError
from lissom.factory import Network
from lissom.nn.edits import Edit, from_json, replay, to_json
from lissom.onnx_file import failing_as_folder_error, write_beside

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS, EDITS = "weights.safetensors", "edits.json"
# A list of kept channels is short; what is longer was not written by lissom.
LONGEST_EDITS = 64 * 2**20


@dataclass(frozen=True)
class TorchModel:
    """What a torch technique takes and returns.

    Attributes:
        module: the network, in evaluation mode between steps.
        edits: structural changes so far; `replay` makes them on a fresh original.
        example_inputs: inputs by name, in the order the module takes them.
        axes, keywords, source: what an export needs besides; see `factory.Network`.
        notes: what the user should know of the steps so far, in sentences.
    """

    module: nn.Module
    edits: tuple[Edit, ...]
    example_inputs: Mapping[str, torch.Tensor]
    axes: Mapping[str, Mapping[int, str]] | None = None
    keywords: bool = False
    source: bytes = b""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, network: Network) -> TorchModel:
        """A copy of a network without edits, in evaluation mode."""
        return cls(
            copy.deepcopy(network.module).eval(),
            (),
            network.inputs,
            network.axes,
            network.keywords,
            network.source,
        )

    @property
    def network(self) -> Network:
        """The same as what is exported."""
        return Network(self.module, self.example_inputs, self.axes, self.keywords, self.source)

    def edited(self, *edits: Edit) -> TorchModel:
        """A copy with further edits made.

        Raises:
            ModelError: they do not fit the network.
        """
        module = replay(copy.deepcopy(self.module), edits)
        return replace(self, module=module, edits=(*self.edits, *edits))

    def run(self, inputs: Mapping[str, torch.Tensor]) -> object:
        """The module's output on inputs by name."""
        if self.keywords:
            return self.module(**inputs)
        return self.module(*(inputs[name] for name in self.example_inputs))


def save_torch(model: TorchModel, folder: Path) -> None:
    """Write weights.safetensors and edits.json; the same model gives the same bytes.

    Raises:
        FolderError: the folder cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in _stored(model.module).items()
    }
    with failing_as_folder_error(folder / WEIGHTS):
        write_beside(folder / WEIGHTS, save(tensors))
        write_beside(folder / EDITS, to_json(model.edits))


def load_torch(fresh: Network, folder: Path) -> TorchModel:
    """The model that was saved in `folder`, rebuilt from its fresh original.

    Raises:
        ModelError: a file is missing or damaged, or does not belong to this network.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    model = TorchModel.of(fresh).edited(*_read_edits(folder / EDITS))
    wanted = _stored(model.module)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            _check_names(set(file.keys()), set(wanted), path)
            for name, tensor in wanted.items():
                header = file.get_slice(name)
                if tuple(header.get_shape()) != tuple(tensor.shape):
                    raise ModelError(
                        f"{name!r} has the shape {header.get_shape()}, and the model with its "
                        f"edits {[*tensor.shape]}",
                        where=str(path),
                    )
                stored = file.get_tensor(name)
                if stored.dtype != tensor.dtype:
                    raise ModelError(
                        f"{name!r} holds {stored.dtype}, and the model {tensor.dtype}",
                        where=str(path),
                    )
                tensor.copy_(stored)
    except FileNotFoundError:
        raise ModelError(f"{WEIGHTS} is not there", where=str(folder)) from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{WEIGHTS} cannot be read: {error}", where=str(folder)) from error
    return model


def _read_edits(path: Path) -> tuple[Edit, ...]:
    try:
        if path.stat().st_size > LONGEST_EDITS:
            raise ModelError(f"{EDITS} is longer than any lissom writes", where=str(path))
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(
            f"{EDITS} cannot be read: {error.strerror}", where=str(path.parent)
        ) from None


def _check_names(found: set[str], wanted: set[str], path: Path) -> None:
    if found == wanted:
        return
    missing, more = sorted(wanted - found), sorted(found - wanted)
    differ = (
        f"it lacks {missing[0]!r}" if missing else f"it holds {more[0]!r}, which the model does not"
    )
    raise ModelError(f"{path.name} does not belong to this model: {differ}", where=str(path))


def _stored(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state by name, in order of name, and tied tensors once, under the first of theirs.

    What a module keeps besides tensors (extra state) is as the fresh original has it.
    """
    import torch

    stored: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, int, tuple[int, ...], tuple[int, ...]]] = set()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        start = int(tensor.storage_offset())
        place = (tensor.data_ptr(), start, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        stored[name] = tensor
    return stored
