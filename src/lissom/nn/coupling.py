"""Which channels must be removed together, found in the graph that torch.export traces.

Each position of each weight's axis is one element; operators unite elements (see flow.py), and
what is united is removed as one. The idea is that of DepGraph (Fang et al. 2023), at the grain of
single channels and with operators, not modules, as the things that couple.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import fx

from lissom.errors import ModelError
from lissom.nn.flow import Flow
from lissom.nn.labels import Place
from lissom.nn.network import TorchModel
from lissom.nn.surgery import tensors_of
from lissom.nn.wrappers import evaluating
from lissom.user_code import user_lines

MULTIPLYING = {
    f"aten::{name}"
    for name in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "linear")
}
PRODUCTS = {"aten::matmul", "aten::bmm", "aten::mm"}
ATTENTION = "aten::scaled_dot_product_attention"


@dataclass(frozen=True)
class Group:
    """Channels of one kind: each touches the same axes, and any of them may be removed alone.

    Attributes:
        name: the layer that makes them (the first, where several do).
        channels: the positions of each channel, over all tensors it lives in.
        made: axes of weights that make these channels.
        used: axes of weights that read them.
    """

    name: str
    channels: tuple[tuple[Place, ...], ...]
    made: tuple[tuple[str, int], ...]
    used: tuple[tuple[str, int], ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that removing a channel makes smaller."""
        return tuple(dict.fromkeys(tensor for tensor, _, _ in self.channels[0]))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules those tensors belong to."""
        return tuple(dict.fromkeys(module_of(tensor) for tensor in self.tensors))


@dataclass(frozen=True)
class Whole:
    """Channels that stay, of one layer and for one reason."""

    layer: str
    count: int
    of: int
    reason: str

    def __str__(self) -> str:
        part = "" if self.count == self.of else f" ({self.count} of its {self.of} channels)"
        return f"{self.layer or 'a parameter'}{part} is kept whole: {self.reason}"


@dataclass(frozen=True)
class Layer:
    """One use of a weight: where it stands in the network and how much it multiplies.

    Attributes:
        weight: the weight's name.
        positions: products per weight element in one run of the example inputs.
        norm: the batch norm that alone reads its output, or "".
        partner: (module, "in" | "out") whose input or output is added to its output (after the
            norm), or None where nothing is or no module has it.
        added: whether anything is added to its output.
    """

    weight: str
    positions: int
    norm: str = ""
    partner: tuple[str, str] | None = None
    added: bool = False


@dataclass(frozen=True)
class Coupling:
    """What can be pruned, what stays whole and why, and where the multiplications are.

    `fixed_macs` are products of activations with each other, in one run of the example inputs.
    """

    groups: tuple[Group, ...]
    whole: tuple[Whole, ...]
    layers: tuple[Layer, ...]
    fixed_macs: int

    def adds(self, group: Group) -> bool:
        """Whether several layers make the group's channels by adding to each other's."""
        makers = {tensor for tensor, _ in group.made}
        return len(makers) > 1 and any(
            layer.added for layer in self.layers if layer.weight in makers
        )


def couple(model: TorchModel) -> Coupling:
    """Trace the network and find its groups of channels.

    Raises:
        ModelError: torch.export cannot trace the network.
    """
    program = _traced(model)
    tensors = _tensor_nodes(program, model.module)
    flow = Flow(tensors)
    flow.walk(program.graph)
    layers = _layers(program.graph, tensors)
    groups, whole = _grouped(flow)
    return Coupling(groups, whole, layers, _fixed_macs(program.graph))


def module_of(tensor: str) -> str:
    """The module that holds a tensor: "layer1.0.conv1" of "layer1.0.conv1.weight"."""
    return tensor.rpartition(".")[0]


def _traced(model: TorchModel) -> torch.export.ExportedProgram:
    inputs = tuple(model.example_inputs.values())
    keywords = dict(model.example_inputs) if model.keywords else {}
    try:
        with evaluating(model.module):
            return torch.export.export(model.module, () if model.keywords else inputs, keywords)
    # torch.export fails with errors of many kinds, most of them private to it.
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AssertionError,
        torch._dynamo.exc.TorchDynamoException,
    ) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ModelError(
            f"torch.export cannot trace the network: {reason or type(error).__name__}",
            where=user_lines(error) or None,
            fix="rewrite what it names without Python branches on tensor values",
        ) from error


def _tensor_nodes(
    program: torch.export.ExportedProgram, module: torch.nn.Module
) -> dict[fx.Node, tuple[str, torch.Tensor]]:
    """The graph's parameters and buffers, each under the first name it has."""
    found = tensors_of(module)
    first: dict[int, str] = {}
    for name, tensor in found.items():
        first.setdefault(id(tensor), name)
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
    nodes = {}
    for node in program.graph.nodes:
        target = targets.get(node.name) if node.op == "placeholder" else None
        if target in found:
            nodes[node] = (first[id(found[target])], found[target])
    return nodes


