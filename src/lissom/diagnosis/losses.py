"""What the compressed network's integer sums lose on given samples, and the network with it.

The losses of a layer are those in the network as it runs, what the layers before it lose included.
Where one layer is repaired the others keep theirs, which is so up to the second order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network, Session
from lissom.diagnosis.reals import SWITCHES

Array = NDArray[Any]
Batch = Mapping[str, Array]
# What is added to a layer's sums is an input of this name in front of that of the sums.
PREFIX = "lissom.diagnosis.lost "


def with_inputs(network: Network, sums: Sequence[Sums]) -> Network:
    """The network with an input for what each layer's sums lose, its constants shared."""
    results = {_result(each) for each in sums}
    light = onnx.ModelProto(
        ir_version=network.model.ir_version, opset_import=network.model.opset_import
    )
    for node in network.nodes:
        added = light.graph.node.add()
        added.CopyFrom(node)
        for at, name in enumerate(node.output):
            if name in results:
                bare = f"{name} bare"
                added.output[at] = bare
                light.graph.node.append(helper.make_node("Add", [bare, PREFIX + name], [name]))
    light.graph.output.extend(network.model.graph.output)
    found = Network(light)
    found.inputs, found.constants, found.lent = network.inputs, network.constants, network.lent
    return found


def losses(
    network: Network, sums: Sequence[Sums], samples: Sequence[Batch]
) -> Iterator[dict[str, Loss]]:
    """For each batch, what every layer loses, by the name of the input for it.

    Args:
        network: in reals, without these inputs.
        sums: layers with kernels that can saturate, in the order of the graph.
        samples: small batches.
    """
    on = {name: np.asarray(True) for name in SWITCHES}
    prefixes: list[Session | None] = [None] * len(sums)
    for batch in samples:
        # Of the layers so far, what their kernels give.
        known: dict[str, Array] = {}
        found: dict[str, Loss] = {}
        for at, each in enumerate(sums):
            section, name = each.section, _result(each)
            session = prefixes[at]
            if session is None:
                wanted = [name for name in section.part.inputs if name not in SWITCHES]
                types = {name: array.dtype for name, array in known.items()}
                session = prefixes[at] = network.between(set(known), wanted).session(types)
            feeds = session({**batch, **on, **known})
            values = section.run(feeds, rounding=True, clipping=True)
            assert each.kernel is not None
            bare = values[name]
            lost = each.kernel.loss(section, values).reshape(bare.shape).astype(bare.dtype)
            known[name] = bare + lost
            found[PREFIX + name] = Loss(lost)
        yield found
    for each in sums:
        each.section.close()


class Loss:
    """An array that is mostly zero, in little memory."""

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        flat = array.reshape(-1)
        self.places = np.flatnonzero(flat)
        self.values = flat[self.places]

    @property
    def bytes(self) -> int:
        """What it holds."""
        return self.places.nbytes + self.values.nbytes

    def array(self) -> Array:
        """All of it."""
        found = np.zeros(int(np.prod(self.shape)), self.dtype)
        found[self.places] = self.values
        return found.reshape(self.shape)


def _result(sums: Sums) -> str:
    layer = sums.section.layer
    assert layer is not None
    return layer.result
