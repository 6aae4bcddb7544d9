"""`lissom inspect`: what is told of files of every kind, as text of any width and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lissom.measurement.records import Settings
from lissom.report.inspect import Inspection, inspect
from lissom.report.inspect_text import as_text
from tests.cli.conftest import Bench, Lissom
from tests.graph.small import FLAG, branching, draw, node, proto, tensor

X = tensor("x", shape=["n", 64])


def looked_into(folder: Path, *arguments, **more) -> Inspection:
    onnx.save(proto(*arguments, **more), folder / "m.onnx")
    return inspect(folder / "m.onnx", Settings())


def why(found: Inspection) -> dict[str, int]:
    return {each.why: each.bytes for each in found.left_alone}


def test_an_image_model(bench: Bench, lissom: Lissom) -> None:
    said = lissom("inspect", bench.folder / "depthwise.onnx", "--batch", "2")
    assert said.code == 0
    assert "2.38 k parameters" in said.out
    assert "operator sets: ai.onnx 17, written by lissom tests" in said.out
    assert "11: 3 Conv, 2 BatchNormalization" in said.out
    assert "image: float32 [batch, 3, 32, 32]" in said.out
    # 2 images: 16 x 16 x 16 x (27 + 9 + 64) and 10 x 64 each.
    assert "820 k in a run with image [2, 3, 32, 32]" in said.out
    assert "quantize.static       7.2 kB of 9.5 kB in 3 tensors" in said.out
    assert "a small first Conv is faster in float" in said.out


def test_as_json(bench: Bench, lissom: Lissom) -> None:
    said = lissom("inspect", bench.folder / "mlp.onnx", "--json")
    found = Inspection.model_validate(json.loads(said.out))
    assert found.schema_version == 1
    assert found.operators == {"Add": 2, "MatMul": 2, "Relu": 1}
    assert found.macs == 16 * 64 + 64 * 5
    assert found.parameters == 16 * 64 + 64 + 64 * 5 + 5
    assert found.dtypes == {"float32": 4 * found.parameters}
    first = found.layers[0]
    assert (first.name, first.op_type, first.bytes, first.macs) == (
        "fc1.weight", "MatMul", 4096, 1024,
    )  # fmt: skip
    assert "quantize.dynamic" in first.techniques
    assert first.why_not is None


def test_what_is_quantized_already(bench: Bench) -> None:
    found = inspect(bench.undisturbed / "model.onnx", Settings())
    assert why(found)["quantized already, for Conv"] == 16 * 9 + 64 * 16
    assert why(found)["quantized already, for Gemm"] == 64 * 10
    assert found.dtypes["int8"] > 16 * 9 + 64 * 16 + 64 * 10
    assert [each.technique for each in found.chances] == []


def test_weights_in_bodies_in_halves_in_doubles_and_first(tmp_path: Path) -> None:
    inner = onnx.numpy_helper.from_array(draw(64, 64), "inner")
    body = branching(
        [node("MatMul", ["x", "inner"], "y_then")], [node("Neg", ["x"], "y_else")], "y"
    )
    (branch,) = (each.g for each in body.attribute if each.name == "then_branch")
    branch.initializer.append(inner)
    nodes = [body, node("MatMul", ["left", "column"], "z")]
    column, outputs = tensor("column", shape=[64, 1]), [tensor("y", shape=["n", 64]), "z"]
    found = looked_into(tmp_path, nodes, [X, FLAG, column], outputs, {"left": draw(64, 64)})
    assert why(found) == {
        "in the body of If, which lissom leaves alone": 16384,
        "MatMul with its constant first": 16384,
    }
    assert found.macs is None
    assert "unknown" in as_text(found)
    double = proto(
        [node("MatMul", ["x", "w"], "y")],
        [tensor("x", TensorProto.DOUBLE, ["n", 64])],
        [tensor("y", TensorProto.DOUBLE, ["n", 64])],
        {"w": draw(64, 64).astype(np.float64)},
    )
    onnx.save(double, tmp_path / "double.onnx")
    found = inspect(tmp_path / "double.onnx", Settings())
    assert why(found) == {"float64: techniques take float32; export it so": 32768}


def test_text_inputs_are_told_and_not_made_up(tmp_path: Path) -> None:
    inputs = [tensor("words", TensorProto.STRING, ["n"])]
    nodes = [node("StringNormalizer", ["words"], "y", case_change_action="LOWER")]
    found = looked_into(tmp_path, nodes, inputs, [tensor("y", TensorProto.STRING, ["n"])])
    assert str(found.inputs[0]) == "words: string [n]"
    assert "lissom cannot make up its inputs" in as_text(found)
    assert "no layer has weights" in as_text(found)


@pytest.mark.parametrize("width", [80, 120])
def test_layers_that_only_a_number_tells_apart_share_a_line(tmp_path: Path, width: int) -> None:
    name = "transformer.encoder.block.{}.attention.projection_of_the_output.weight"
    nodes = [
        node("MatMul", ["x" if i == 0 else f"h{i}", name.format(i)], f"h{i + 1}") for i in range(9)
    ]
    weights = {name.format(i): draw(64, 64) for i in range(9)}
    found = looked_into(tmp_path, nodes, [X], ["h9"], weights)
    lines = as_text(found, width=width).splitlines()
    assert all(len(line) <= width for line in lines)
    (line,) = (line for line in lines if "9 MatMul" in line and "output.weight" in line)
    assert "36.9 k" in line
    assert "147.5 kB" in line
    every = as_text(found, every=True, width=width).splitlines()
    assert sum("output.weight" in line for line in every) == 9


def test_layers_are_told_apart_and_operators_named_in_full(tmp_path: Path) -> None:
    """Alike at the end and too long for the line: the beginning tells which is which."""
    middle = "of_a_very_long_name_that_ends_in_the_same_way_everywhere" * 2
    names = [f"{where}.{middle}" for where in ("encoder", "decoder")]
    nodes = [
        node("MatMul", ["x", names[0]], "a"),
        node("Gemm", ["a", names[1], "bias"], "b"),
        node("BatchNormalization", ["b", "s", "bias", "m", "v"], "y"),
    ]
    weights = dict.fromkeys(names, draw(1200, 1200)) | {n: draw(1200) for n in ("s", "m", "v")}
    long = tensor("x", shape=["n", 1200])
    found = looked_into(tmp_path, nodes, [long], ["y"], weights | {"bias": draw(1200)})
    for width in (80, 100):
        lines = as_text(found, width=width).splitlines()
        shown = [line.split()[0] for line in lines if "everywhere" in line]
        assert len(shown) == len(set(shown)) == 2
        assert any(name.startswith("encoder") for name in shown)
    assert "BatchNormalization  " in as_text(found, width=120)
    assert why(found) == {"vectors: biases, norms, scales": 4 * 1200 * 4}


def test_what_is_wrong_is_exit_code_2(lissom: Lissom, bench: Bench) -> None:
    assert "there is no such model" in lissom("inspect", "none.onnx").err
    said = lissom("inspect", bench.folder / "mlp.onnx", "--shape", "other=1x16")
    assert said.code == 2
    assert "other" in said.err