def _grouped(flow: Flow) -> tuple[tuple[Group, ...], tuple[Whole, ...]]:
    alike: dict[tuple[tuple[str, int], ...], list[tuple[Place, ...]]] = defaultdict(list)
    held: dict[tuple[str, str], int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for root, places in flow.classes.places().items():
        axes = tuple(dict.fromkeys((tensor, axis) for tensor, axis, _ in places))
        makers = [tensor for tensor, axis in axes if (tensor, axis) in flow.made]
        for tensor, axis, _ in places:
            sizes[tensor] += (tensor, axis) in flow.made
        reason = flow.classes.reason(root)
        if reason is None and makers and not any(axis in flow.used for axis in axes):
            reason = "no layer lissom knows reads it"
        if reason is not None:
            for tensor, axis, _ in places:
                held[tensor, reason] += (tensor, axis) in flow.made
        elif makers:
            alike[axes].append(tuple(places))
    groups = tuple(
        Group(
            module_of(made[0][0]) or made[0][0],
            tuple(channels),
            tuple(made),
            tuple(axis for axis in axes if axis in flow.used),
        )
        for axes, channels in alike.items()
        if (made := [axis for axis in flow.made if axis in axes])
    )
    order = {tensor: place for place, (tensor, _) in enumerate(flow.made)}
    groups = tuple(sorted(groups, key=lambda group: order[group.made[0][0]]))
    whole = tuple(
        Whole(module_of(tensor), count, sizes[tensor], reason)
        for (tensor, reason), count in sorted(
            held.items(), key=lambda each: order.get(each[0][0], 0)
        )
        if count
    )
    return groups, whole


def _layers(graph: fx.Graph, tensors: dict[fx.Node, tuple[str, torch.Tensor]]) -> tuple[Layer, ...]:
    layers = []
    for node in graph.nodes:
        if _kind(node) in MULTIPLYING and node.args[1] in tensors:
            weight, tensor = tensors[node.args[1]]
            out = int(tensor.shape[1 if "transpose" in _kind(node) else 0])
            transposed = "transpose" in _kind(node)
            counted = node.args[0] if transposed else node
            channels = int(tensor.shape[0]) if transposed else out
            positions = math.prod(counted.meta["val"].shape) // channels
            layers.append(Layer(weight, int(positions), *_what_follows(node, tensors)))
    return tuple(layers)


def _what_follows(
    node: fx.Node, tensors: dict[fx.Node, tuple[str, torch.Tensor]]
) -> tuple[str, tuple[str, str] | None, bool]:
    norm, last = "", node
    users = list(node.users)
    if len(users) == 1 and _kind(users[0]) == "aten::batch_norm" and users[0].args[1] in tensors:
        last = users[0]
        norm = module_of(tensors[last.args[1]][0])  # type: ignore[index]
        users = list(last.users)
    sums = [user for user in users if _kind(user) in ("aten::add", "aten::add_")]
    if len(users) != 1 or not sums or sums[0].kwargs.get("alpha", 1) != 1:
        return norm, None, bool(sums)
    others = [each for each in sums[0].args[:2] if isinstance(each, fx.Node) and each is not last]
    return norm, _module_with(others[0], tensors) if others else None, True


def _module_with(
    value: fx.Node, tensors: dict[fx.Node, tuple[str, torch.Tensor]]
) -> tuple[str, str] | None:
    """A module whose output this value is, or whose input."""
    if _kind(value) in ("aten::batch_norm", *MULTIPLYING) and value.args[1] in tensors:
        return module_of(tensors[value.args[1]][0]), "out"  # type: ignore[index]
    for user in value.users:
        if _kind(user) in ("aten::batch_norm", *MULTIPLYING) and user.args[0] is value:
            weight = user.args[1]
            if weight in tensors:
                return module_of(tensors[weight][0]), "in"  # type: ignore[index]
    return None


def _fixed_macs(graph: fx.Graph) -> int:
    total = 0
    for node in graph.nodes:
        if _kind(node) in PRODUCTS:
            total += math.prod(node.meta["val"].shape) * int(node.args[0].meta["val"].shape[-1])
        elif _kind(node) == ATTENTION:
            query, key, value = (each.meta["val"].shape for each in node.args[:3])
            total += math.prod(query[:-1]) * int(key[-2]) * int(query[-1] + value[-1])
    return int(total)


def _kind(node: fx.Node) -> str:
    if node.target is operator.getitem or not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return str(node.target._schema.name)
