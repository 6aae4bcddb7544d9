from __future__ import annotations

import os
import sys

import pytest

from lissom.targets import machine
from lissom.targets.machine import Machine, this_machine, usable_cores

X86 = """\
processor\t: 0
model name\t: Example CPU @ 2.00GHz
flags\t\t: fpu avx2 avx512f amx_int8 sse4_2
"""
ARM = """\
processor\t: 0
Features\t: fp asimd asimddp i8mm
"""


def described(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, meminfo: str = "") -> Machine:
    files = {"/proc/cpuinfo": cpuinfo, "/proc/meminfo": meminfo}
    monkeypatch.setattr(machine, "_read", files.__getitem__)
    return this_machine()


def test_x86(monkeypatch):
    found = described(monkeypatch, X86, "MemTotal:       16384000 kB\n")
    assert found.cpu == "Example CPU @ 2.00GHz"
    assert found.features == ("avx2", "avx512f", "amx_int8")
    assert found.memory == 16384000 * 1024
    assert str(found).startswith("Example CPU @ 2.00GHz (")
    assert "avx2, avx512f, amx_int8" in str(found)
    assert "16 GiB" in str(found)


def test_arm(monkeypatch):
    found = described(monkeypatch, ARM)
    assert found.features == ("asimddp", "i8mm")
    assert found.cpu


def test_what_is_not_told_is_left_out(monkeypatch):
    found = described(monkeypatch, "")
    assert found.features == ()
    assert found.memory == 0
    assert found.cpu
    assert "no vector extension known" in str(found)
    assert "GiB" not in str(found)


def test_a_file_that_is_not_there_reads_as_nothing(tmp_path):
    assert machine._read(str(tmp_path / "missing")) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_cores_are_those_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
        assert this_machine().cores == 1
        assert ", 1 core" in str(this_machine()) and "1 cores" not in str(this_machine())
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


def test_it_goes_through_json_unchanged():
    found = this_machine()
    assert Machine.model_validate_json(found.model_dump_json()) == found
