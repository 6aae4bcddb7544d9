"""Which code made a result: a digest of lissom's own source, for keys and checkpoints."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

# The parts of lissom whose source cannot change a result: what is asked for is in the keys.
NOT_RESULTS = {"cli", "report", "search", "sources"}
# Except for what decides what a stored measurement or table holds.
RESULTS = {
    f"search/{name}.py"
    for name in (
        "comparable", "diagnose", "evaluate", "formats", "latency_table", "layer_costs",
        "layer_errors", "looked_at", "modules", "samples", "sensitivity", "subset",
    )
}  # fmt: skip


@cache
def code_version() -> str:
    """The digest of lissom's own source that can change a result."""
    found = hashlib.sha256()
    root = Path(str(resources.files("lissom")))
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root)
        if place.parts[0] not in NOT_RESULTS or place.as_posix() in RESULTS:
            found.update(f"{place.as_posix()} {file.stat().st_size} ".encode())
            found.update(file.read_bytes())
    return found.hexdigest()[:16]
