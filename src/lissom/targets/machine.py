"""What this machine is: processor, instruction sets that matter to quantized kernels, memory."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

# The flags that decide which quantized kernels a runtime has; names as Linux prints them.
X86_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
ARM_FEATURES = ("asimddp", "i8mm", "sve")


class Machine(BaseModel):
    """A machine as a measurement's reader needs it. `memory` is in bytes, 0 when unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    memory: int
    system: str
    python: str

    @property
    def count_of_cores(self) -> str:
        """How many cores there are, in words."""
        return f"{self.cores} core{'' if self.cores == 1 else 's'}"

    def __str__(self) -> str:
        features = ", ".join(self.features) or "no vector extension known to lissom"
        memory = f", {self.memory / 2**30:.0f} GiB" if self.memory else ""
        return f"{self.cpu} ({self.architecture}; {features}), {self.count_of_cores}{memory}"


def this_machine() -> Machine:
    """Read the facts from the operating system; what it does not tell is left out, not guessed."""
    cpuinfo = _read("/proc/cpuinfo")
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    present = set(flags.group(1).split()) if flags else set()
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return Machine(
        cpu=name.group(1).strip() if name else platform.processor() or platform.machine(),
        architecture=platform.machine(),
        features=tuple(flag for flag in X86_FEATURES + ARM_FEATURES if flag in present),
        cores=usable_cores(),
        memory=int(memory.group(1)) * 1024 if memory else 0,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def usable_cores() -> int:
    """Cores this process may run on, which in a container is fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
