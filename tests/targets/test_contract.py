"""What every runtime must do for lissom to build for it and measure in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from lissom.errors import ModelError, RequestError, RunError
from lissom.measurement.kernel_clock import time_kernels
from lissom.measurement.latency import compare_speed, time_alone
from lissom.measurement.memory import peak_memory
from lissom.measurement.quality import statistics_of
from lissom.measurement.records import Settings
from lissom.sessions import tensors
from lissom.tables import FORMATS
from lissom.targets.machine import this_machine
from lissom.targets.named import RUNTIMES, described, find_target, opener
from lissom.targets.target import Session, Target
from lissom.task import Task
from tests import models
from tests.graph.small import node, proto, tensor

BRIEF = Settings(seconds=0.05, processes=1)
# Where each runtime keeps the number of threads that it runs with.
THREADS: dict[str, Callable[[Any], int]] = {
    "onnxruntime": lambda opened: opened.session.get_session_options().intra_op_num_threads,
    "openvino": lambda opened: opened.compiled.get_property("INFERENCE_NUM_THREADS"),
}


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def target(name: str) -> Target:
    return find_target(name)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.saved(models.depthwise(), tmp_path_factory.mktemp("float") / "network.onnx")


def quantized(path: Path, codes: np.ndarray, *, depth: int = 32) -> Path:
    """A convolution 3x3 of u8 activations from 0 to 1 and s8 weights, `[8, depth, 3, 3]`."""
    x, y = tensor("x", shape=["batch", depth, 6, 6]), tensor("y", shape=["batch", 8, 4, 4])
    constants = {
        "scale": np.float32(1 / 255),
        "zero": np.uint8(0),
        "codes": codes.astype(np.int8),
        "scales": np.full(8, 1 / 127, np.float32),
        "zeros": np.zeros(8, np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], "q"),
        node("DequantizeLinear", ["q", "scale", "zero"], "dq"),
        node("DequantizeLinear", ["codes", "scales", "zeros"], "weights", axis=0),
        node("Conv", ["dq", "weights"], "y"),
    ]
    return models.saved(proto(nodes, [x], [y], constants, opset=21), path)


def reference(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The first output as ONNX's own evaluator computes it."""
    return np.asarray(ReferenceEvaluator(onnx.load(path)).run(None, feeds)[0])


def sums_of_largest(session: Session, depth: int = 32) -> np.ndarray:
    """Each should be the number of products: all activations are 1, all weights the largest."""
    return np.asarray(session({"x": np.ones((1, depth, 6, 6), np.float32)})[0])


def test_a_target_says_what_and_where_it_is(target: Target, name: str) -> None:
    assert target.name == name
    assert described([target]) == f"{name} {target.version}"
    assert target.version.split(".")[0].isdigit()
    assert target.machine == this_machine()
    assert target.here
    assert find_target(name, target.cpu) == target
    with pytest.raises(RequestError, match="unknown cpu 'avx9'"):
        find_target(name, "avx9")


def test_of_another_processor_it_does_not_claim_to_be_here(name: str, target: Target) -> None:
    other = find_target(name, "vnni" if target.pair_sums else "avx2")
    assert not other.here
    assert other.pair_sums is not target.pair_sums
    assert other.must_be_exact is target.pair_sums
    assert f"built for {other.cpu}" in described([other])


def test_a_float_file_gives_what_the_reference_gives(target: Target, network: Path) -> None:
    session = target.open(network)
    feeds = models.feeds(models.depthwise(), 5)
    assert session.inputs == ("image",)
    assert session.outputs == ("logits",)
    np.testing.assert_allclose(session(feeds)[0], reference(network, feeds), atol=1e-4)


