"""SmoothQuant: outlying channels of activations moved into the weights that read them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from pydantic import Field, field_validator, model_validator

from lissom.graph.edit import Editor, constant_of, tidy
from lissom.graph.weights import linear_weight, linear_weights
from lissom.quantize.chains import Chains, find_chains
from lissom.quantize.following import Following
from lissom.quantize.rebalance import Factors, Search, find_moves, keep_best, scaled
from lissom.quantize.scale_samples import shapes_seen
from lissom.quantize.trial import Next, Trial
from lissom.technique import Context, technique

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Smooth(Following):
    """Settings of SmoothQuant, besides the grids of the quantization that follows.

    Attributes:
        alphas: migration strengths that are tried for each chain, from 0 (all difficulty stays
            with the activations' weights) to 1 (activations alike); leaving it alone is always
            tried.
        common: share of the channels that are no outliers, and are not stretched over the grid
            because they stayed small on the calibration data: with rare words they do not.
        multiply: divide by a product of its own where no weight in front can take the factors: in
            front of a residual sum that follows a LayerNormalization, or behind GELU. One Mul for
            each such tensor.
        before: the technique that follows; of the grids quantize.dynamic has a weight_range only.
    """

    alphas: tuple[float, ...] = Field(default=ALPHAS, min_length=1)
    common: float = Field(default=0.9, ge=0.0, le=1.0)
    multiply: bool = True
    before: Next = "quantize.static"

    @field_validator("alphas")
    @classmethod
    def _are_shares(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 <= alpha <= 1.0 for alpha in alphas):
            raise ValueError(f"alphas must lie between 0 and 1, not {alphas}")
        return alphas

    @model_validator(mode="after")
    def _has_such_weights(self) -> Smooth:
        if self.before == "quantize.dynamic" and (self.weight_bits != 8 or self.layer_bits):
            raise ValueError(
                "quantize.dynamic has weights of 8 bits: leave weight_bits and layer_bits out"
            )
        return self


@technique("quantize.smooth", config=Smooth, needs=["calibration", "float weights"])
def smooth(model: ir.Model, config: Smooth, context: Context) -> ir.Model:
    """Move outlying channels of what matrix products read into their weights, before INT8.

    SmoothQuant (Xiao et al. 2022, equation 4): channels are divided by max|X|^alpha /
    max|W|^(1 - alpha) and the weights that read them multiplied by it. The division goes into the
    scale and bias of the LayerNormalization in front, or, through attention, into the projection of
    the values. alpha is chosen for each chain by the error of the layers that read it, on data that
    the factors were not fitted to; chains that do not gain at the output stay. The graph computes
    the same in float, up to rounding.
    """
    batches = context.calibration
    assert batches is not None
    shapes = shapes_seen(model, batches)
    base = model.clone()
    if config.multiply:
        _divide_apart(base, find_chains(base, shapes))
    chains = find_chains(base, shapes)
    groups = [
        group
        for group in chains.groups()
        if all(linear_weight(reader.node) is not None for reader in group)
    ]
    if not groups:
        context.note("nothing to smooth: no matrix product reads channels that can be scaled")
        return model
    search = Search(
        config.alphas,
        common=config.common,
        margin=1.0,
        whole=config.before == "quantize.dynamic",
        following=config,
    )
    moves = find_moves(base, chains, groups, search, context)

    def make(factors: Factors) -> ir.Model:
        return _without_ones(scaled(base, shapes, factors))

    trial = Trial(model, config.before, config, context)
    best, kept, gain = keep_best(model, moves, chains.count, make, trial)
    if not kept:
        context.note("nothing smoothed: no chain gains at the output")
        return model
    products = sum(1 for node in best.graph if _is_division(node))
    strengths = [move.alpha for move in kept if move.alpha is not None]
    context.note(
        f"smoothed {len(kept)} of {len(groups)} chains, alpha {min(strengths)} to "
        f"{max(strengths)}, {products} products added: +{gain:.1f} dB"
    )
    return best


STEM = "smoothing"


def _divide_apart(model: ir.Model, chains: Chains) -> None:
    """Let matrix products whose input has no free factor read it times a vector of ones."""
    free = {reader.node for group in chains.groups() for reader in group}
    apart: dict[ir.Value, list[ir.Node]] = {}
    inputs: dict[ir.Value, int] = {}
    for layer in linear_weights(model.graph):
        source = layer.node.inputs[0]
        # What the caller gives is left alone: it may be what other networks read, too.
        if layer.node not in free and source is not None and source.producer() is not None:
            apart.setdefault(source, []).append(layer.node)
            inputs[source] = len(layer.matrix())
    editor = Editor(model)
    for source, nodes in apart.items():
        ones = editor.constant(f"{STEM}_factors", np.ones(inputs[source], np.float32))
        (product,) = editor.node(nodes[0], "Mul", [source, ones], stem=STEM)
        for node in nodes:
            node.replace_input_with(0, product)
    model.graph.sort()


def _is_division(node: ir.Node) -> bool:
    return node.op_type == "Mul" and (node.name or "").startswith(STEM)


def _without_ones(model: ir.Model) -> ir.Model:
    """Drop the products that nothing was moved into."""
    for node in list(model.graph):
        if not _is_division(node):
            continue
        factors, source = constant_of(node.inputs[1]), node.inputs[0]
        if factors is not None and source is not None and np.all(factors == 1):
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            model.graph.remove(node, safe=True)
    tidy(model)
    return model
