"""The examination of a model file in words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lissom.report.doctor import Examination, Layer
from lissom.report.text import wrapped
from lissom.targets.saturation import where_not

KINDS = {
    "integer": "run in integers",
    "codes": "move codes",
    "float": "run in float",
    "conversion": "convert between the two",
    "gone": "are gone: folded or fused while loading",
}
MOST = 12


def as_text(found: Examination, *, every: bool = False, width: int = 100) -> str:
    """Summary, what fell back and why, the conversions left, and the machine.

    Args:
        found: what was found out.
        every: list each node, not only what fell back.
        width: columns to stay in.
    """
    lines = [*_summary(found), *_fallen_back(found, every), *_conversions(found)]
    if every:
        lines += ["", "every node", *(_node(layer) for layer in found.layers)]
    lines += ["", *_machine(found)]
    return "\n".join(part for line in lines for part in wrapped(line, width))


def _summary(found: Examination) -> Iterator[str]:
    yield found.model
    if found.integer_share is None:
        yield "  multiply-accumulates in integers: unknown"
    else:
        yield f"  multiply-accumulates in integers: {_percent(found.integer_share)}"
    shares = {"integer": "on codes", "float": "in float", "conversion": "converting"}
    time = ", ".join(f"{_percent(found.time[kind])} {words}" for kind, words in shares.items())
    yield f"  time of a run: {time}"
    counts = {kind: found.count(kind) for kind in KINDS}
    # Those that really run: the runtime renames some that go, where it makes uint8 of int8.
    idle = max(0, counts["conversion"] - sum(edge.count for edge in found.conversions))
    counts["conversion"] -= idle
    counts["gone"] += idle
    told = [f"{counts[kind]} {words}" for kind, words in KINDS.items() if counts[kind]]
    yield f"  nodes: {', '.join(told)}"


def _fallen_back(found: Examination, every: bool) -> Iterator[str]:
    fallen = found.fallen_back
    yield ""
    if not fallen:
        yield "nothing fell back to float"
        return
    yield "in float"

    total = sum(layer.multiply_accumulates or 0 for layer in found.layers)
    # What has the same remedy is told once, in the order of the most work.
    groups: dict[tuple[str, str, str], list[Layer]] = {}
    for layer in fallen:
        key = (layer.op_type, _pattern(layer.reason, layer), _pattern(layer.fix, layer))
        groups.setdefault(key, []).append(layer)
    shown = list(groups.values()) if every else list(groups.values())[:MOST]
    for layers in shown:
        first = layers[0]
        work = sum(layer.multiply_accumulates or 0 for layer in layers)
        share = f", {_percent(work / total)} of the multiply-accumulates" if work else ""
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        yield f"  {first.op_type} {first.name}{more}{share}"
        yield f"    why: {first.reason}"
        yield f"    fix: {first.fix}"
    yield from _how([layers[0].fix or "" for layers in shown])
    hidden = len(groups) - len(shown)
    if hidden:
        yield f"  and {hidden} more kinds; --all shows them"


def _how(fixes: Sequence[str]) -> Iterator[str]:
    """Where to do what the fixes ask for."""
    if any("use quantize." in fix for fix in fixes):
        yield "  to use a technique: lissom compress MODEL --task TASK --technique NAME"
    if any("write " in fix or "store " in fix for fix in fixes):
        yield (
            "  what is to be written or stored otherwise is changed in the code that exports the "
            "model, or in the file itself with onnx-graphsurgeon"
        )


def _pattern(words: str | None, layer: Layer) -> str:
    """A reason without the names in it: tensors are named by what is no plain word."""
    return " ".join(w for w in (words or "").split() if w.isalpha() or w.strip(",.;:").isalpha())


def _conversions(found: Examination) -> Iterator[str]:
    yield ""
    if not found.conversions:
        yield "no conversion between codes and floats is left"
        return
    total = sum(edge.count for edge in found.conversions)
    yield f"conversions left: {total}"
    for edge in found.conversions:
        times = f"{edge.count} x " if edge.count > 1 else ""
        name = f"{edge.tensor}, ..." if edge.count > 1 else edge.tensor
        yield f"  {times}{edge.op_type}, {edge.edge} ({name})"


def _node(layer: Layer) -> str:
    kernel = f" as {layer.kernel}" if layer.kernel not in ("", layer.op_type) else ""
    return f"  {layer.kind:<10} {layer.op_type} {layer.name}{kernel}"


def _machine(found: Examination) -> Iterator[str]:
    yield f"{found.runtime} on {found.machine}"
    if not found.count("integer"):
        return
    layers = found.saturating
    if not layers:
        yield "integer sums: exact on every CPU"
    elif not found.kernels_saturate:
        yield f"integer sums: exact on this machine; {where_not(layers)}"
    else:
        yield f"integer sums: wrong on this machine; {where_not(layers)}"
        yield "  fix: quantize it again here, or with --cpu avx2"


def _percent(share: float) -> str:
    """A share that is 0 or 100 % only where it really is."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in (0.0, 100.0) else f"{percent:.1f} %"
