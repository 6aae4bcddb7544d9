"""Which codes and bias a layer gets, judged on samples that were held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of
from lissom.quantize.integer_layer import IntegerLayer, rewrite_layer
from lissom.quantize.moments import Means, Moments
from lissom.quantize.observed import Observed
from lissom.quantize.reconstruct import Box, damped, optimum, reconstruct
from lissom.quantize.traced import Traced

Array = NDArray[np.float64]

# How firmly the continuous optimum holds on to the float weights, in mean variances of an input.
RIDGES = (1e-2, 1.0, 30.0)
# What is added to the variances by which codes are judged: a little, and more where few rows tell
# about many inputs.
DAMPING = 1e-3
DAMPING_BY_ROWS = 0.1
# Rows for each input without which codes are not learned where a sample has several rows, which are
# alike. With fewer, directions that the calibration data hardly have are given away, and other data
# have them: all-MiniLM-L6-v2 with 4-bit weights and 3 rows for each input lost 4 to 6 dB on other
# sentences, while held-out ones gained.
LEAST_ROWS = 4
# Shares of the scales of least squared error from which a search begins.
STARTS = (1.0,)
STARTS_OF_FEW_BITS = (1.0, 0.85)
FEW_BITS = 4


def recode(editor: Editor, observed: Observed, traced: Traced) -> str:
    """Give a layer the codes, scales and bias of least error; why not, or nothing.

    They are found on three quarters of the samples and judged on the others, beside the nearest
    codes with and without a corrected bias. Where they win they are found again on all.
    """
    moments, held_out = observed.used, observed.held_out
    assert isinstance(moments, Moments) and isinstance(held_out, Moments)
    if not moments.count or not held_out.count:
        return "there are too few samples"
    inputs, rows = observed.weight.shape[-1], moments.count + held_out.count
    if observed.places > 1 and rows < LEAST_ROWS * inputs:
        return f"{rows:,} rows of calibration data are too few for its {inputs:,} inputs"
    free = takes_bias(observed.layer, traced)
    codes, scales = _as_groups(observed)
    nothing = np.zeros(scales.shape)
    nearest = held_out.error(_change(observed, codes, scales), nothing).sum()
    shifted = np.inf
    if free:
        change = _change(observed, codes, scales)
        shifted = held_out.error(change, moments.shift(change)).sum()
    learned = np.inf
    ridge = _ridge(observed.weight, moments, held_out, free)
    found = _found(observed, moments, ridge, free)
    if found is not None:
        change = _change(observed, *found)
        learned = held_out.error(change, moments.shift(change) if free else nothing).sum()
    moments.take(held_out)
    if learned < min(nearest, shifted):
        found = _found(observed, moments, ridge, free)
        if found is not None and _rewritten(
            editor, observed, traced, *found, moments if free else None
        ):
            return ""
    if shifted < nearest and _rewritten(editor, observed, traced, codes, scales, moments):
        return "learned codes were no better on samples that were held out, but a bias was"
    return "learned codes were no better on samples that were held out"


def correct(editor: Editor, observed: Observed, traced: Traced) -> str:
    """Move a layer's bias so that its mean output is what it was; why not, or nothing."""
    if not takes_bias(observed.layer, traced):
        return "it has no bias, and its kernel takes none"
    codes, scales = _as_groups(observed)
    change = _change(observed, codes, scales)
    used, held_out = observed.used, observed.held_out
    if held_out.count:
        shift = used.shift(change)
        left = held_out.error(change, shift).sum()
        if left >= held_out.error(change, np.zeros(shift.shape)).sum():
            return "a corrected bias was no better on samples that were held out"
    used.count += held_out.count
    used.x += held_out.x
    used.e += held_out.e
    if _rewritten(editor, observed, traced, codes, scales, used):
        return ""
    return "its bias would overflow"


def takes_bias(layer: IntegerLayer, traced: Traced) -> bool:
    """Whether a constant of each channel can be added at no cost."""
    if traced.bias is not None:
        return True
    given = layer.node.inputs[2] if len(layer.node.inputs) > 2 else None
    return layer.node.op_type in ("Conv", "Gemm") and (given is None or layer.bias is not None)


def _ridge(weight: Array, moments: Moments, held_out: Moments, free: bool) -> float:
    """The ridge whose continuous weights do best on held-out samples."""
    xx, ex = moments.second(centred=free)

    def error(ridge: float) -> float:
        change = optimum(weight, xx, ex, ridge) - weight
        shift = moments.shift(change) if free else np.zeros(change.shape[:2])
        return float(held_out.error(change, shift).sum())

    return min(RIDGES, key=error)


def _found(
    observed: Observed, moments: Moments, ridge: float, free: bool
) -> tuple[Array, Array] | None:
    """Codes and scales of little error; None where the inputs are too nearly dependent."""
    layer = observed.layer
    _, scales = _as_groups(observed)
    least = np.full(scales.shape, float(np.finfo(np.float32).tiny))
    if layer.least is not None:
        least = np.maximum(least, layer.least.reshape(scales.shape))
    xx, ex = moments.second(centred=free)
    target = optimum(observed.weight, xx, ex, ridge)
    damping = max(DAMPING, DAMPING_BY_ROWS * xx.shape[-1] / moments.count)
    grid = layer.grid
    paired = grid.bits == 8 and grid.span == "pairs" and layer.layout.paired
    odd = layer.stored.planes is not None and layer.stored.planes.odd
    box = Box(*grid.ends(odd=odd), paired, odd)
    system = damped(xx, damping)
    starts = STARTS_OF_FEW_BITS if grid.bits <= FEW_BITS else STARTS
    try:
        return reconstruct(target, system, scales, box, least, starts)
    except np.linalg.LinAlgError:
        return None


def _as_groups(observed: Observed) -> tuple[Array, Array]:
    """Codes `[groups, outputs, depth]` and scales `[groups, outputs]` as they are now."""
    codes = observed.split(observed.layer.codes)
    return codes, observed.layer.scales.astype(np.float64).reshape(codes.shape[:2])


def _change(observed: Observed, codes: Array, scales: Array) -> Array:
    """How the weights that codes stand for differ from the float ones."""
    return codes * scales[..., None] - observed.weight


def _rewritten(
    editor: Editor,
    observed: Observed,
    traced: Traced,
    codes: Array,
    scales: Array,
    moments: Means | None,
) -> bool:
    """Write codes and scales, and the bias that leaves no mean error where there are moments."""
    layer = observed.layer
    bias = layer.bias
    shift = np.zeros(scales.size, np.float32)
    if moments is not None:
        change = _change(observed, codes, scales)
        shift = moments.shift(change).reshape(-1).astype(np.float32)
    behind = moments is not None and traced.bias is not None and bias is None
    if moments is not None and not behind:
        bias = shift if bias is None else bias + shift
    integers = observed.joined(codes)
    if not rewrite_layer(editor, layer, integers, scales.reshape(-1).astype(np.float32), bias):
        return False
    if behind:
        assert traced.bias is not None
        node, place = traced.bias
        given = node.inputs[place]
        array = constant_of(given)
        assert given is not None and array is not None
        corrected = (array + shift).astype(np.float32)
        node.replace_input_with(place, editor.constant(f"{given.name}_corrected", corrected))
    return True
