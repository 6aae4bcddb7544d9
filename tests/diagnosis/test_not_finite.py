"""Outputs that hold masks or lose numbers, are labels, or differ in length."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.batches import Batches
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.repaired import worth_repairing
from lissom.diagnosis.share import Alone, shares
from lissom.diagnosis.verdict import with_verdicts
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.static import Static, static
from lissom.report.diagnosis import Diagnosis
from lissom.report.diagnosis_page import render_diagnosis
from lissom.report.diagnosis_text import as_text
from lissom.technique import Context
from tests.models import feeds, mlp, node, saved, value

BATCHES = [feeds(mlp(), 16, seed=seed) for seed in range(4)]


def ended(source: Path, path: Path, nodes: list, output: onnx.ValueInfoProto, **constants) -> Path:
    """A file whose logits go through more nodes."""
    model = onnx.load(source)
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(output)
    onnx.save(model, path)
    return path


def in_half(source: Path, path: Path, tensor: str) -> Path:
    """A file that computes one tensor in float16."""
    model = onnx.load(source)
    at = next(at for at, each in enumerate(model.graph.node) if each.output[0] == tensor)
    model.graph.node[at].output[0] = f"{tensor}.full"
    model.graph.node.insert(
        at + 1, helper.make_node("Cast", [f"{tensor}.full"], [f"{tensor}.half"], to=10)
    )
    model.graph.node.insert(at + 2, helper.make_node("Cast", [f"{tensor}.half"], [tensor], to=1))
    onnx.save(model, path)
    return path


def large(path: Path) -> Path:
    """A network whose hidden layer goes beyond float16, and its outputs do not."""
    model = mlp()
    for tensor in model.graph.initializer:
        if tensor.name != "fc2.bias":
            factor = 5e-5 if tensor.name == "fc2.weight" else 2e4
            array = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return saved(model, path)


def few_bits(source: Path, path: Path, bits: int = 2) -> Path:
    context = Context(calibration=Batches.of(BATCHES))
    write_onnx(static(read_onnx(source), Static(weight_bits=bits), context), path)
    return path


def looked(original: Path, compressed: Path) -> Diagnosis:
    return with_verdicts(diagnose(original, compressed, BATCHES, pair_sums=False))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, Path, Diagnosis]:
    """The network, its form of two bits, and what is said of the two."""
    folder = tmp_path_factory.mktemp("plain")
    original = saved(mlp(), folder / "mlp.onnx")
    compressed = few_bits(original, folder / "mlp-2.onnx")
    return original, compressed, looked(original, compressed)


def test_the_first_layer_that_overflows_is_named_and_the_rest_is_not_healthy(tmp_path) -> None:
    original = large(tmp_path / "large.onnx")
    found = looked(original, in_half(original, tmp_path / "half.onnx", "fc1"))
    assert math.isinf(found.output_error)
    assert found.not_finite is not None
    assert found.not_finite.why == "float16"
    assert found.not_finite.largest > 65504
    first, *rest = found.verdicts
    assert (first.layer, first.cause) == ("fc1.product/MatMul", "not finite")
    assert "% of what it gives is infinite, where the original gives numbers" in first.words
    assert "computed in float16, which ends at 65,504, and the original goes to" in first.words
    assert first.remedy.startswith("compute in float32")
    assert first.technique == "quantize.float16"
    assert not any(each.cause == "healthy" for each in rest)
    assert "the outputs are not numbers" in as_text(found)
    assert "float16" in render_diagnosis(found)


def test_a_layer_that_loses_numbers_by_itself_makes_all_of_the_error() -> None:
    made = [Alone(0.02, 0.1), Alone(math.inf, 0.0), Alone(0.0, 0.0)]
    assert shares(made) == [0.0, 1.0, 0.0]
    assert worth_repairing(made) == [1, 0]
    assert shares([Alone(0.03, 0.0), Alone(0.01, 0.0)]) == pytest.approx([0.75, 0.25])
    assert shares([Alone(0.0, 0.0)]) == [0.0]


def test_numbers_lost_behind_the_last_layer_are_told_with_the_constant(plain, tmp_path) -> None:
    original, compressed, sound = plain
    nodes = [
        node("Cast", ["logits"], "half", to=TensorProto.FLOAT16),
        node("Mul", ["half", "big"], "large"),
        node("Div", ["large", "big"], "small"),
        node("Cast", ["small"], "y", to=TensorProto.FLOAT),
    ]
    output = value("y", TensorProto.FLOAT, "batch", 5)
    with np.errstate(over="ignore"):
        big = np.float16(7e4)
    found = looked(original, ended(compressed, tmp_path / "nan.onnx", nodes, output, big=big))
    first = found.verdicts[0]
    assert (first.layer, first.cause) == (None, "not finite")
    assert first.words.startswith("100 % of the outputs is NaN, where the original's are numbers")
    assert "the constant 'big' goes beyond float16" in first.words
    # Layers are told of as they are.
    shares = [layer.share for layer in found.layers]
    assert shares == pytest.approx([layer.share for layer in sound.layers], rel=1e-6)


@pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min])
def test_a_class_that_is_masked_in_both_changes_nothing(mask, plain, tmp_path) -> None:
    original, compressed, sound = plain
    nodes = [node("Add", ["logits", "mask"], "y")]
    output = value("y", TensorProto.FLOAT, "batch", 5)
    held = np.array([0, 0, 0, 0, mask], np.float32)
    one, other = (
        ended(file, tmp_path / f"{at}.onnx", nodes, output, mask=held)
        for at, file in enumerate((original, compressed))
    )
    found = looked(one, other)
    # One class of five is left out.
    assert 0.5 * sound.output_error < found.output_error < 2 * sound.output_error
    assert found.verdicts[0].layer == "fc2.product/MatMul"
    assert "2-bit weights make 100 % of what it adds" in found.verdicts[0].words
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)


def test_labels_are_told_of_as_the_scores_they_are_chosen_from(plain, tmp_path) -> None:
    original, compressed, sound = plain
    nodes = [node("ArgMax", ["logits"], "label", axis=1, keepdims=0)]
    output = value("label", TensorProto.INT64, "batch")
    one, other = (
        ended(file, tmp_path / f"{at}.onnx", nodes, output)
        for at, file in enumerate((original, compressed))
    )
    found = looked(one, other)
    assert found.output_error == pytest.approx(sound.output_error, rel=1e-6)
    assert [each.words for each in found.verdicts] == [each.words for each in sound.verdicts]
    assert "the error at logits, of which the outputs are made, is -8" in as_text(found)
    shares = [layer.share for layer in found.layers]
    assert shares == pytest.approx([layer.share for layer in sound.layers], rel=1e-6)


def test_lists_that_differ_in_length_are_told_of_as_what_they_are_chosen_from(
    plain, tmp_path
) -> None:
    original, compressed, sound = plain
    nodes = [
        node("Greater", ["logits", "zero"], "above"),
        node("Reshape", ["above", "flat"], "kept"),
        node("Reshape", ["logits", "flat"], "all"),
        node("Compress", ["all", "kept"], "y"),
    ]
    output = value("y", TensorProto.FLOAT, "found")
    constants = {"zero": np.float32(0), "flat": np.array([-1])}
    one, other = (
        ended(file, tmp_path / f"{at}.onnx", nodes, output, **constants)
        for at, file in enumerate((original, compressed))
    )
    found = looked(one, other)
    assert found.measured_at == ("all", "logits")
    assert found.output_error == pytest.approx(sound.output_error, rel=1e-6)
    worst = max(found.layers, key=lambda layer: layer.share or 0.0)
    assert (worst.name, worst.share) == (
        "fc2.product/MatMul",
        pytest.approx(max(layer.share for layer in sound.layers), rel=1e-6),
    )


def test_an_original_without_numbers_is_not_called_healthy(plain, tmp_path) -> None:
    original, compressed, _ = plain
    nodes = [node("Mul", ["logits", "none"], "y")]
    output = value("y", TensorProto.FLOAT, "batch", 5)
    one, other = (
        ended(file, tmp_path / f"{at}.onnx", nodes, output, none=np.float32(np.nan))
        for at, file in enumerate((original, compressed))
    )
    found = looked(one, other)
    assert [each.cause for each in found.verdicts] == ["unknown"]
    assert "cannot be compared: they are no numbers in the original either" in as_text(found)
