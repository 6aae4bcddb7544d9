"""Where the time of a run goes: ONNX Runtime's own clock for each kernel."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from lissom.arrays import Array
from lissom.sessions import SESSION_ERRORS, failed_run
from lissom.targets.fusion import CONVERSIONS
from lissom.targets.onnxruntime_clock import KERNEL, clocked

INTEGERS = frozenset({"int8", "uint8", "int4", "uint4"})


def time_shares(
    path: Path,
    feeds: Mapping[str, Array],
    *,
    integer: Collection[str] = (),
    runs: int = 20,
    threads: int = 1,
) -> dict[str, float]:
    """Shares of the time spent in kernels that read codes, in float ones, and in conversions.

    Taken is each kernel's fastest run, which disturbances of the machine do not lengthen. The
    clock itself costs about a microsecond a kernel, so the shares of tiny ones are too large.

    Args:
        path: a model file.
        feeds: one run's inputs.
        integer: kernels that are known to compute with codes, by operator. The clock tells what a
            kernel reads, but not of weights that were packed for it beforehand.
        runs: how often it is run; the first run is left out.
        threads: threads of a kernel.

    Returns:
        "integer", "float" and "conversion", which add up to 1; all 0 where nothing ran.

    Raises:
        ModelError: the runtime refuses the file or the inputs.
    """
    with tempfile.TemporaryDirectory(prefix="lissom-profile-") as folder:
        session = clocked(path, threads, Path(folder) / "profile")
        try:
            for _ in range(runs + 1):
                session.run(None, dict(feeds))
        except (*SESSION_ERRORS, MemoryError) as error:
            raise failed_run(error, session, feeds, path) from None
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    fastest: dict[str, float] = {}
    kinds: dict[str, str] = {}
    seen: set[str] = set()
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(KERNEL):
            continue
        # Names need not be unique; the index of a node in the optimized graph is.
        name = f"{event['args'].get('node_index')} {event['name']}"
        if name not in seen:
            seen.add(name)
            continue
        fastest[name] = min(fastest.get(name, float("inf")), event["dur"])
        kinds[name] = _kind(event["args"], integer)
    total = sum(fastest.values()) or 1.0
    return {
        kind: sum(time for name, time in fastest.items() if kinds[name] == kind) / total
        for kind in ("integer", "float", "conversion")
    }


def _kind(facts: Mapping[str, object], integer: Collection[str]) -> str:
    """A kernel is integer when it is known to be, or when it reads codes."""
    kernel = str(facts.get("op_name"))
    if kernel in CONVERSIONS:
        return "conversion"
    if kernel in integer:
        return "integer"
    shapes = facts.get("input_type_shape")
    read = {kind for each in shapes for kind in each} if isinstance(shapes, list) else set()
    return "integer" if read & INTEGERS else "float"
