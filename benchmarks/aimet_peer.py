"""AIMET's ONNX path as a maker of model files, in an environment of its own.

    pip install torch==2.13.0
    pip install aimet-onnx==2.42.0 onnx==1.23.2 onnxruntime==1.31.1

Its simulation is written out as Q/DQ pairs, which ONNX Runtime runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from aimet_onnx import QuantizationSimModel, apply_adaround, apply_seq_mse
from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
from aimet_onnx.cross_layer_equalization import equalize_model
from elsewhere_peer import main
from kept_batches import Batch


def quantized(
    original: Path,
    out: Path,
    calibration: list[Batch],
    *,
    weights: str = "int8",
    scheme: str = "min_max",
    equalize: bool = False,
    sequential_mse: bool = False,
    adaround: int = 0,
    operators: Sequence[str] = (),
) -> None:
    """QuantizationSimModel.to_onnx_qdq; `adaround` is the iterations for each layer.

    With `operators`, only what these read is quantized.
    """
    model = onnx.load(original)
    del model.graph.value_info[:]
    if equalize:
        equalize_model(model)
    else:
        fold_all_batch_norms_to_weight(model)
    read = {name for n in model.graph.node if n.op_type in operators for name in n.input}
    sim = QuantizationSimModel(
        model, param_type=weights, activation_type="int8", quant_scheme=scheme
    )
    if operators:
        for name, quantizer in sim.qc_quantize_op_dict.items():
            quantizer.enabled = quantizer.enabled and name in read
    if sequential_mse:
        apply_seq_mse(sim, calibration)
    if adaround:
        apply_adaround(sim, calibration, num_iterations=adaround)
    sim.compute_encodings(calibration)
    made = sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True)
    onnx.save(made, out)


if __name__ == "__main__":
    main({"quantized": quantized})
