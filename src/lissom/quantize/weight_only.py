"""Weights of 8, 4 or 2 bits in blocks; activations stay float32 outside the kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import field_validator

from lissom.errors import ModelError
from lissom.graph.edit import MICROSOFT, Editor, constant_of, tidy
from lissom.graph.weights import LinearWeight, embeddings, is_kept_out, linear_weights
from lissom.quantize.blocks import pack, pack_padded, quantize_blocks
from lissom.technique import Config, Context, technique


class WeightOnly(Config):
    """Settings of weight-only quantization.

    Attributes:
        bits: width of a code.
        block: weights that share a scale and zero point; a power of two of at least 16.
        layers: quantize the matrices of MatMul and Gemm.
        embeddings: bits of embedding tables, or None to leave them float.
        int8_arithmetic: let the kernel quantize activations to int8 per block
            (ONNX Runtime's accuracy level 4) instead of multiplying in float32.
        keep_float: globs of node or weight names that stay as they are.
    """

    bits: Literal[8, 4, 2] = 4
    block: int = 32
    layers: bool = True
    embeddings: Literal[8, 4] | None = 4
    int8_arithmetic: bool = True
    keep_float: tuple[str, ...] = ()

    @field_validator("block")
    @classmethod
    def _is_a_block(cls, block: int) -> int:
        if block < 16 or block & (block - 1):
            raise ValueError(f"block must be a power of two of at least 16, not {block}")
        return block


@technique(
    "quantize.weight_only",
    config=WeightOnly,
    needs=["float weights"],
    leaves=["packed weights"],
    # Embeddings alone leave every layer as it was.
    destroys=lambda config: ["float weights"] if config.layers else [],
)
def weight_only(model: ir.Model, config: WeightOnly, context: Context) -> ir.Model:
    """Quantize matrix weights to 8, 4 or 2 bits in blocks, embedding tables too.

    Layers become MatMulNBits and tables GatherBlockQuantized (ONNX Runtime's contributed
    operators), on asymmetric grids of least square error per block.

    Raises:
        ModelError: the graph has no layer of this kind.
    """
    editor = Editor(model)
    layers = [w for w in linear_weights(model.graph) if not is_kept_out(w.node, config.keep_float)]
    tables = [n for n in embeddings(model.graph) if not is_kept_out(n, config.keep_float)]
    if config.embeddings is None:
        tables = []
    if not config.layers:
        layers = []
    if not layers and not tables:
        raise ModelError(
            "nothing to quantize: no MatMul, Gemm or embedding has a constant float32 matrix",
            where="quantize.weight_only",
            fix="use quantize.static for convolutions; `lissom techniques` lists the others",
        )
    packed: dict[tuple[ir.Value, bool], list[ir.Value]] = {}
    for layer in context.track(layers, "quantize", len(layers)):
        _quantize_layer(editor, layer, config, packed)
    rows: dict[ir.Value, list[ir.Value]] = {}
    for gather in context.track(tables, "quantize embeddings", len(tables)):
        _quantize_table(editor, gather, config, rows)
    tidy(model)
    return model


def _quantize_layer(
    editor: Editor,
    layer: LinearWeight,
    config: WeightOnly,
    packed: dict[tuple[ir.Value, bool], list[ir.Value]],
) -> None:
    stem = layer.value.name or "weight"
    key = (layer.value, layer.transposed)
    matrix = layer.matrix().T
    outputs, depth = matrix.shape
    if key not in packed:
        packed[key] = _packed_layer(editor, stem, matrix, config.bits, config.block)
    attributes = {
        "K": depth,
        "N": outputs,
        "bits": config.bits,
        "block_size": config.block,
        "accuracy_level": 4 if config.int8_arithmetic else 0,
    }
    (result,) = editor.node(
        layer.node,
        "MatMulNBits",
        [layer.node.inputs[0], *packed[key]],
        stem=f"{stem}_matmul",
        attributes=attributes,
        domain=MICROSOFT,
    )
    if layer.bias is not None:
        (result,) = editor.node(layer.node, "Add", [result, layer.bias], stem=f"{stem}_bias")
    editor.replace(layer.node, result)


def _packed_layer(
    editor: Editor, stem: str, matrix: NDArray[np.float32], bits: int, block: int
) -> list[ir.Value]:
    """Packed codes, scales and zero points as MatMulNBits reads them."""
    blocks = quantize_blocks(matrix, bits, block)
    return [
        editor.constant(f"{stem}_int{bits}", pack(blocks.codes, bits)),
        editor.constant(f"{stem}_scale", blocks.scales),
        editor.constant(f"{stem}_zero", pack_padded(blocks.zero_points, bits)),
    ]


def _quantize_table(
    editor: Editor,
    gather: ir.Node,
    config: WeightOnly,
    rows: dict[ir.Value, list[ir.Value]],
) -> None:
    table, indices = gather.inputs[0], gather.inputs[1]
    values = constant_of(table)
    assert table is not None
    assert values is not None
    assert config.embeddings is not None
    # The operator has no way to say that a row ends in the middle of a byte.
    bits = config.embeddings if values.shape[1] % (8 // config.embeddings) == 0 else 8
    if table not in rows:
        rows[table] = _packed_table(editor, table.name or "table", values, bits, config.block)
    codes, scales, zero_points = rows[table]
    (result,) = editor.node(
        gather,
        "GatherBlockQuantized",
        [codes, indices, scales, zero_points],
        stem=f"{table.name}_gather",
        attributes={"bits": bits, "block_size": config.block, "gather_axis": 0, "quantize_axis": 1},
        domain=MICROSOFT,
    )
    editor.replace(gather, result)


def _packed_table(
    editor: Editor, stem: str, table: NDArray[np.float32], bits: int, block: int
) -> list[ir.Value]:
    """Packed codes, scales and zero points as GatherBlockQuantized reads them."""
    blocks = quantize_blocks(table, bits, block)
    codes = blocks.codes.reshape(len(table), -1)[:, : blocks.depth]
    return [
        editor.constant(f"{stem}_int{bits}", pack(codes, bits)),
        editor.constant(f"{stem}_scale", blocks.scales),
        editor.constant(f"{stem}_zero", pack_padded(blocks.zero_points, bits)),
    ]
