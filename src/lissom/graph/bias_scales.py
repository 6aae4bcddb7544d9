"""Scales of int32 biases as the product that they are, computed while the file is loaded.

A kernel adds a bias to sums of products of codes, so its scale is that of the activations times
that of the weights. A file that says so with one Mul holds four bytes fewer for each channel, a
tenth of a small depthwise network, and what runs is the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import Editor, constant_of, tidy

# A node and its names take about as much room as so many scales.
FEWEST = 32


def write_products(model: ir.Model) -> None:
    """Compute the scales of biases from the two others, where that gives the very same numbers."""
    editor = Editor(model)
    for node in list(model.graph):
        three = [made for value in node.inputs[:3] if (made := _dequantize(value)) is not None]
        if node.op_type not in ("Conv", "Gemm") or len(three) < 3:
            continue
        activation, weight, bias = (each.inputs[1] for each in three)
        first, second, product = (constant_of(value) for value in (weight, activation, bias))
        if first is None or second is None or product is None or product.size < FEWEST:
            continue
        if not first.dtype == second.dtype == product.dtype or second.size != 1:
            continue
        if np.array_equal(first * second, product):
            (found,) = editor.node(three[2], "Mul", [weight, activation], stem="s")
            three[2].replace_input_with(1, found)
    tidy(model)


def products_in(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes of a graph that compute a scale from two constants, in order."""
    for node in graph:
        if node.op_type != "Mul" or node.domain or node.outputs[0].is_graph_output():
            continue
        readers = {(use.node.op_type, use.idx) for use in node.outputs[0].uses()}
        sizes = [0 if (known := constant_of(v)) is None else known.size for v in node.inputs]
        # In a foreign file a product may be as large as it likes, or of no common shape.
        if readers == {("DequantizeLinear", 1)} and len(sizes) == 2 and all(sizes) and 1 in sizes:
            yield node


def fold_products(model: ir.Model) -> None:
    """Give DequantizeLinear its scale as a constant again, for whoever reads a graph."""
    editor = Editor(model)
    for node in list(products_in(model.graph)):
        first, second = (constant_of(value) for value in node.inputs)
        assert first is not None
        assert second is not None
        scale = node.outputs[0]
        product = editor.constant(f"{scale.name}_product", np.asarray(first * second))
        scale.replace_all_uses_with(product)
    tidy(model)


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None
