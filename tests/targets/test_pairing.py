"""The experiment behind `targets.pairing`: which weights are really added in pairs.

It needs a machine whose kernels add pairs in 16 bits. Where this one does not, an emulated AVX2
processor (qemu-x86_64) takes its place if it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from lissom.targets.onnxruntime import kernels_saturate
from lissom.targets.pairing import convolution_layout, product_layout
from tests.targets.pairing_models import (
    Experiment,
    aligned,
    all_pairs,
    at_the_limit,
    attention,
    chain,
    conv,
    dynamic_product,
    integer_conv,
    integer_product,
    packed_product,
    product,
)

RUNNER = Path(__file__).with_name("run_models.py")
QEMU = shutil.which("qemu-x86_64")
AVX2 = (str(QEMU), "-cpu", "Haswell")
FEW = ((0, 1), (1, 2), (2, 3))

EXPERIMENTS: dict[str, Experiment] = {
    "conv 3x3": conv(2, 3, 3),
    "conv 3x3, padded, odd channels": conv(3, 3, 3, pads=[1] * 4),
    "conv 3x3, one scale": conv(2, 3, 3, per_channel=False),
    "conv 3x3, one input channel": conv(1, 3, 3),
    "conv 3x2, strided and dilated": conv(3, 3, 2, strides=[2, 2], dilations=[2, 2]),
    "conv pointwise": conv(7, 1, 1),
    "conv grouped": conv(3, 3, 3, group=2),
    "conv grouped pointwise": conv(5, 1, 1, group=3),
    "conv depthwise": conv(1, 3, 3, group=0, pads=[1] * 4),
    "conv depthwise 5x5": conv(1, 5, 5, group=0),
    "conv depthwise, one scale": conv(1, 3, 3, group=0, per_channel=False),
    "conv depthwise, strided": conv(1, 3, 3, group=0, strides=[2, 2]),
    "conv depthwise, 1-D": conv(1, 5, group=0),
    "conv depthwise, one channel": conv(1, 3, 3, group=0, pairs=FEW[:1]),
    "conv depthwise, two outputs each": conv(1, 3, 3, group=0, multiple=2),
    "conv 1-D": conv(3, 3),
    "conv 1-D, one channel": conv(1, 5),
    "conv 3-D": conv(2, 2, 2, 2),
    "conv, one output": conv(3, 1, 1, pairs=FEW[:1]),
    "conv, two outputs": conv(3, 1, 1, pairs=FEW[:2]),
    "conv 3x3, full vectors": conv(4, 3, 3, pairs=aligned(all_pairs(36))),
    "conv pointwise, full vectors": conv(16, 1, 1, pairs=aligned(all_pairs(16))),
    "conv grouped, full vectors": conv(4, 2, 2, group=2, pairs=aligned(all_pairs(16))),
    "conv depthwise, full vectors": conv(1, 3, 3, group=0, pairs=aligned(all_pairs(9))),
    "conv depthwise 5x5, full vectors": conv(1, 5, 5, group=0, pairs=aligned(chain(25))),
    "conv depthwise, 3-D": conv(1, 2, 2, 2, group=0, size=5),
    "conv, signed activations": conv(2, 3, 3, signed=True),
    "conv depthwise, signed activations": conv(1, 3, 3, group=0, signed=True),
    "conv, long": conv(70, 3, 3, pairs=chain(630), size=3),
    "ConvInteger": integer_conv(2, 3, 3),
    "ConvInteger pointwise": integer_conv(7, 1, 1),
    **{f"MatMul, depth {depth}": product(depth) for depth in (2, 3, 4, 5, 6, 7, 8, 9, 33)},
    **{f"MatMul, {rows} rows": product(7, rows=rows) for rows in (1, 2, 4, 64)},
    **{f"MatMul, {n} outputs": product(9, pairs=FEW[:n]) for n in (1, 2, 3)},
    "MatMul, long": product(1000, pairs=chain(1000)),
    "MatMul, long, one row": product(1000, pairs=chain(1000), rows=1),
    "MatMul, one scale": product(8, per_channel=False),
    "MatMul, signed activations": product(8, signed=True),
    "MatMul to float": product(7, quantized_output=False),
    "MatMul to float, one row": product(7, quantized_output=False, rows=1),
    "Gemm": product(7, op="Gemm"),
    "Gemm to float": product(7, op="Gemm", quantized_output=False),
    "Gemm, transB": product(7, op="Gemm", transB=1),
    "Gemm, transB, one row": product(8, op="Gemm", transB=1, rows=1),
    "MatMulInteger": integer_product(7),
    "MatMulInteger, one row": integer_product(8, rows=1),
    "MatMulInteger, one output": integer_product(9, pairs=FEW[:1]),
    "MatMulInteger, weights not constant": integer_product(7, constant=False),
    "MatMulInteger, weights not constant, one row": integer_product(8, constant=False, rows=1),
    "DynamicQuantizeMatMul": dynamic_product(7),
    "DynamicQuantizeMatMul, one row": dynamic_product(7, rows=1),
    "MatMulNBits": packed_product(40),
    "MatMulNBits, one row": packed_product(40, rows=1),
    "QAttention": attention(7),
}
# Operators that add in 32 bits and have no layout of their own.
EXACT = ("ConvInteger", "MatMulNBits")


def expected(name: str) -> set[tuple[int, int]]:
    """The pairs that `targets.pairing` tells, as positions in the weight's own order."""
    experiment = EXPERIMENTS[name]
    shape = experiment.weight_shape
    if name.startswith(EXACT):
        return set()
    if name.startswith("conv"):
        layout = convolution_layout(shape, experiment.group)
        positions = np.arange(np.prod(shape[1:])).reshape(1, *shape[1:])
    else:
        layout = product_layout(transposed="transB" in name)
        positions = np.arange(experiment.depth)
        positions = positions[None, :] if layout.axis == 0 else positions[:, None]
    (order,) = layout.rows(positions)
    pairs = zip(order[0::2], order[1::2], strict=False) if layout.paired else ()
    return {(int(min(p)), int(max(p))) for p in pairs} & set(experiment.pairs)


