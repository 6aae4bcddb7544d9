"""Compile kernel.c, the inner loops of the archive, into the wheel or the editable install.

A plain shared library that knows nothing of Python: one wheel a platform serves every Python 3.
Without a C compiler (CC names another than cc; LISSOM_NO_KERNEL=1 says there is none) the wheel is
pure Python, and the archive is coded by NumPy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

FOLDER = Path("src", "lissom", "storage")
NAMES = {"win32": "_kernel.dll", "darwin": "_kernel.dylib"}
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden")


class KernelHook(BuildHookInterface[BuilderConfig]):
    """Builds the kernel before hatchling collects the files of a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / FOLDER
        library = folder / NAMES.get(sys.platform, "_kernel.so")
        library.unlink(missing_ok=True)
        if not self._compiled(folder / "kernel.c", library):
            return
        build_data["artifacts"].append(f"/{(FOLDER / library.name).as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{next(iter(platform_tags()))}"

    def _compiled(self, source: Path, library: Path) -> bool:
        compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
        if compiler is None or os.environ.get("LISSOM_NO_KERNEL") == "1":
            self.app.display_warning("lissom is built without its compiled kernel: no C compiler")
            return False
        command = [compiler, *FLAGS, str(source), "-o", str(library)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            self.app.display_warning(
                f"lissom is built without its compiled kernel: {result.stderr}"
            )
        return result.returncode == 0
