"""Take out of a layer's bias what no ReLU behind it ever cuts off, and give it to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.capture import capture
from lissom.graph.edit import Editor, constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant, linear_weight

Arrays = Mapping[str, NDArray[Any]]
Vector = NDArray[np.float64]

# Standard deviations below the mean that a channel is expected to stay above.
DEVIATIONS = 3.0


class _Moments:
    """Least value, mean and deviation of each channel over a stream."""

    def __init__(self) -> None:
        self.least: Vector | float = np.inf
        self.count = 0
        self.sums: Vector | float = 0.0
        self.squares: Vector | float = 0.0

    def observe(self, array: NDArray[Any]) -> None:
        rows = np.moveaxis(array, 1, -1).reshape(-1, array.shape[1]).astype(np.float64)
        if len(rows):
            self.least = np.minimum(self.least, rows.min(axis=0))
            self.count += len(rows)
            self.sums = self.sums + rows.sum(axis=0)
            self.squares = self.squares + np.square(rows).sum(axis=0)

    def surplus(self) -> Vector:
        """max(0, mean - 3 deviations), and never above the least that was seen."""
        mean = np.asarray(self.sums) / max(1, self.count)
        variance = np.maximum(np.asarray(self.squares) / max(1, self.count) - mean**2, 0.0)
        return np.maximum(np.minimum(mean - DEVIATIONS * np.sqrt(variance), self.least), 0.0)


def absorb_bias(model: ir.Model, batches: Iterable[Arrays]) -> int:
    """ReLU(W x + b - c) = ReLU(W x + b) - c where W x + b is at least c (Nagel et al. 2019, 4.1.3).

    c goes from the bias of a Conv or Gemm through a ReLU into the biases of all that read it: Conv
    without padding, whose zeros would not have c, and Gemm. Exact for all data that were seen; the
    range of the activation is less by c.

    Returns:
        How many channels have less bias.
    """
    places = [node for node in model.graph if _readers(node) and _maker(node)]
    seen = {node.inputs[0].name or "": _Moments() for node in places if node.inputs[0] is not None}
    for arrays in capture(model, list(seen), batches if seen else ()):
        for name, array in arrays.items():
            seen[name].observe(array)
        arrays.clear()
    editor = Editor(model)
    changed = 0
    for node in places:
        source, maker = node.inputs[0], _maker(node)
        assert source is not None and maker is not None
        moments = seen[source.name or ""]
        if not moments.count:
            continue
        surplus = moments.surplus()
        if not surplus.any():
            continue
        _add(editor, maker, -surplus)
        for reader in _readers(node):
            _add(editor, reader, _matrix(reader) @ surplus)
        changed += int(np.count_nonzero(surplus))
    return changed


def _maker(relu: ir.Node) -> ir.Node | None:
    """The layer in front of a ReLU, if nothing else reads it."""
    source = relu.inputs[0] if relu.op_type == "Relu" and not relu.domain else None
    maker = source.producer() if source is not None else None
    if source is None or maker is None or only_consumer(source) is not relu:
        return None
    return maker if _has_bias(maker, padded=True) else None


def _readers(relu: ir.Node) -> list[ir.Node]:
    """All layers behind a ReLU; none if one of them cannot take what would be missing."""
    if relu.op_type != "Relu" or relu.domain or relu.outputs[0].is_graph_output():
        return []
    nodes = [use.node for use in relu.outputs[0].uses()]
    fit = all(
        use.idx == 0 and use.node.graph is relu.graph and _has_bias(use.node, padded=False)
        for use in relu.outputs[0].uses()
    )
    return list(dict.fromkeys(nodes)) if fit else []


def _has_bias(node: ir.Node, *, padded: bool) -> bool:
    """Whether a layer's bias can be changed: a vector, or none yet."""
    if node.domain or node.op_type not in ("Conv", "Gemm"):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_float_constant(bias, 1):
        return False
    if node.op_type == "Gemm":
        return linear_weight(node) is not None
    pads = node.attributes.get("pads")
    unpadded = node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID") and (
        pads is None or not any(pads.as_ints())
    )
    ranked = any(is_float_constant(node.inputs[1], rank) for rank in (3, 4, 5))
    return ranked and attribute(node, "group", 1) == 1 and (padded or unpadded)


def _matrix(node: ir.Node) -> Vector:
    """What a constant in every channel of the input adds to each output: `[outputs, inputs]`."""
    layer = linear_weight(node)
    if layer is not None:
        return layer.matrix().T.astype(np.float64)
    kernel = constant_of(node.inputs[1])
    assert kernel is not None
    return np.asarray(kernel.astype(np.float64).sum(axis=tuple(range(2, kernel.ndim))))


def _add(editor: Editor, node: ir.Node, what: Vector) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    old = np.zeros(len(what)) if bias is None else constant_of(bias)
    assert old is not None
    stem = bias.name if bias is not None else f"{node.outputs[0].name}_bias"
    node.resize_inputs(3)
    new = (old.astype(np.float64) + what).astype(np.float32)
    node.replace_input_with(2, editor.constant(f"{stem}_absorbed", new))