def results(
    folder: Path,
    models: Mapping[str, bytes],
    threads: int,
    emulator: Sequence[str] = (),
    *options: str,
) -> dict[str, np.ndarray]:
    """What the models give, run by a process of its own."""
    for number, (name, model) in enumerate(models.items()):
        (folder / f"{number:02}.onnx").write_bytes(model)
        np.savez(folder / f"{number:02}.npz", **EXPERIMENTS[name].feeds)
    command = [*emulator, sys.executable, str(RUNNER), str(folder), str(threads), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {name: np.load(folder / f"{number:02}.npy") for number, name in enumerate(models)}


def run(
    folder: Path, threads: int, emulator: Sequence[str] = (), *options: str
) -> dict[str, set[tuple[int, int]]]:
    """The pairs that were added in 16 bits, by experiment."""
    models = {name: experiment.model for name, experiment in EXPERIMENTS.items()}
    found = results(folder, models, threads, emulator, *options)
    return {name: EXPERIMENTS[name].added(output) for name, output in found.items()}


EXPECTED = {name: expected(name) for name in EXPERIMENTS}


needs_emulator = pytest.mark.skipif(
    QEMU is None, reason="qemu-x86_64 is not installed: nothing emulates AVX2 here"
)


@needs_emulator
@pytest.mark.parametrize("threads", [1, 2])
def test_the_pairs_of_an_emulated_avx2_processor(tmp_path: Path, threads: int) -> None:
    assert run(tmp_path, threads, AVX2) == EXPECTED


@needs_emulator
def test_nothing_else_is_added_in_16_bits(tmp_path: Path) -> None:
    """Weights of 64 everywhere: pairs are at the limit, and anything more would be beyond it."""
    models = {
        name: at_the_limit(experiment)
        for name, experiment in EXPERIMENTS.items()
        if experiment.depth and "not constant" not in name and not name.startswith("MatMulNBits")
    }
    (tmp_path / "exact").mkdir()
    (tmp_path / "emulated").mkdir()
    emulated = results(tmp_path / "emulated", models, 1, AVX2)
    exact = results(tmp_path / "exact", models, 1, AVX2, "exact")
    for name in models:
        np.testing.assert_array_equal(emulated[name], exact[name], err_msg=name)
        depth = EXPERIMENTS[name].depth
        np.testing.assert_allclose(exact[name].max(), 255 * 64 * depth, rtol=0.01, err_msg=name)


@needs_emulator
def test_sessions_that_must_be_exact_are(tmp_path: Path) -> None:
    """The option behind `session_options(exact=True)`; weights not constant it cannot change."""
    found = run(tmp_path, 1, AVX2, "exact")
    assert {name for name, pairs in found.items() if pairs} == {
        name for name in EXPERIMENTS if "not constant" in name
    }


def test_the_pairs_of_this_machine(tmp_path: Path) -> None:
    found = run(tmp_path, 1)
    if kernels_saturate():
        assert found == EXPECTED
    else:
        assert not any(found.values())


def test_the_experiment_sees_pairs_where_there_are_some() -> None:
    """Not every operator, nor none: a reading that finds nothing anywhere would prove nothing."""
    paired = {name for name, pairs in EXPECTED.items() if pairs}
    assert 40 < len(paired) < len(EXPERIMENTS) - 6
    assert EXPECTED["conv 3x3"] == {(i, i + 9) for i in range(9)}
    assert EXPECTED["MatMul, depth 5"] == {(0, 1), (2, 3)}
