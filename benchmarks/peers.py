"""ONNX Runtime's own quantizers as makers of model files (see isolated.py)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

Batches = list[dict[str, np.ndarray]]


class Reader(CalibrationDataReader):
    """The calibration batches, as the peer asks for them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def dynamic(
    original: Path,
    out: Path,
    calibration: Batches,
    *,
    weights: str = "QInt8",
    reduce_range: bool = False,
) -> None:
    """quantize_dynamic, per channel."""
    with prepared(original) as model:
        quantize_dynamic(
            model,
            out,
            per_channel=True,
            weight_type=QuantType[weights],
            reduce_range=reduce_range,
        )


def static(
    original: Path,
    out: Path,
    calibration: Batches,
    *,
    method: str = "MinMax",
    activations: str = "QUInt8",
    weights: str = "QInt8",
    reduce_range: bool = False,
    operators: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> None:
    """quantize_static, Q/DQ pairs, per channel; nodes in `exclude` stay float."""
    with prepared(original) as model:
        quantize_static(
            model,
            out,
            Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            nodes_to_exclude=list(exclude),
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType[activations],
            weight_type=QuantType[weights],
            calibrate_method=CalibrationMethod[method],
        )


@contextmanager
def prepared(original: Path) -> Iterator[Path]:
    """The model after quant_pre_process, which stumbles over the exporter's value_info.

    Its symbolic shape inference does not get through a transformer; the plain one is enough.
    """
    model = onnx.load(original)
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        cleaned, path = Path(folder) / "cleaned.onnx", Path(folder) / "prepared.onnx"
        onnx.save(model, cleaned)
        quant_pre_process(cleaned, path, skip_symbolic_shape=True)
        yield path