def test_an_int8_file_gives_what_the_reference_gives(target: Target, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = quantized(tmp_path / "q.onnx", rng.integers(-60, 60, (8, 32, 3, 3)))
    feeds = {"x": rng.random((3, 32, 6, 6), np.float32)}
    np.testing.assert_allclose(target.open(path)(feeds)[0], reference(path, feeds), atol=1e-4)


def test_exactly_as_many_threads_as_asked_for(target: Target, network: Path) -> None:
    for threads in (1, 2):
        assert THREADS[target.name](target.open(network, threads=threads)) == threads


def test_the_same_bits_every_time(target: Target, network: Path) -> None:
    feeds = models.feeds(models.depthwise(), 3)
    first = target.open(network)
    once = first(feeds)[0]
    kept = once.copy()
    first({"image": feeds["image"] + 1})
    np.testing.assert_array_equal(once, kept)  # the outputs are the caller's
    np.testing.assert_array_equal(first(feeds)[0], kept)
    np.testing.assert_array_equal(target.open(network, in_turns=True)(feeds)[0], kept)


def test_a_broken_file_is_refused(target: Target, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    wish = proto(
        [helper.make_node("Wish", ["x"], ["y"], domain="com.microsoft")],
        [tensor("x", shape=[1])],
        [tensor("y", shape=[1])],
        check=False,
    )
    for path in (broken, tmp_path / "missing.onnx", models.saved(wish, tmp_path / "wish.onnx")):
        with pytest.raises(ModelError, match=target.title) as refused:
            target.open(path)
        assert refused.value.where == str(path)
        assert refused.value.fix
        assert ".cpp" not in refused.value.what


@pytest.mark.parametrize(
    "wrong",
    [{}, {"image": np.zeros((1, 3, 32), np.float32)}, {"image": np.zeros((1, 5, 32, 32), "f4")}],
    ids=["missing", "rank", "channels"],
)
def test_inputs_that_do_not_fit(target: Target, network: Path, wrong: Any) -> None:
    session = target.open(network)
    session(models.feeds(models.depthwise(), 1))  # what it had before must not be taken again
    with pytest.raises(session.errors) as failed:
        session(wrong)
    told = session.failed_run(failed.value, wrong)
    assert isinstance(told, ModelError)
    assert told.what.startswith(f"{target.title} cannot run the model on these inputs: ")
    told = session.failed_batch(failed.value, wrong, "model.onnx")
    assert isinstance(told, RunError)
    assert told.what.startswith(f"{target.title} cannot run model.onnx on a batch: ")
    assert "Exception from" not in told.what


def test_several_outputs_keep_names_and_order(target: Target, tmp_path: Path) -> None:
    x = tensor("x", shape=["n", 4])
    outputs = [tensor(n, shape=["n", 4]) for n in ("second", "first")]
    outputs.append(tensor("flag", TensorProto.BOOL, ["n", 4]))
    nodes = [
        node("Relu", ["x"], "first"),
        node("Identity", ["first"], "second"),
        node("Greater", ["x", "zero"], "flag"),
    ]
    model = proto(nodes, [x], outputs, {"zero": np.float32(0)})
    session = target.open(models.saved(model, tmp_path / "three.onnx"))
    feeds = {"x": np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)}
    assert session.outputs == ("second", "first", "flag")
    found = tensors(session.outputs, session(feeds))
    np.testing.assert_array_equal(found["second"], [[0, 2, 0, 4]])
    np.testing.assert_array_equal(found["first"], [[0, 2, 0, 4]])
    np.testing.assert_array_equal(found["flag"], [[False, True, False, True]])
    assert found["flag"].dtype == bool


def test_the_claim_about_pairs_is_what_kernels_do(target: Target, tmp_path: Path) -> None:
    path = quantized(tmp_path / "largest.onnx", np.full((8, 32, 3, 3), 127))
    exact = np.allclose(sums_of_largest(target.open(path)), 32 * 9, rtol=1e-4)
    assert target.pair_sums is not exact
    np.testing.assert_allclose(sums_of_largest(target.open(path, exact=True)), 32 * 9, rtol=1e-4)


def test_seven_bits_are_exact_everywhere(target: Target, tmp_path: Path) -> None:
    path = quantized(tmp_path / "seven.onnx", np.full((8, 32, 3, 3), 63))
    np.testing.assert_allclose(sums_of_largest(target.open(path)), 32 * 9 * 63 / 127, rtol=1e-4)


def test_formats_are_fast_or_there_is_a_reason(target: Target) -> None:
    assert target.slow("float32") is None
    assert target.slow("w8a8") is None
    reasons = [target.slow(format) for format in FORMATS]
    assert all(reason is None or target.title in reason for reason in reasons)


def test_it_is_timed_in_a_process_of_its_own(target: Target, network: Path) -> None:
    feeds = models.feeds(models.depthwise(), 1)
    alone = time_alone(network, feeds, BRIEF, runtime=target.name)
    assert alone.runs > 0
    assert 0 < alone.p50 < 1000
    speed = compare_speed(network, network, feeds, BRIEF, runtime=target.name)
    assert 0.2 < speed.ratio.value < 5


def test_its_clock_tells_kernels_by_the_nodes_of_the_file(target: Target, tmp_path: Path) -> None:
    assert target.clock is not None
    rng = np.random.default_rng(0)
    weights = {
        "wide": rng.normal(0, 0.03, (512, 1024)).astype(np.float32),
        "narrow": rng.normal(0, 0.03, (1024, 16)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="middle"),
        helper.make_node("MatMul", ["b", "narrow"], ["y"], name="second"),
    ]
    x, y = tensor("x", shape=["batch", 512]), tensor("y", shape=["batch", 16])
    path = models.saved(proto(nodes, [x], [y], weights), tmp_path / "two.onnx")
    feeds = {"x": rng.random((4, 512), np.float32)}
    (timed,) = time_kernels([path], feeds, target=target, seconds=0.1, openings=2)
    names = [kernel.name for kernel in timed.kernels]
    first, second = (timed.milliseconds[:, names.index(each)] for each in ("first", "second"))
    # It does 32 times the work.
    assert first.min() > 4 * second.max() > 0
    np.testing.assert_allclose(timed.milliseconds.sum(axis=1), timed.whole)
    with pytest.raises(ModelError, match="cannot run the model"):
        time_kernels([path], {"x": np.ones((4, 3), np.float32)}, target=target, openings=1)


def test_its_memory_is_weighed(target: Target, tmp_path: Path) -> None:
    heavy = models.saved(models.mlp(hidden=200_000), tmp_path / "heavy.onnx")
    found = peak_memory(heavy, models.feeds(models.mlp(), 1), runtime=target.name)
    if found is not None:
        # 16.8 MB of weights, which a runtime may keep two or three times.
        assert 8_000_000 < found < 120_000_000


def test_quality_is_judged_in_it(target: Target, network: Path) -> None:
    feeds = models.feeds(models.depthwise(), 8)
    wanted = reference(network, feeds)
    labels = wanted.argmax(1)
    labels[0] = (labels[0] + 1) % 10
    task = Task(validation=(feeds, labels), metric="accuracy", batch_size=3)
    found = statistics_of(network, task, runtime=target.name)
    np.testing.assert_array_equal(found[:, 0], [0, 1, 1, 1, 1, 1, 1, 1])


def test_an_unknown_runtime_is_told_with_the_nearest() -> None:
    for ask in (find_target, opener):
        with pytest.raises(RequestError, match="unknown target 'openvin'") as refused:
            ask("openvin")
        assert "openvino" in str(refused.value.fix)
