"""Verdicts about time: planted layers that do not fuse, or are slower in codes, and none else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from lissom.diagnosis.floated import in_float
from lissom.diagnosis.slow import slow
from lissom.diagnosis.speed import times, with_kept_float
from lissom.onnx_file import read_onnx, write_onnx
from lissom.report.diagnosis import Grid, LayerError, LayerTime, Times, Verdict
from lissom.targets.optimized import optimized
from tests.measurement.stacks import floats, graph_of

WIDE, SIDE = 64, 24


def block(*, codes: bool, read_twice: bool = False) -> onnx.ModelProto:
    """Two convolutions and the mean over the image; with codes, both between conversions.

    Where the result of the second is read twice, once by codes and once in float, its integer
    kernel, which gives codes only, cannot be used.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "s": np.float32(0.05),
        "z": np.uint8(128),
        "sw": np.full(WIDE, 0.002, np.float32),
        "zw": np.zeros(WIDE, np.int8),
    }
    nodes = []

    def pair(name: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"]))
        return f"{name}_d"

    source = "x"
    for name in ("first", "second"):
        kernel = rng.integers(-60, 60, (WIDE, WIDE, 3, 3)).astype(np.int8)
        read = source
        if codes:
            read = pair(source)
            weights[f"{name}.weight_codes"] = kernel
            given = [f"{name}.weight_codes", "sw", "zw"]
            made = helper.make_node("DequantizeLinear", given, [f"{name}.weight"], axis=0)
            nodes.append(made)
        else:
            weights[f"{name}.weight"] = kernel.astype(np.float32) * np.float32(0.002)
        conv = helper.make_node(
            "Conv", [read, f"{name}.weight"], [name], f"conv.{name}", pads=[1] * 4
        )
        nodes.append(conv)
        source = name
    end = pair("second") if codes else "second"
    nodes.append(helper.make_node("GlobalAveragePool", [end], ["mean"], "pool"))
    outputs = [floats("mean", 1, WIDE, 1, 1)]
    if read_twice:
        nodes.append(helper.make_node("ReduceMax", ["second"], ["most"], "most", keepdims=0))
        outputs.append(floats("most"))
    return graph_of(nodes, [floats("x", 1, WIDE, SIDE, SIDE)], outputs, weights)


def test_a_layer_that_does_not_fuse_is_named_with_the_reason_and_what_it_costs(
    tmp_path: Path,
) -> None:
    for codes in (False, True):
        onnx.save(block(codes=codes, read_twice=True), tmp_path / f"{codes}.onnx")
    files = tmp_path / "False.onnx", tmp_path / "True.onnx"
    sample = {"x": np.random.default_rng(1).normal(size=(1, WIDE, SIDE, SIDE)).astype(np.float32)}
    found = times(*files, sample, seconds=0.6)
    broken, sound = found.of("conv.second"), found.of("conv.first")
    assert broken is not None and sound is not None
    assert (sound.runs, sound.why) == ("integer", "")
    assert broken.runs == "float"
    assert "is read 2 times" in broken.why
    # What was first dequantized, and its weights in every run.
    assert broken.difference[1] > 0
    assert found.inputs == f"x 1x{WIDE}x{SIDE}x{SIDE}"
    parts = sum(each.compressed for each in found.layers) + found.conversions[1] + found.rest[1]
    assert parts == pytest.approx(found.compressed, rel=0.2)
    assert sound.bytes == (4 * WIDE * WIDE * 9, WIDE * WIDE * 9)
    tried = with_kept_float(found, files[1], sample, ["conv.second", "pool"], seconds=0.4)
    layer, pool = tried.of("conv.second"), tried.of("pool")
    assert layer is not None and pool is not None
    assert layer.kept_float is not None and pool.kept_float is None
    # Its weights need not be dequantized any more.
    assert layer.kept_float[0] < broken.difference[2]


class Samples(CalibrationDataReader):
    """What a peer calibrates on."""

    def __init__(self) -> None:
        draw = np.random.default_rng(2).normal
        self.left = [{"x": draw(size=(1, WIDE, SIDE, SIDE)).astype(np.float32)} for _ in range(2)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_layer_kept_float_is_timed_in_floats(form: QuantFormat, tmp_path: Path) -> None:
    """Operators on codes become float ones too, and no runtime quantizes them again."""
    files = tmp_path / "float.onnx", tmp_path / "codes.onnx"
    onnx.save(block(codes=False), files[0])
    quantize_static(
        *files, Samples(), per_channel=True, quant_format=form,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip
    kinds = {node.op_type for node in onnx.load(files[1]).graph.node}
    assert ("QLinearConv" in kinds) == (form is QuantFormat.QOperator)
    sample = {"x": np.ones((1, WIDE, SIDE, SIDE), np.float32)}
    found = times(*files, sample, seconds=0.3)
    before = found.of("conv.second")
    assert before is not None
    assert before.runs == "integer"
    model = read_onnx(files[1])
    assert in_float(model, before.node)
    write_onnx(model, tmp_path / "one.onnx")
    with optimized(tmp_path / "one.onnx") as file:
        kernels = Counter(node.op_type for node in onnx.load(file).graph.node)
    assert (kernels["QLinearConv"], kernels["Conv"] + kernels["FusedConv"]) == (1, 1)
    after = with_kept_float(found, files[1], sample, ["conv.second"], seconds=0.3).of("conv.second")
    assert after is not None and after.kept_float is not None
    # Conversions come on top of what the float kernel takes longer.
    assert after.kept_float[1] > 0.5 * (before.original - before.compressed)


def table(*layers: LayerTime) -> Times:
    return Times(
        original=10.0,
        compressed=7.0,
        conversions=(0.0, 0.5),
        rest=(0.0, 0.0),
        threads=1,
        inputs="x 1x3",
        layers=layers,
    )


def told(*layers: LayerTime) -> list[Verdict]:
    return list(slow(table(*layers)))


SLOWER = LayerTime(
    name="depth",
    original=0.25,
    compressed=0.40,
    conversions=0.02,
    difference=(0.15, 0.17, 0.19),
    runs="integer",
    kept_float=(-0.2, -0.16, -0.1),
    bytes=(40_000, 12_000),
)


def test_a_layer_that_is_slower_in_codes_is_told_with_what_its_float_form_brings() -> None:
    (verdict,) = told(SLOWER)
    assert (verdict.layer, verdict.cause) == ("depth", "slow")
    assert verdict.words == "depth is slower than its float form: 0.42 ms against 0.25 ms"
    assert verdict.remedy == (
        "keep it float: quantize.static with keep_float: ['depth'] (+0.028 MB, -0.16 ms)"
    )
    assert (verdict.technique, verdict.config) == ("quantize.static", {"keep_float": ["depth"]})
    assert (verdict.ms, verdict.bytes) == (-0.16, 28_000)


@pytest.mark.parametrize(
    "change",
    [
        {"difference": (-0.01, 0.17, 0.3)},  # not always slower
        {"difference": (0.01, 0.05, 0.09)},  # a two hundredth of a run
        {"kept_float": (0.01, 0.02, 0.03)},  # conversions take it again
        {"kept_float": (-0.3, -0.2, 0.1)},  # nobody knows
        {"runs": "float"},  # in both files
    ],
)
def test_what_is_not_clear_is_not_told(change: dict[str, object]) -> None:
    assert told(SLOWER.model_copy(update=change)) == []


def test_why_a_layer_does_not_fuse_comes_with_how_to_mend_it() -> None:
    layer = SLOWER.model_copy(
        update={"runs": "float", "why": "its bias b is float", "fix": "store it as int32 codes"}
    )
    (verdict,) = told(layer)
    assert verdict.words == (
        "depth: its quantization does not fuse (its bias b is float) and costs 0.17 ms of a run of "
        "7 ms"
    )
    assert verdict.remedy.startswith("store it as int32 codes; or keep it float")


def test_layers_of_one_kernel_are_told_once_and_the_most_costly_first() -> None:
    shared = {"difference": (0.5, 0.6, 0.7), "kept_float": (-0.6, -0.5, -0.4)}
    conv = SLOWER.model_copy(update={"name": "conv", "fused": ("add",), **shared})
    add = SLOWER.model_copy(update={"name": "add", "fused": ("conv",), "bytes": None, **shared})
    first, second = told(SLOWER, add, conv)
    assert first.words == "conv with add is slower than its float form: 0.6 ms longer"
    assert second.layer == "depth"


def test_many_layers_that_one_change_mends_are_one_verdict() -> None:
    change = {"runs": "float", "why": "the codes of w are int4", "fix": "use int8 or uint8"}
    layers = [
        SLOWER.model_copy(update={"name": name, "difference": (0.1, cost, 0.5)} | change)
        for name, cost in (("a", 0.2), ("b", 0.3), ("c", 0.4))
    ]
    (verdict,) = told(*layers)
    assert (verdict.layer, verdict.cause) == (None, "slow")
    assert verdict.words == (
        "the quantization of 3 layers does not fuse and costs 0.9 ms of a run of 7 ms; the most c "
        "with 0.4 ms: the codes of w are int4"
    )
    assert (verdict.remedy, verdict.technique) == ("use int8 or uint8", None)
    assert [each.layer for each in told(*layers[:2])] == ["b", "a"]
    # Weights of few bits are stored so that integer kernels read them.
    grid = Grid(low=0.0, high=1.0, counts=(1,), clip_low=0.0, clip_high=1.0)
    known = [
        LayerError(
            name=each.name, op_type="Conv", output="y", added=1e-3, accumulated=1e-3,
            grid=grid, weight_bits=4, weight="w",
        )
        for each in layers
    ]  # fmt: skip
    (verdict,) = slow(table(*layers), known)
    assert verdict.config == {"weight_bits": 4}
    assert verdict.remedy == (
        "quantize.static with weight_bits: 4, which stores as few and runs as int8"
    )
