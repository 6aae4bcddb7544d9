"""Scales of int32 biases as the product that they are, computed while the file is loaded.

A kernel adds a bias to sums of products of codes, so its scale is that of the activations times
that of the weights. A file that says so with one Mul holds four bytes fewer for each channel, a
tenth of a small depthwise network, and what runs is the same.
"""

from __future__ import annotations

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
        if first.dtype == second.dtype and np.array_equal(first * second, product):
            (found,) = editor.node(three[2], "Mul", [weight, activation], stem="s")
            three[2].replace_input_with(1, found)
    tidy(model)


def fold_products(model: ir.Model) -> None:
    """Give DequantizeLinear its scale as a constant again, for whoever reads a graph."""
    editor = Editor(model)
    for node in list(model.graph):
        scale = node.inputs[1] if node.op_type == "DequantizeLinear" else None
        maker = scale.producer() if scale is not None else None
        if scale is None or maker is None or maker.op_type != "Mul":
            continue
        first, second = (constant_of(value) for value in maker.inputs)
        if first is not None and second is not None:
            product = editor.constant(f"{scale.name}_product", np.asarray(first * second))
            node.replace_input_with(1, product)
    tidy(model)


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None
