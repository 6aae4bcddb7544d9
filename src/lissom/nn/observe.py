"""What single layers see and say on calibration data, read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import nn

from lissom.batches import Batches
from lissom.nn.network import TorchModel
from lissom.nn.surgery import CONVOLUTIONS

Tensor = torch.Tensor
# A module's name, and its side: "in" or "out".
Port = tuple[str, str]
# Rows that a layer is fitted on: plenty for a few thousand columns.
SAMPLES = 100_000


class _Enough(Exception):
    """Everything wanted was seen; the rest of the network need not run."""


def as_inputs(batches: Batches, model: TorchModel) -> Iterator[dict[str, Tensor]]:
    """Calibration batches as tensors under the network's input names."""
    for batch in batches.bind(list(model.example_inputs)):
        yield {name: torch.from_numpy(array) for name, array in batch.items()}


def observe(
    model: TorchModel, inputs: Mapping[str, Tensor], wanted: Set[Port]
) -> dict[Port, Tensor]:
    """Modules' first inputs ("in") and outputs ("out") in one run, which ends once all are seen."""
    seen: dict[Port, Tensor] = {}

    def see(port: Port, value: Tensor) -> None:
        # Copied, because an in-place activation may follow.
        seen[port] = value.clone()
        if len(seen) == len(wanted):
            raise _Enough

    with _hooked(model.module, wanted, see), torch.no_grad(), suppress(_Enough):
        model.run(inputs)
    return seen


@contextmanager
def _hooked(
    module: nn.Module, wanted: Set[Port], see: Callable[[Port, Tensor], None]
) -> Iterator[None]:
    handles = []
    for port in sorted(wanted):
        part = module.get_submodule(port[0])
        if port[1] == "in":
            handles.append(
                part.register_forward_pre_hook(lambda _, given, port=port: see(port, given[0]))
            )
        else:
            handles.append(
                part.register_forward_hook(lambda _, given, made, port=port: see(port, made))
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Draw:
    """Which positions of each image are looked at: enough of them, and always the same.

    Attributes:
        per_image: how many positions of one image are taken.
        generator: draws them.
    """

    per_image: int
    generator: torch.Generator

    @classmethod
    def of(cls, model: TorchModel, batches: Batches, seed: int, samples: int = SAMPLES) -> Draw:
        """So many positions per image that all images give about `samples`."""
        first = next(iter(model.example_inputs))
        images = sum(len(batch[first]) for batch in batches.bind(list(model.example_inputs)))
        return cls(max(1, -(-samples // max(images, 1))), torch.Generator().manual_seed(seed))

    def places(self, layer: nn.Module, leaving: Tensor) -> Tensor | None:
        """Positions of a convolution's output for one batch; None means all."""
        if not isinstance(layer, CONVOLUTIONS):
            return None
        count = leaving[0, 0].numel()
        if count <= self.per_image:
            return None
        return torch.randperm(count, generator=self.generator)[: self.per_image]


def columns(layer: nn.Module, entering: Tensor, places: Tensor | None = None) -> Tensor:
    """What a linear layer or a convolution multiplies: one row per sample and position.

    For a convolution, rows are (image, position) and columns (channel, kernel row, kernel
    column), as its weight flattened; `places` picks positions of the output, all without it.
    """
    if not isinstance(layer, CONVOLUTIONS):
        return entering.reshape(-1, entering.shape[-1])
    kernel, stride, dilation = (
        _two(values) for values in (layer.kernel_size, layer.stride, layer.dilation)
    )
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    amounts = list(layer._reversed_padding_repeated_twice)
    if entering.dim() == 3:
        entering, amounts = entering.unsqueeze(2), [*amounts, 0, 0]
    padded = nn.functional.pad(entering, amounts, mode=mode)
    height = (padded.shape[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    if places is None:
        places = torch.arange(height * width)
    rows = (places // width * stride[0])[:, None] + torch.arange(kernel[0]) * dilation[0]
    across = (places % width * stride[1])[:, None] + torch.arange(kernel[1]) * dilation[1]
    patches = padded[:, :, rows[:, :, None], across[:, None, :]]
    return patches.permute(0, 2, 1, 3, 4).reshape(len(entering) * len(places), -1)


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def rows(layer: nn.Module, leaving: Tensor, places: Tensor | None = None) -> Tensor:
    """A layer's output as one row per sample and position, beside `columns`."""
    if not isinstance(layer, CONVOLUTIONS):
        return leaving.reshape(-1, leaving.shape[-1])
    flat = leaving.flatten(2)
    if places is not None:
        flat = flat[:, :, places]
    return flat.permute(0, 2, 1).reshape(-1, leaving.shape[1])


def plain(layer: nn.Module) -> bool:
    """Whether the layer is y = W x + b with one W for all channels."""
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return layer.groups == 1
    return isinstance(layer, nn.Linear)
