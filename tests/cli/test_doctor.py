"""`lissom doctor`: a quantized file, a float one, JSON, wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lissom.model import Model
from lissom.report.doctor import Edge, Examination, Layer
from lissom.report.doctor_text import as_text
from lissom.targets.machine import Machine
from lissom.targets.onnxruntime import kernels_saturate
from lissom.targets.saturation import Saturating
from tests.cli.conftest import Bench, Lissom


def test_a_quantized_file(bench: Bench, lissom: Lissom) -> None:
    said = lissom("doctor", bench.undisturbed / "model.onnx")
    assert said.code == 0
    assert said.err == ""
    assert "multiply-accumulates in integers: 73.0 %" in said.out
    assert "Conv stem/Conv, 27.0 % of the multiply-accumulates" in said.out
    assert "QuantizeLinear, Conv -> QLinearConv" in said.out
    assert "ONNX Runtime 1." in said.out


def test_a_float_file_and_every_node(bench: Bench, lissom: Lissom) -> None:
    said = lissom("doctor", bench.folder / "mlp.onnx", "--all")
    assert said.code == 0
    assert "multiply-accumulates in integers: 0 %" in said.out
    assert "why: it is not quantized" in said.out
    assert "no conversion between codes and floats is left" in said.out
    assert "float      MatMul fc1.product/MatMul as FusedGemm" in said.out


def test_as_json(bench: Bench, lissom: Lissom) -> None:
    said = lissom("doctor", bench.undisturbed / "model.onnx", "--json")
    found = Examination.model_validate(json.loads(said.out))
    assert found.integer_share == pytest.approx(0.7304, abs=1e-4)
    assert sum(found.time.values()) == pytest.approx(1.0)
    assert found.time["integer"] > 0
    assert {"Conv", "Gemm"} <= {each.op_type for each in found.layers if each.kind == "integer"}
    assert [each.name for each in found.fallen_back] == ["stem/Conv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.onnx"], "there is no such model"),
        (["FOLDER/bad.onnx"], "bad.onnx"),
        (["MLP", "--shape", "input=3"], "has 1 axes"),
    ],
)
def test_what_is_wrong_is_exit_code_2(
    bench: Bench, lissom: Lissom, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    places = {"MLP": str(bench.folder / "mlp.onnx"), "FOLDER": str(tmp_path)}
    for name, place in places.items():
        arguments = [text.replace(name, place) for text in arguments]
    said = lissom("doctor", *arguments)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_network_that_is_no_file_yet(lissom: Lissom, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Model("factory", "net.py:build")
    monkeypatch.setattr("lissom.model.open_model", lambda spec: network)
    said = lissom("doctor", "net.py:build")
    assert said.code == 2
    assert "net.py:build is not an .onnx file" in said.err


def layer(name: str, why: str, macs: int | None = None) -> Layer:
    return Layer(
        name=name, op_type="Conv", kind="float", kernel="Conv", multiply_accumulates=macs,
        reason=why, fix="mend it",
    )  # fmt: skip


def test_what_has_the_same_remedy_is_told_once_the_most_work_first() -> None:
    machine = Machine(
        cpu="cpu", architecture="x86_64", features=(), cores=2, memory=0, system="", python=""
    )
    found = Examination(
        model="m.onnx",
        layers=(
            layer("a", "its input x.1 is float", 10),
            layer("b", "its input y.2 is float", 20),
            layer("c", "it is not quantized", 70),
        ),
        integer_share=0.0,
        time={"integer": 0.0, "float": 0.99995, "conversion": 0.00005},
        conversions=(Edge(op_type="QuantizeLinear", edge="a -> b", count=3, tensor="t"),),
        saturating=(Saturating(layer="c", operator="QGemm", pairs=3, of=4),),
        kernels_saturate=True,
        machine=machine,
        runtime="ONNX Runtime 9",
    )
    lines = as_text(found).splitlines()
    told = [line.strip() for line in lines if line.startswith("  Conv")]
    assert told == [
        "Conv c, 70.0 % of the multiply-accumulates",
        "Conv b and 1 more, 30.0 % of the multiply-accumulates",
    ]
    assert "  3 x QuantizeLinear, a -> b (t, ...)" in lines
    assert any("> 99.9 % in float, < 0.1 % converting" in line for line in lines)
    assert "integer sums" not in as_text(found)  # nothing runs in integers
    assert all(len(line) <= 40 for line in as_text(found, width=40).splitlines())


def test_what_would_saturate_elsewhere(bench: Bench, lissom: Lissom) -> None:
    said = lissom("doctor", bench.undisturbed / "model.onnx", "--json")
    found = Examination.model_validate(json.loads(said.out))
    words = " ".join(as_text(found, width=80).split())
    if kernels_saturate():
        assert "integer sums: exact on every CPU" in words
        return
    assert found.saturating
    worst = max(found.saturating, key=lambda each: each.pairs)
    assert "integer sums: exact on this machine" in words
    assert f"would saturate on an x86 CPU without VNNI: {worst.layer}" in words
    here = found.model_copy(update={"kernels_saturate": True})
    assert "integer sums: wrong on this machine" in as_text(here)
    assert "fix: quantize it again here" in as_text(here)
    exact = found.model_copy(update={"saturating": ()})
    assert "integer sums: exact on every CPU" in as_text(exact)
