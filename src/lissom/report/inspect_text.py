"""What a model holds, in words and columns for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lissom.report.inspect import Inspection, LayerWeights
from lissom.report.text import size, wrapped

MOST, OPERATORS = 15, 12
WIDEST_NAME, NARROWEST_NAME, WIDEST_OPERATOR = 60, 16, 15
NUMBER = re.compile(r"\d+")
TITLES = ("layer", "operator", "parameters", "bytes", "MACs", "type")


def as_text(found: Inspection, *, every: bool = False, width: int = 100) -> str:
    """Ports, operators, weights, layers, and what can be done about them.

    Args:
        found: what was found out.
        every: list each layer, not only the largest.
        width: columns to stay in.
    """
    lines = [
        *_summary(found),
        *_ports(found),
        "",
        *_layers(found.layers, every, width),
        "",
        *_chances(found),
    ]
    return "\n".join(part for line in lines for part in wrapped(line, width))


def _summary(found: Inspection) -> Iterator[str]:
    yield f"{found.model}: {size(found.bytes)}, {_count(found.parameters)} parameters"
    opsets = ", ".join(f"{domain} {number}" for domain, number in found.opsets.items())
    by = f", written by {found.producer}" if found.producer else ""
    yield f"  operator sets: {opsets}{by}"
    kinds = list(found.operators.items())
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds[:OPERATORS])
    rest = sum(count for _, count in kinds[OPERATORS:])
    more = f" and {rest} of {len(kinds) - OPERATORS} other kinds" if rest else ""
    yield f"  operators: {sum(found.operators.values())}: {shown}{more}"
    types = ", ".join(f"{size(count)} {dtype}" for dtype, count in found.dtypes.items() if count)
    yield f"  weights: {types or 'none'}"
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in found.shapes.items())
    if found.macs is None:
        yield "  multiply-accumulates: unknown" + (
            " (an operator that cannot be counted, or one in a body, or it does not run on "
            f"made-up {shapes})"
            if shapes
            else " (lissom cannot make up its inputs)"
        )
    else:
        yield f"  multiply-accumulates: {_count(found.macs)} in a run with {shapes}"
    for note in found.notes:
        yield f"  note: {note}"


def _ports(found: Inspection) -> Iterator[str]:
    for title, ports in (("inputs", found.inputs), ("outputs", found.outputs)):
        yield ""
        yield title
        yield from (f"  {port}" for port in ports)


def _layers(layers: Sequence[LayerWeights], every: bool, width: int) -> Iterator[str]:
    """A table; layers that only a number in their names tells apart share a line."""
    if not layers:
        yield "no layer has weights"
        return
    groups = [[layer] for layer in layers] if every else _alike(layers)
    shown = groups if every else groups[:MOST]
    rows = [_cells(group) for group in shown]
    titles: tuple[str, ...] = TITLES
    if len({row[-1] for row in rows}) == 1:  # the summary has said it
        titles, rows = TITLES[:-1], [row[:-1] for row in rows]
    widths = [max(len(row[place]) for row in (titles, *rows)) for place in range(len(titles))]
    # The operator gives way where there is no room, then the name; what is left goes to the name.
    others = sum(widths[2:]) + 2 * len(titles)
    room = width - others - min(widths[0], WIDEST_NAME)
    widths[1] = min(widths[1], max(WIDEST_OPERATOR, room))
    widths[0] = min(widths[0], max(NARROWEST_NAME, width - others - widths[1]))
    names = _told_apart([row[0] for row in rows], widths[0])
    yield _row(titles, widths)
    yield from (_row((name, *row[1:]), widths) for name, row in zip(names, rows, strict=True))
    hidden = [layer for group in groups[len(shown) :] for layer in group]
    if hidden:
        parameters = _count(sum(layer.parameters for layer in hidden))
        taken = size(sum(layer.bytes for layer in hidden))
        yield f"  and {len(hidden)} more: {parameters} parameters, {taken}; --all lists them"


def _alike(layers: Sequence[LayerWeights]) -> list[list[LayerWeights]]:
    """Layers of equal size and kind whose names differ in numbers, the most bytes first."""
    groups: dict[tuple[object, ...], list[LayerWeights]] = {}
    for layer in layers:
        pattern = NUMBER.sub("*", layer.name)
        key = (pattern, layer.op_type, layer.parameters, layer.bytes, layer.macs, layer.dtypes)
        groups.setdefault(key, []).append(layer)
    return sorted(groups.values(), key=lambda group: -sum(layer.bytes for layer in group))


def _cells(group: Sequence[LayerWeights]) -> tuple[str, ...]:
    first = group[0]
    name = first.name if len(group) == 1 else NUMBER.sub("*", first.name)
    kinds = first.dtypes[0] + (" +" if len(first.dtypes) > 1 else "")
    return (
        name,
        first.op_type if len(group) == 1 else f"{len(group)} {first.op_type}",
        _count(sum(layer.parameters for layer in group)),
        size(sum(layer.bytes for layer in group)),
        "" if first.macs is None else _count(sum(layer.macs or 0 for layer in group)),
        kinds,
    )


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names and types to the left, numbers to the right."""
    name, kind = cells[0], cells[1]
    if len(kind) > widths[1]:
        kind = f"{kind[: widths[1] - 3]}..."
    parts = [
        cell.ljust(widths[place]) if place == 5 else cell.rjust(widths[place])
        for place, cell in enumerate(cells)
        if place > 1
    ]
    return "  ".join(("", name.ljust(widths[0]), kind.ljust(widths[1]), *parts)).rstrip()


def _told_apart(names: Sequence[str], width: int) -> list[str]:
    """Names that fit: without their beginning where they are too long; where that makes two alike
    without their middle, and in full where no cut tells them apart."""
    half = (width - 3) // 2
    middle = [name if len(name) <= width else f"{name[:half]}...{name[-half:]}" for name in names]
    ends = [name if len(name) <= width else f"...{name[3 - width :]}" for name in names]
    for cut in (ends, middle):
        if len(set(cut)) == len(set(names)):
            return cut
    count = {end: ends.count(end) for end in ends}
    return [end if count[end] == 1 else name for name, end in zip(names, ends, strict=True)]


def _chances(found: Inspection) -> Iterator[str]:
    yield "what can be compressed"
    if not found.chances:
        yield "  nothing"
    for chance in found.chances:
        needs = f" (needs {chance.needs})" if chance.needs else ""
        yield (
            f"  {chance.technique:<20}  {size(chance.bytes)} of {size(found.weight_bytes)} in "
            f"{_tensors(chance.tensors)}{needs}"
        )
    if not found.left_alone:
        return
    yield ""
    yield "what no quantization takes, and why"
    for left in found.left_alone:
        yield f"  {size(left.bytes)} in {_tensors(left.tensors)}: {left.why}"


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"


def _count(number: int) -> str:
    """A count with three digits and its unit: 950, 22.7 M, 1.42 G."""
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= 0.9995 * scale:
            value = number / scale
            decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{decimals}f} {unit}"
    return str(number)
