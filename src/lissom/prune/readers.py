"""Ranks the channels of every group by how well the layers that read them do without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lissom.batches import Batches
from lissom.nn.coupling import Group, module_of
from lissom.nn.network import TorchModel
from lissom.nn.observe import Draw, as_inputs, columns, observe, plain, rows
from lissom.nn.surgery import tensors_of
from lissom.prune.reconstruct import Gram, LoneReader, Reader, removal_order
from lissom.prune.selection import Ranking
from lissom.technique import Track, silent

RIDGE = 1e-3
# Beyond this a covariance takes more than a gigabyte with its inverse, and each of its channels
# is taken for itself.
WIDEST = 6000


def rank_by_reconstruction(
    model: TorchModel,
    groups: Sequence[Group],
    calibration: Batches,
    *,
    seed: int,
    track: Track = silent,
) -> list[Ranking]:
    """Each group's channels in the order that costs the layers reading them least.

    What a removal costs is the share of those layers' output that no fit of the rest brings back.
    """
    rankings = []
    grams = _grams(model, groups, calibration, seed, track)
    for group in track(groups, "rank channels", len(groups)):
        readers = [
            _reader(model.module, group, tensor, grams[tensor], RIDGE)
            for tensor, axis in group.used
            if axis == _read_axis(model.module.get_submodule(module_of(tensor)))
        ]
        order, costs = removal_order(readers, len(group.channels))
        rankings.append(Ranking(group, tuple(order), tuple(costs)))
    return rankings


def _grams(
    model: TorchModel, groups: Sequence[Group], calibration: Batches, seed: int, track: Track
) -> Mapping[str, Gram]:
    """The covariance of what each reading layer sees, all layers in one pass."""
    weights = dict.fromkeys(tensor for group in groups for tensor, _ in group.used)
    layers = {tensor: model.module.get_submodule(module_of(tensor)) for tensor in weights}
    tensors = tensors_of(model.module)
    grams: dict[str, Gram] = {}
    for tensor, layer in layers.items():
        width = tensors[tensor][0].numel()
        if _read_axis(layer) == 0:
            width = len(tensors[tensor])
        elif isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1:
            width *= layer.groups
        grams[tensor] = Gram(width, diagonal=width > WIDEST or not plain(layer))
    draw = Draw.of(model, calibration, seed)
    wanted = {(module_of(tensor), side) for tensor in grams for side in ("in", "out")}
    for inputs in track(as_inputs(calibration, model), "see activations", calibration.count):
        seen = observe(model, inputs, wanted)
        for tensor, gram in grams.items():
            name = module_of(tensor)
            # An embedding's table, tied to a layer's weight, meets numbers of rows.
            if (name, "in") not in seen or isinstance(layers[tensor], nn.Embedding):
                continue
            if _read_axis(layers[tensor]) == 0:
                gram.add(rows(layers[tensor], seen[name, "in"]))
                continue
            places = draw.places(layers[tensor], seen[name, "out"])
            gram.add(columns(layers[tensor], seen[name, "in"], places))
    return grams


def _read_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight along which it reads channels."""
    return 0 if isinstance(layer, nn.modules.conv._ConvNd) and layer.transposed else 1


def _reader(
    module: nn.Module, group: Group, tensor: str, gram: Gram, ridge: float
) -> Reader | LoneReader:
    weight = tensors_of(module)[tensor].detach()
    read = _read_axis(module.get_submodule(module_of(tensor)))
    if read == 0:
        # Every tap of a transposed convolution reads a channel alike: one column for all of them.
        weight = weight.flatten(1).norm(dim=1)[None, :, None]
    taps = weight[0, 0].numel()
    blocks = torch.tensor(
        [
            [
                position * taps + tap
                for name, axis, position in channel
                if (name, axis) == (tensor, read)
                for tap in range(taps)
            ]
            for channel in group.channels
        ]
    )
    if not gram.count:
        # The weight is used and the layer's forward is not, as attention does: nothing was seen.
        return LoneReader.of(weight.flatten(1), torch.ones(weight[0].numel()), blocks)
    if gram.diagonal:
        # A grouped convolution sees every group with the same columns of its weight.
        variances = gram.covariance().reshape(-1, weight[0].numel()).mean(0)
        return LoneReader.of(weight.flatten(1), variances, blocks)
    return Reader.of(weight.flatten(1), gram.covariance(), blocks, ridge=ridge)
