"""How far a graph is from the original after the quantization that comes next, on unseen data."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.batches import Batch, Batches
from lissom.graph.capture import capture
from lissom.graph.compared import compared
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.following import Following
from lissom.quantize.output_error import is_signal, squares
from lissom.quantize.static import static
from lissom.technique import Context, unheard

Next = Literal["quantize.static", "quantize.dynamic"]
Outputs = list[dict[str, NDArray[Any]]]
Noise = NDArray[np.float64]
# Parts of a batch whose errors are counted apart, so that it shows how far a gain is luck.
PIECES = 4
# Batches that a trial calibrates on and is judged on, each; one quantization is made per trial.
BATCHES = 8
PLAIN = {"rounding": "nearest", "bias_correction": "none"}


class Trial:
    """Judges graphs that compute the same by what quantization makes of them.

    Every second batch calibrates, the others judge. Without a second batch one does both.
    """

    def __init__(
        self, original: ir.Model, following: Next, grids: Following, context: Context
    ) -> None:
        assert context.calibration is not None
        self.following, self.grids, self.context = following, grids, context
        fitted: list[Batch] = []
        judged: list[Batch] = []
        for index, batch in enumerate(context.calibration):
            (judged if index % 2 else fitted).append(batch)
            if index + 1 == 2 * BATCHES:
                break
        self.fitted, self.judged = fitted, judged or fitted
        self.names = compared(original)
        self.wanted = self._outputs(original)

    def noise(self, model: ir.Model, *, plain: bool = False) -> Noise:
        """What quantization adds to the outputs of a graph; `plain` with the nearest codes."""
        return self._compared(self._outputs(self._quantized(model.clone(), plain)))

    def proven(self, before: ir.Model, after: ir.Model, gain: float) -> float:
        """What is gained where codes or biases are chosen as they will be, as `gain_of` has it.

        That takes long, so that candidates are compared with the nearest codes, by which the best
        of them has gained `gain`.
        """
        if self.following == "quantize.dynamic" or self.grids.is_plain:
            return gain
        return gain_of(self.noise(before), self.noise(after))

    def difference(self, model: ir.Model) -> float:
        """Signal to noise of a graph as it is, in dB."""
        return float(-10 * np.log10(max(1e-30, self._compared(self._outputs(model)).mean())))

    def _compared(self, given: Outputs) -> Noise:
        """Shares of power, by output summed up and each output counting alike."""
        found = []
        for name in self.names:
            signal, errors = 0.0, []
            for one, other in zip(self.wanted, given, strict=True):
                wanted = one[name]
                if name not in other or other[name].size != wanted.size:
                    continue
                off = squares(wanted, other[name])
                signal += float(np.square(wanted[is_signal(wanted)], dtype=np.float64).sum())
                pieces = np.array_split(off, PIECES) if off.ndim else [off]
                errors += [float(piece.sum()) for piece in pieces if piece.size]
            if signal:
                found.append(np.array(errors) * len(errors) / signal)
        lengths = {len(errors) for errors in found}
        if len(lengths) > 1:
            return np.array([float(np.mean([errors.mean() for errors in found]))])
        return np.mean(found, axis=0) if found else np.zeros(1)

    def _quantized(self, model: ir.Model, plain: bool) -> ir.Model:
        # What quantization has to say of a trial is not what it says of the result.
        context = dataclasses.replace(
            self.context, calibration=Batches.of(self.fitted), note=unheard
        )
        if self.following == "quantize.static":
            settings = self.grids.static(context)
            if plain:
                settings = settings.model_copy(update=PLAIN)
            return static(model, settings, context)
        span = self.grids.span(context)
        return dynamic(model, Dynamic(weight_range=span, embeddings=False), context)

    def _outputs(self, model: ir.Model) -> Outputs:
        known = {value.name for node in model.graph for value in node.outputs}
        return list(capture(model, [name for name in self.names if name in known], self.judged))


def gain_of(before: Noise, after: Noise) -> float:
    """What noise is less by, in dB, at the lower end of what the pieces of the data tell.

    Two standard errors below the mean of the differences, and never above the gain of the sums.
    """
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        # Numbers were lost: all is gained where they come back.
        return np.inf if np.isfinite(after).all() else -np.inf
    least = 1e-30
    total = 10 * np.log10(max(before.mean(), least) / max(after.mean(), least))
    # How the noise of single pieces changes, as shares of all the noise there was.
    changes = (before - after) / max(float(before.mean()), least)
    deviation = float(changes.std(ddof=1)) / np.sqrt(len(changes)) if len(changes) > 1 else 0.0
    share = float(changes.mean()) - 2 * deviation
    return float(min(total, -10 * np.log10(max(1 - share, least))))
