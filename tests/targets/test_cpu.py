from __future__ import annotations

import platform

import pytest

from lissom.errors import RequestError
from lissom.targets.cpu import PAIR_SUMS, class_of
from lissom.targets.machine import this_machine
from lissom.targets.named import described
from lissom.targets.onnxruntime import kernels_saturate, onnxruntime_target


@pytest.mark.parametrize(
    ("architecture", "features", "saturates", "cpu"),
    [
        ("x86_64", ("avx2",), True, "avx2"),
        ("x86_64", ("avx2", "avx512f"), True, "avx512"),
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), False, "vnni"),
        ("x86_64", ("avx2", "avx_vnni"), False, "vnni"),
        ("aarch64", ("asimddp",), False, "neon"),
        ("arm64", (), False, "neon"),
    ],
)
def test_classes(architecture, features, saturates, cpu) -> None:
    machine = this_machine().model_copy(update={"architecture": architecture, "features": features})
    assert class_of(machine, saturates=saturates) == cpu
    assert PAIR_SUMS[cpu] == saturates


def test_this_machine_is_built_for_without_being_named() -> None:
    target = onnxruntime_target()
    assert target.here
    assert target == onnxruntime_target(target.cpu)
    assert (target.cpu == "neon") == (platform.machine() in ("aarch64", "arm64"))
    assert not target.must_be_exact


def test_another_machine_is_not_here() -> None:
    other = next(cpu for cpu in PAIR_SUMS if PAIR_SUMS[cpu] != onnxruntime_target().pair_sums)
    target = onnxruntime_target(other)
    assert not target.here
    assert target.pair_sums == PAIR_SUMS[other]
    assert described([target]).endswith(f"built for {other}")
    # Only a machine that adds in pairs has to be told not to.
    assert target.must_be_exact == kernels_saturate()


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown cpu 'avx3'") as caught:
        onnxruntime_target("avx3")
    assert "avx2" in str(caught.value.fix)
