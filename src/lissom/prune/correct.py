"""Solves what is left of each layer again, one after another, so that the network says what it did.

For each layer in the order it runs: its inputs are those of the pruned network with all layers
before it corrected, its target is what the layer gave in the original. So the errors of earlier
layers are made up for too, those that come by a shortcut included (He et al. 2017, sections 3.2
and 3.3). One layer's sums are held at a time.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from lissom.batches import Batches
from lissom.nn.coupling import Coupling, Layer, module_of
from lissom.nn.edits import Edit
from lissom.nn.network import TorchModel
from lissom.nn.observe import Draw, as_inputs, columns, observe, plain, rows
from lissom.nn.surgery import CONVOLUTIONS, tensors_of
from lissom.prune.reconstruct import Moments, solve
from lissom.technique import Track, silent

Tensor = torch.Tensor
RIDGE = 1e-3


def correct(
    pruned: TorchModel,
    original: TorchModel,
    coupling: Coupling,
    calibration: Batches,
    *,
    edits: tuple[Edit, ...],
    seed: int,
    track: Track = silent,
    ridge: float = RIDGE,
) -> TorchModel:
    """The pruned network, fitted to the original on calibration data.

    `coupling` and `edits` are what was found in `original` and what made `pruned` from it. Weights
    change, biases, and where a layer has none the running means of the batch norm behind it.
    """
    pruned = replace(pruned, module=copy.deepcopy(pruned.module))
    kept = {axis: edit.kept for edit in edits for axis in edit.axes}
    fit = _Fit(pruned, original, kept, calibration, seed, ridge)
    todo = list(_changed(coupling, kept, pruned.module))
    for layer in track(todo, "correct layers", len(todo)):
        fit.layer(layer)
    return pruned


def _changed(
    coupling: Coupling, kept: dict[tuple[str, int], tuple[int, ...]], module: nn.Module
) -> Iterator[Layer]:
    """Layers from the first whose inputs are not what they were; each used once and plain.

    A weight with another name besides (tied to an embedding) would change there as well.
    """
    uses = Counter(layer.weight for layer in coupling.layers)
    tensors = tensors_of(module)
    names = Counter(map(id, tensors.values()))
    reached = False
    for layer in coupling.layers:
        reached = reached or (layer.weight, 1) in kept
        once = uses[layer.weight] == 1 == names[id(tensors[layer.weight])]
        if reached and once and plain(module.get_submodule(module_of(layer.weight))):
            yield layer


@dataclass
class _Fit:
    pruned: TorchModel
    original: TorchModel
    kept: dict[tuple[str, int], tuple[int, ...]]
    calibration: Batches
    seed: int
    ridge: float

    def layer(self, layer: Layer) -> None:
        """Fit one layer of the pruned network, in place."""
        name = module_of(layer.weight)
        module = self.pruned.module.get_submodule(name)
        weight = module.weight
        assert isinstance(weight, Tensor)
        norm = self.pruned.module.get_submodule(layer.norm) if layer.norm else None
        # A batch norm takes any constant out of its input when its mean is moved along.
        movable = isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats
        moments = Moments(weight[0].numel(), len(weight))
        draw = Draw.of(self.original, self.calibration, self.seed)
        for x, y in self._samples(layer, module, norm if movable else None, draw):
            moments.add(x, y)
        if not moments.count:
            return
        intercept = module.bias is not None or movable
        fitted, constant = solve(
            moments, weight.detach().flatten(1), ridge=self.ridge, intercept=intercept
        )
        with torch.no_grad():
            weight.copy_(fitted.reshape(weight.shape))
            if isinstance(module.bias, Tensor):
                module.bias.copy_(constant)
            elif movable:
                assert norm is not None and isinstance(norm.running_mean, Tensor)
                norm.running_mean.sub_(constant)

    def _samples(
        self, layer: Layer, module: nn.Module, norm: nn.Module | None, draw: Draw
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What the pruned layer reads and what it should say, batch by batch, row by row."""
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
            yield columns(module, after[name, "in"], places), rows(module, target, places)


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
