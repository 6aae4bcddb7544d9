"""Solves what is left of each layer again, one after another, so that the network says what it did.

For each layer in the order it runs: its inputs are those of the pruned network with all layers
before it corrected, its target is what the layer gave in the original. So the errors of earlier
layers are made up for too, those that come by a shortcut included (He et al. 2017, sections 3.2
and 3.3). One layer's sums are held at a time, those of every fourth sample apart, on which the fit
has to prove itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from lissom.batches import Batches
from lissom.labelled import batch_rows
from lissom.nn.coupling import Coupling, Layer, module_of
from lissom.nn.edits import Edit
from lissom.nn.network import TorchModel
from lissom.nn.observe import Draw, as_inputs, columns, observe, plain, rows
from lissom.nn.surgery import CONVOLUTIONS, tensors_of
from lissom.prune.readers import WIDEST
from lissom.prune.reconstruct import Moments, best_fit
from lissom.technique import Track, silent

Tensor = torch.Tensor
# Every so many samples one is held out.
HELD_OUT = 4


def correct(
    pruned: TorchModel,
    original: TorchModel,
    coupling: Coupling,
    calibration: Batches,
    *,
    edits: tuple[Edit, ...],
    seed: int,
    track: Track = silent,
) -> tuple[TorchModel, tuple[str, ...]]:
    """The pruned network, fitted to the original on calibration data, and what could not be.

    `coupling` and `edits` are what was found in `original` and what made `pruned` from it. Weights
    change, biases, and where a layer has none the running means of the batch norm behind it.
    Layers that were left as they are come as sentences with their reasons.
    """
    pruned = replace(pruned, module=copy.deepcopy(pruned.module))
    kept = {axis: edit.kept for edit in edits for axis in edit.axes}
    fit = _Fit(pruned, original, kept, calibration, seed)
    todo = list(_changed(coupling, kept))
    tensors = tensors_of(pruned.module)
    left = []
    for layer in track(todo, "correct layers", len(todo)):
        reason = _obstacle(layer, coupling, pruned.module, tensors) or fit.layer(layer)
        if reason:
            left.append(f"{module_of(layer.weight)} is not corrected: {reason}")
    return pruned, tuple(left)


def _changed(coupling: Coupling, kept: dict[tuple[str, int], tuple[int, ...]]) -> Iterator[Layer]:
    """Layers from the first whose inputs are not what they were, each once."""
    reached: set[str] = set()
    for layer in coupling.layers:
        if (reached or (layer.weight, 1) in kept) and layer.weight not in reached:
            reached.add(layer.weight)
            yield layer


def _obstacle(
    layer: Layer, coupling: Coupling, module: nn.Module, tensors: Mapping[str, Tensor]
) -> str:
    """Why a layer cannot be solved alone, or nothing."""
    weight = tensors[layer.weight]
    if not plain(module.get_submodule(module_of(layer.weight))):
        return "a grouped or transposed convolution is no single product"
    if sum(each.weight == layer.weight for each in coupling.layers) > 1:
        return "it runs more than once"
    if sum(tensor is weight for tensor in tensors.values()) > 1:
        # As tied to an embedding, which would change as well.
        return "its weight has another use"
    if weight[0].numel() > WIDEST:
        return f"it reads {weight[0].numel()} values at once, more than {WIDEST}"
    return ""


@dataclass
class _Fit:
    pruned: TorchModel
    original: TorchModel
    kept: dict[tuple[str, int], tuple[int, ...]]
    calibration: Batches
    seed: int

    def layer(self, layer: Layer) -> str:
        """Fit one layer of the pruned network, in place; why that was not done, or nothing."""
        name = module_of(layer.weight)
        module = self.pruned.module.get_submodule(name)
        weight, bias = module.weight, module.bias
        assert isinstance(weight, Tensor)
        norm = self.pruned.module.get_submodule(layer.norm) if layer.norm else None
        # A batch norm takes any constant out of its input when its mean is moved along.
        movable = isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats
        used, held_out = (Moments(weight[0].numel(), len(weight)) for _ in range(2))
        draw = Draw.of(self.original, self.calibration, self.seed)
        start = 0
        for x, y in self._samples(layer, module, norm if movable else None, draw):
            apart = torch.arange(start, start + len(x)) % HELD_OUT == HELD_OUT - 1
            used.add(x[~apart].flatten(0, 1), y[~apart].flatten(0, 1))
            held_out.add(x[apart].flatten(0, 1), y[apart].flatten(0, 1))
            start += len(x)
        if not used.count:
            return "its weight is used and its forward is not"
        fitted = best_fit(
            used,
            held_out,
            weight.detach().flatten(1),
            bias.detach() if isinstance(bias, Tensor) else torch.zeros(len(weight)),
            intercept=isinstance(bias, Tensor) or movable,
        )
        if fitted is None:
            return "fitted weights were no better on samples that were held out"
        with torch.no_grad():
            weight.copy_(fitted[0].reshape(weight.shape))
            if isinstance(bias, Tensor):
                bias.copy_(fitted[1])
            elif movable:
                assert norm is not None and isinstance(norm.running_mean, Tensor)
                norm.running_mean.sub_(fitted[1])
        return ""

    def _samples(
        self, layer: Layer, module: nn.Module, norm: nn.Module | None, draw: Draw
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What the pruned layer reads and what it should say, by batch, sample and row."""
        name = module_of(layer.weight)
        channel = 1 if isinstance(module, CONVOLUTIONS) else -1
        left = self.kept.get((layer.weight, 0))
        known = set() if layer.partner is None else {layer.partner}
        for inputs in as_inputs(self.calibration, self.original):
            before = observe(self.original, inputs, {(name, "out"), *known})
            after = observe(self.pruned, inputs, {(name, "in"), *known})
            if (name, "in") not in after or (name, "out") not in before:
                return  # its weight is used, as attention does, and its forward is not
            target = before[name, "out"]
            if left is not None:
                target = target.index_select(channel, torch.tensor(left))
            if layer.partner in before and layer.partner in after:
                missing = _missing(before[layer.partner], after[layer.partner], left, channel)
                if missing is not None and missing.shape == target.shape:
                    target = target + _through(norm, missing)
            places = draw.places(module, target)
            x = columns(module, after[name, "in"], places)
            y = rows(module, target, places)
            samples = batch_rows(inputs)
            # Rows that cannot be told apart by sample all belong to one.
            shape = (samples if len(x) % samples == 0 else 1, -1)
            yield x.reshape(*shape, x.shape[-1]), y.reshape(*shape, y.shape[-1])


def _missing(
    before: Tensor, after: Tensor, left: tuple[int, ...] | None, channel: int
) -> Tensor | None:
    """What a shortcut lost on the channels that are left."""
    if left is not None:
        if before.shape[channel] <= left[-1]:
            return None
        before = before.index_select(channel, torch.tensor(left))
    return before - after if before.shape == after.shape else None


def _through(norm: nn.Module | None, amount: Tensor) -> Tensor:
    """What has to enter a batch norm for `amount` more to leave it."""
    if norm is None:
        return amount
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None
    spread = torch.sqrt(norm.running_var + norm.eps)
    gain = norm.weight / spread if norm.weight is not None else 1 / spread
    # A channel the norm all but silences cannot carry a correction.
    gain = torch.where(gain.abs() < 1e-3, torch.inf, gain)
    return amount / gain.reshape(1, -1, *[1] * (amount.dim() - 2))
