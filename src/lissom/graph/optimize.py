"""Make a graph smaller and faster without changing what it computes."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes

from lissom.graph.batch_norm import fold_batch_norms
from lissom.graph.edit import tidy
from lissom.graph.fold import fold_constants
from lissom.graph.names import name_nodes
from lissom.graph.repeats import drop_identities, merge_initializers
from lissom.technique import Config, Context, technique


class Optimize(Config):
    """Which rewrites to apply.

    Attributes:
        constants: compute constant expressions once, now.
        batch_norms: fold batch norms into the layer before them.
        residual_sums: write the addition before a layer normalization as Sum. ONNX Runtime 1.31
            fuses Add and LayerNormalization into a CPU kernel that takes four times as long as
            the two together; Sum computes the same and is left alone.
    """

    constants: bool = True
    batch_norms: bool = True
    residual_sums: bool = True


@technique("graph.optimize", config=Optimize)
def optimize(model: ir.Model, config: Optimize, context: Context) -> ir.Model:
    """Fold constants and batch norms, drop dead and repeated nodes, avoid slow fusions.

    Nodes without a name get one.
    """
    if model.functions:
        passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    drop_identities(model)
    if config.constants:
        fold_constants(model)
    if config.batch_norms:
        fold_batch_norms(model)
    # Before the search for repeated nodes, which tells initializers apart by identity.
    merge_initializers(model)
    passes.CommonSubexpressionEliminationPass()(model)
    if config.residual_sums:
        _write_residuals_as_sums(model.graph)
    passes.ClearMetadataAndDocStringPass()(model)
    tidy(model)
    # Tables of layers, and recipes made from them, tell layers apart by name.
    name_nodes(model.graph)
    return model


def _write_residuals_as_sums(graph: ir.Graph) -> None:
    for node in graph:
        if node.op_type != "LayerNormalization" or node.inputs[0] is None:
            continue
        add = node.inputs[0].producer()
        if add is None or add.op_type != "Add" or add.domain:
            continue
        if any(value is None or value.const_value is not None for value in add.inputs):
            continue
        add.op_type = "Sum"
        add.version = None
