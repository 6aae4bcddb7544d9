"""Dynamic INT8: weights quantized now, activations at run time from their own range."""

from __future__ import annotations

import onnx_ir as ir

from lissom.errors import ModelError
from lissom.graph.edit import Editor, constant_of, tidy
from lissom.graph.weights import LinearWeight, embeddings, is_kept_out, linear_weights
from lissom.quantize.affine import symmetric_channels
from lissom.quantize.integer_weights import integer_weights
from lissom.quantize.weight_range import ExactRange, WeightGrid, WeightRange, range_for
from lissom.targets.pairing import product_layout
from lissom.technique import Config, Context, technique


class Dynamic(Config):
    """Settings of dynamic quantization.

    Attributes:
        weight_range: how wide the int8 codes may be; "auto" is the widest that the target
            computes exactly.
        embeddings: quantize embedding tables too, one scale per row.
        keep_float: globs of node or weight names that stay as they are.
    """

    weight_range: WeightRange = "auto"
    embeddings: bool = True
    keep_float: tuple[str, ...] = ()


@technique(
    "quantize.dynamic",
    config=Dynamic,
    needs=["float weights"],
    leaves=["int8 weights"],
    destroys=["float weights"],
)
def dynamic(model: ir.Model, config: Dynamic, context: Context) -> ir.Model:
    """Quantize matrix weights to INT8 per channel and their activations while running.

    Every MatMul or Gemm with a constant matrix becomes MatMulInteger between uint8 activations,
    whose range DynamicQuantizeLinear reads, and int8 weights (ONNX operator specification);
    layers that read the same tensor share its quantization.

    Raises:
        ModelError: the graph has no layer of this kind.
    """
    editor = Editor(model)
    span = range_for(config.weight_range, context)
    activations: dict[ir.Value, tuple[ir.Value, ...]] = {}
    weights: dict[tuple[ir.Value, bool], tuple[ir.Value, ir.Value]] = {}
    layers = [w for w in linear_weights(model.graph) if not is_kept_out(w.node, config.keep_float)]
    tables = [n for n in embeddings(model.graph) if not is_kept_out(n, config.keep_float)]
    if not config.embeddings:
        tables = []
    if not layers and not tables:
        raise ModelError(
            "nothing to quantize: no MatMul, Gemm or embedding has a constant float32 matrix",
            where="quantize.dynamic",
            fix="use quantize.static for convolutions; `lissom techniques` lists the others",
        )
    for layer in context.track(layers, "quantize", len(layers)):
        _quantize_layer(editor, layer, span, activations, weights)
    rows: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    for gather in tables:
        _quantize_table(editor, gather, rows)
    tidy(model)
    return model


def _quantize_layer(
    editor: Editor,
    layer: LinearWeight,
    span: ExactRange,
    activations: dict[ir.Value, tuple[ir.Value, ...]],
    weights: dict[tuple[ir.Value, bool], tuple[ir.Value, ir.Value]],
) -> None:
    node, stem = layer.node, layer.value.name or "weight"
    source = node.inputs[0]
    assert source is not None
    if source not in activations:
        activations[source] = editor.node(
            node, "DynamicQuantizeLinear", [source], stem=f"{source.name}_quantize", outputs=3
        )
    codes, scale, zero_point = activations[source]
    key = (layer.value, layer.transposed)
    if key not in weights:
        integers, scales = integer_weights(layer.matrix(), product_layout(), WeightGrid(span))
        weights[key] = (
            editor.constant(f"{stem}_int8", integers),
            editor.constant(f"{stem}_scale", scales),
        )
    weight, weight_scale = weights[key]
    (sums,) = editor.node(node, "MatMulInteger", [codes, weight, zero_point], stem=f"{stem}_matmul")
    (reals,) = editor.node(
        node, "Cast", [sums], stem=f"{stem}_cast", attributes={"to": ir.DataType.FLOAT.value}
    )
    (product,) = editor.node(node, "Mul", [scale, weight_scale], stem=f"{stem}_scales")
    (result,) = editor.node(node, "Mul", [reals, product], stem=f"{stem}_rescale")
    if layer.bias is not None:
        (result,) = editor.node(node, "Add", [result, layer.bias], stem=f"{stem}_bias")
    editor.replace(node, result)


def _quantize_table(
    editor: Editor, gather: ir.Node, rows: dict[ir.Value, tuple[ir.Value, ir.Value]]
) -> None:
    table, indices = gather.inputs[0], gather.inputs[1]
    values = constant_of(table)
    assert table is not None
    assert values is not None
    stem = table.name or "table"
    if table not in rows:
        # The rows are only looked up, so no kernel can saturate: always the full range.
        codes, scales = symmetric_channels(values, axis=0, bits=8)
        rows[table] = (
            editor.constant(f"{stem}_int8", codes),
            editor.constant(f"{stem}_scale", scales[:, None]),
        )
    codes_value, scales_value = rows[table]
    (found,) = editor.node(gather, "Gather", [codes_value, indices], stem=f"{stem}_gather")
    (scale,) = editor.node(gather, "Gather", [scales_value, indices], stem=f"{stem}_scale_gather")
    (reals,) = editor.node(
        gather, "Cast", [found], stem=f"{stem}_cast", attributes={"to": ir.DataType.FLOAT.value}
    )
    (result,) = editor.node(gather, "Mul", [reals, scale], stem=f"{stem}_rescale")
    editor.replace(gather, result)
