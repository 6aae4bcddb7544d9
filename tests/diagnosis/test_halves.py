"""Networks in 16-bit floats, as original and as compressed file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from lissom.batches import Batches
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.speed import times
from lissom.diagnosis.verdict import with_verdicts
from lissom.graph.widen import widen
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests.models import Array, feeds, mlp, saved

HALF = TensorProto.FLOAT16


def halved(model: onnx.ModelProto, *, ports: bool = True) -> onnx.ModelProto:
    """The model computed in float16; its inputs and outputs likewise, or behind Casts."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    del model.graph.value_info[:]
    if ports:
        for port in (*model.graph.input, *model.graph.output):
            port.type.tensor_type.elem_type = HALF
        return model
    nodes = list(model.graph.node)
    nodes[0].input[0], nodes[-1].output[0] = "narrow", "result"
    before = helper.make_node("Cast", ["input"], ["narrow"], to=HALF)
    after = helper.make_node("Cast", ["result"], ["logits"], to=TensorProto.FLOAT)
    del model.graph.node[:]
    model.graph.node.extend([before, *nodes, after])
    return model


def batches(dtype: type = np.float32) -> list[dict[str, Array]]:
    found = [feeds(mlp(), 16, seed=seed) for seed in range(4)]
    return [{name: array.astype(dtype) for name, array in batch.items()} for batch in found]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    return saved(halved(mlp(opset=21)), folder / "half.onnx")


def test_an_int8_file_of_a_network_in_halves(half: Path, tmp_path: Path) -> None:
    """It loses what that of the same network in float32 does."""
    data = batches(np.float16)
    wide = widen(read_onnx(half))
    write_onnx(wide, tmp_path / "wide.onnx")
    context = Context(calibration=Batches.of(data))
    write_onnx(static(wide, Static(weight_bits=4), context), tmp_path / "int8.onnx")
    found = diagnose(half, tmp_path / "int8.onnx", data, pair_sums=False)
    plain = diagnose(tmp_path / "wide.onnx", tmp_path / "int8.onnx", data, pair_sums=False)
    assert not found.unmatched and [each.weight_bits for each in found.layers] == [4, 4]
    assert 1e-3 < found.output_error < 0.1
    assert found.output_error == pytest.approx(plain.output_error, rel=1e-2)
    for one, other in zip(plain.layers, found.layers, strict=True):
        assert other.parts.weights == pytest.approx(one.parts.weights, rel=1e-2)
        assert other.parts.rounding == pytest.approx(one.parts.rounding, rel=1e-2)
        assert other.accumulated == pytest.approx(one.accumulated, rel=1e-2)
        assert other.share == pytest.approx(one.share, abs=1e-2)
    same = diagnose(half, tmp_path / "wide.onnx", data, pair_sums=False)
    # Nothing but the outputs' own 11 bits.
    assert same.output_error < 2.0**-22
    assert all(each.added < 1e-10 for each in same.layers)


def test_float16_arithmetic_as_the_compressed_file(tmp_path: Path) -> None:
    original = saved(mlp(), tmp_path / "float.onnx")
    compressed = saved(halved(mlp(), ports=False), tmp_path / "half.onnx")
    found = with_verdicts(diagnose(original, compressed, batches(), pair_sums=False))
    # As the file computes on this machine, rounding of results and all.
    assert 1e-9 < found.output_error < 1e-6
    assert found.verdicts[0].words.startswith("healthy") and len(found.verdicts) == 1
    for layer in found.layers:
        assert 1e-10 < layer.parts.weights < 2.0**-22
        assert layer.parts.rounding == layer.parts.clipping == 0


@pytest.mark.parametrize("level", [0, 4])
def test_weights_in_blocks_with_scales_in_halves(level: int, half: Path, tmp_path: Path) -> None:
    quantizer = MatMulNBitsQuantizer(onnx.load(half), 4, 16, True, accuracy_level=level)
    quantizer.process()
    onnx.save(quantizer.model.model, tmp_path / "blocks.onnx")
    found = diagnose(half, tmp_path / "blocks.onnx", batches(np.float16), pair_sums=False)
    assert [each.weight_bits for each in found.layers] == [4, 4]
    assert found.alone == pytest.approx(found.output_error, rel=0.3)
    for layer in found.layers:
        assert 1e-3 < layer.parts.weights < 2e-2
        # A kernel that rounds its inputs inside does so to eight bits.
        assert (1e-6 < layer.parts.rounding < 1e-3) if level else layer.parts.rounding < 1e-10


def test_layers_in_halves_have_their_times(half: Path, tmp_path: Path) -> None:
    wide = widen(read_onnx(half))
    write_onnx(wide, tmp_path / "wide.onnx")
    for one, other in ((half, tmp_path / "wide.onnx"), (tmp_path / "wide.onnx", half)):
        found = times(one, other, batches(np.float16)[0], seconds=0.2)
        assert [each.name for each in found.layers] == ["fc1.product/MatMul", "fc2.product/MatMul"]
        for layer in found.layers:
            assert layer.original > 0 and layer.compressed > 0
