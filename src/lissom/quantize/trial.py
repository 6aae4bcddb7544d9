"""How far a graph is from the original after the quantization that comes next, on unseen data."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.batches import Batch, Batches
from lissom.graph.capture import capture
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.static import Static, static
from lissom.quantize.weight_range import WeightGrid
from lissom.technique import Context

Next = Literal["quantize.static", "quantize.dynamic"]
Outputs = list[list[NDArray[Any]]]
Noise = NDArray[np.float64]
# Parts of a batch whose errors are counted apart, so that it shows how far a gain is luck.
PIECES = 4
# Batches that a trial calibrates on and is judged on, each; one quantization is made per trial.
BATCHES = 8


class Trial:
    """Judges graphs that compute the same by what quantization makes of them.

    Every second batch calibrates, the others judge. Without a second batch one does both.
    """

    def __init__(
        self, original: ir.Model, following: Next, weights: WeightGrid, context: Context
    ) -> None:
        assert context.calibration is not None
        self.following, self.weights, self.context = following, weights, context
        fitted: list[Batch] = []
        judged: list[Batch] = []
        for index, batch in enumerate(context.calibration):
            (judged if index % 2 else fitted).append(batch)
            if index + 1 == 2 * BATCHES:
                break
        self.fitted, self.judged = fitted, judged or fitted
        self.names = [value.name or "" for value in original.graph.outputs]
        self.wanted = self._outputs(original)

    def noise(self, model: ir.Model) -> Noise:
        """What quantization adds to the outputs of a graph."""
        return self._compared(self._outputs(self._quantized(model.clone())))

    def difference(self, model: ir.Model) -> float:
        """Signal to noise of a graph as it is, in dB."""
        return float(-10 * np.log10(max(1e-30, self._compared(self._outputs(model)).mean())))

    def _compared(self, given: Outputs) -> Noise:
        """Shares of power, by output summed up and each output counting alike."""
        found = []
        for index in range(len(self.names)):
            if self.wanted[0][index].dtype.kind != "f":
                continue
            signal, errors = 0.0, []
            for one, other in zip(self.wanted, given, strict=True):
                wanted = one[index].astype(np.float64)
                # What was masked out is infinite in both.
                off = np.where(np.isfinite(wanted), wanted - other[index], 0.0)
                signal += float(np.square(wanted[np.isfinite(wanted)]).sum())
                pieces = np.array_split(np.square(off), PIECES) if off.ndim else [np.square(off)]
                errors += [float(piece.sum()) for piece in pieces if piece.size]
            if signal:
                found.append(np.array(errors) * len(errors) / signal)
        lengths = {len(errors) for errors in found}
        if len(lengths) > 1:
            return np.array([float(np.mean([errors.mean() for errors in found]))])
        return np.mean(found, axis=0) if found else np.zeros(1)

    def _quantized(self, model: ir.Model) -> ir.Model:
        context = dataclasses.replace(self.context, calibration=Batches.of(self.fitted))
        if self.following == "quantize.static":
            settings = Static(weight_range=self.weights.span, weight_bits=self.weights.bits)
            return static(model, settings, context)
        return dynamic(model, Dynamic(weight_range=self.weights.span, embeddings=False), context)

    def _outputs(self, model: ir.Model) -> Outputs:
        return [
            [arrays[name] for name in self.names]
            for arrays in capture(model, self.names, self.judged)
        ]


def gain_of(before: Noise, after: Noise) -> float:
    """What noise is less by, in dB, at the lower end of what the pieces of the data tell.

    Two standard errors below the mean of the differences, and never above the gain of the sums.
    """
    least = 1e-30
    total = 10 * np.log10(max(before.mean(), least) / max(after.mean(), least))
    # How the noise of single pieces changes, as shares of all the noise there was.
    changes = (before - after) / max(float(before.mean()), least)
    deviation = float(changes.std(ddof=1)) / np.sqrt(len(changes)) if len(changes) > 1 else 0.0
    share = float(changes.mean()) - 2 * deviation
    return float(min(total, -10 * np.log10(max(1 - share, least))))
