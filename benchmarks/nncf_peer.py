"""NNCF with accuracy control as a maker of model files (see isolated.py).

Layers go back to float, the worst first, until the metric of the samples of tuning.py is no more
than `max_drop` below the original's. Needs what openvino_peer.py needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime
import openvino
from elsewhere_peer import labelled, main, score
from kept_batches import Batch
from openvino_peer import _arguments

Item = tuple[Batch, np.ndarray]


def controlled_onnx(original: Path, out: Path, calibration: list[Batch], **options: Any) -> None:
    """nncf.quantize_with_accuracy_control of the ONNX model."""

    def opened(model: onnx.ModelProto) -> Callable[[Batch], np.ndarray]:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return lambda feeds: session.run(None, feeds)[0]

    onnx.save(_controlled(onnx.load(original), opened, calibration, options), out)


def controlled_openvino(
    original: Path, out: Path, calibration: list[Batch], **options: Any
) -> None:
    """The same of the model as OpenVINO reads it; `out` ends in .xml."""

    def opened(model: openvino.CompiledModel) -> Callable[[Batch], np.ndarray]:
        return lambda feeds: np.array(model(feeds)[0])

    model = openvino.Core().read_model(original)
    model = _controlled(model, opened, calibration, options)
    openvino.save_model(model, out, compress_to_fp16=False)


def _controlled(
    model: Any,
    opened: Callable[[Any], Callable[[Batch], np.ndarray]],
    calibration: list[Batch],
    options: dict[str, Any],
) -> Any:
    """What NNCF makes of a model of one of its backends."""
    path, metric, _ = (options.pop(name) for name in ("tuning", "metric", "digest"))
    drop = options.pop("max_drop")
    settings = _arguments(calibration, options)

    def validated(model: Any, items: Iterable[Item]) -> tuple[float, list[list[np.ndarray]]]:
        run = opened(model)
        kept = [(run(inputs), targets) for inputs, targets in items]
        answers, targets = zip(*kept, strict=True)
        return score(metric, answers, targets), [[answer] for answer in answers]

    return nncf.quantize_with_accuracy_control(
        model,
        validation_dataset=nncf.Dataset(labelled(Path(path))),
        validation_fn=validated,
        max_drop=drop,
        **settings,
    )


if __name__ == "__main__":
    main({"onnx": controlled_onnx, "openvino": controlled_openvino})
