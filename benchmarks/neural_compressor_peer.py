"""Neural Compressor's ONNX Runtime path as a maker of model files, in an environment of its own.

    pip install neural-compressor==2.6 onnx==1.16.2 onnxruntime==1.20.1 numpy==1.26.4 six

Neural Compressor 3.10 has no ONNX Runtime path any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from elsewhere_peer import labelled, main, score
from kept_batches import Batch
from neural_compressor import PostTrainingQuantConfig, quantization, set_workspace
from neural_compressor.config import AccuracyCriterion, TuningCriterion


class Loader:
    """The calibration batches, as the peer asks for them: pairs with labels that it ignores."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.batch_size = len(next(iter(batches[0].values())))

    def __iter__(self) -> Iterator[tuple[Batch, int]]:
        return ((batch, 0) for batch in self.batches)


def static(
    original: Path,
    out: Path,
    calibration: list[Batch],
    *,
    recipes: dict[str, Any] | None = None,
    quant_format: str = "QDQ",
    tuned: dict[str, Any] | None = None,
    max_drop: float = 0.005,
    trials: int = 50,
) -> None:
    """quantization.fit; with `tuned` (see tuning.py) it tries settings until the drop is met.

    Raises:
        RuntimeError: no trial met the drop.
    """
    model = onnx.load(original)
    del model.graph.value_info[:]
    settings = PostTrainingQuantConfig(
        approach="static",
        quant_format=quant_format,
        recipes=recipes or {},
        calibration_sampling_size=[sum(len(next(iter(b.values()))) for b in calibration)],
        accuracy_criterion=AccuracyCriterion(criterion="absolute", tolerable_loss=max_drop),
        tuning_criterion=TuningCriterion(max_trials=trials, timeout=0),
    )
    evaluated = None if tuned is None else _evaluation(tuned)
    with tempfile.TemporaryDirectory() as workspace:
        set_workspace(workspace)
        found = quantization.fit(
            model, settings, calib_dataloader=Loader(calibration), eval_func=evaluated
        )
    if found is None:
        raise RuntimeError(f"no setting of {trials} loses less than {max_drop}")
    onnx.save(found.model, out)


def _evaluation(tuned: dict[str, Any]) -> Any:
    """The metric of a model on the samples of tuning.py."""
    samples = labelled(Path(tuned["tuning"]))

    def evaluated(model: onnx.ModelProto) -> float:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        answers: list[np.ndarray] = [session.run(None, inputs)[0] for inputs, _ in samples]
        return score(tuned["metric"], answers, [targets for _, targets in samples])

    return evaluated


if __name__ == "__main__":
    main({"static": static})
