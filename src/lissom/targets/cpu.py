"""Classes of processors by how their quantized kernels add products."""

from __future__ import annotations

from lissom.errors import unknown
from lissom.targets.machine import Machine

# Whether u8 x s8 kernels add pairs of products in 16 bits. avx2: established by experiment
# (decisions/0007). avx512 (without VNNI): the same instruction by the runtime's sources. vnni:
# added in 32 bits, by experiment. neon: products are widened or added in pairs in 16 bits as
# signed x signed, which codes of -127..127 cannot overflow, by the runtime's sources.
PAIR_SUMS = {"avx2": True, "avx512": True, "vnni": False, "neon": False}


def pair_sums_of(cpu: str) -> bool:
    """Whether kernels of this class add pairs in 16 bits.

    Raises:
        RequestError: there is no such class.
    """
    if cpu not in PAIR_SUMS:
        raise unknown("cpu", cpu, PAIR_SUMS)
    return PAIR_SUMS[cpu]


def class_of(machine: Machine, *, saturates: bool) -> str:
    """The class of a machine, by what its kernels were seen to do and what it says of itself."""
    if machine.architecture in ("aarch64", "arm64"):
        return "neon"
    if not saturates:
        return "vnni"
    return "avx512" if "avx512f" in machine.features else "avx2"
