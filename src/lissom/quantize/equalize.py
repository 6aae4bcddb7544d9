"""Cross-layer equalization: channels of one layer made alike before they share a grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from lissom.graph.edit import Editor, constant_of, tidy
from lissom.quantize.absorb import absorb_bias
from lissom.quantize.chains import Chains, find_chains, rescale
from lissom.quantize.following import Following
from lissom.quantize.rebalance import LEAST_GAIN, Search, find_moves, keep_best, name_back, scaled
from lissom.quantize.scale_choice import equalized
from lissom.quantize.scale_samples import channel_reach, least_factors, shapes_seen
from lissom.quantize.trial import Trial, gain_of
from lissom.technique import Context, technique

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Equalize(Following):
    """Settings of cross-layer equalization, besides the grids of the quantize.static that follows.

    Attributes:
        method: "measured" tries the factors of "weights" and a grid of others for every chain,
            and keeps what lowers the error of static INT8 on data that it was not fitted to;
            "weights" applies the paper's factors unasked, for runtimes whose weights have one
            scale for a whole tensor.
        absorb_bias: also move bias that no ReLU cuts off into the next layer.
        margin: how far a channel must stay below the upper bound of a Clip on the calibration
            data, as a factor, to be scaled across it.
    """

    method: Literal["measured", "weights"] = "measured"
    absorb_bias: bool = True
    margin: float = Field(default=1.5, ge=1.0)


@technique("quantize.equalize", config=Equalize, needs=["calibration", "float weights"])
def equalize(model: ir.Model, config: Equalize, context: Context) -> ir.Model:
    """Scale channels between two layers so that they share a grid better, before quantize.static.

    Cross-layer equalization and bias absorption (Nagel et al. 2019, sections 4.1.1 to 4.1.3), along
    all paths that positive factors pass: ReLU, PRelu, pooling, sums, concatenations, depthwise
    convolutions. What the graph computes in float stays the same up to rounding; across a Clip and
    for absorbed bias, on what the calibration data show. Where weights have a scale for every
    channel, as here, ranges of activations matter too: with `method` "measured" the factors are
    those of least error, and none where nothing gains.
    """
    batches = context.calibration
    assert batches is not None
    shapes = shapes_seen(model, batches)
    chains = find_chains(model, shapes)
    rule = _rule(chains)
    if config.method == "weights":
        bounds = {bound.source: bound.channels for bound in chains.bounds}
        _, reached = channel_reach(model, bounds, batches)
        least = least_factors(chains.bounds, reached, config.margin, chains.count)
        factors = np.where(np.isinf(least), 1.0, np.maximum(rule, least))
        factors[0] = 1.0
        before = set(model.graph.initializers)
        changed = rescale(Editor(model), chains, factors)
        absorbed = absorb_bias(model, batches) if config.absorb_bias else 0
        tidy(model)
        name_back(model, before)
        context.note(
            f"equalized by weights: {changed} constants scaled, {absorbed} biases absorbed"
        )
        return model
    search = Search(ALPHAS, common=0.0, margin=config.margin, whole=False, following=config)
    moves = find_moves(model, chains, chains.groups(), search, context, rule=rule)
    trial = Trial(model, "quantize.static", config, context)
    best, kept, gain = keep_best(
        model, moves, chains.count, lambda factors: scaled(model, shapes, factors), trial
    )
    notes = [f"equalized {len(kept)} of {len(chains.groups())} chains: +{gain:.1f} dB"] * bool(kept)
    channels = 0
    if config.absorb_bias:
        other = best.clone()
        channels = absorb_bias(other, batches)
        tidy(other)
        more = 0.0
        if channels:
            more = gain_of(trial.noise(best, plain=True), trial.noise(other, plain=True))
        if more > LEAST_GAIN:
            more = trial.proven(best, other, more)
        if more > LEAST_GAIN:
            best = other
            notes.append(f"bias of {channels} channels absorbed: +{more:.1f} dB")
    idle = "nothing equalized: nothing gains at the output"
    if not chains.groups() and not channels:
        idle = "nothing to equalize: no factor can move from one layer to the next"
    context.note("; ".join(notes) or idle)
    return best


def _rule(chains: Chains) -> NDArray[np.float64]:
    """The paper's factors, from the weights alone."""
    weights = []
    for site in chains.sites:
        array = constant_of(site.node.inputs[site.index])
        # Biases and scales of norms have no range of their own.
        if array is not None and site.index == 1 and array.ndim > 1:
            weights.append((np.abs(array.astype(np.float64)), site.read, site.given))
    return equalized(weights, chains.count)
