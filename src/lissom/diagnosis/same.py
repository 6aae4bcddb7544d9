"""Whether two networks compute the same at all, and where they part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.section import Section
from lissom.errors import ModelError
from lissom.onnx_file import input_specs, output_specs, read_onnx

# Relative squared error from which weights are no rounded form of the original's: unrelated ones
# of the same power make 2, those of 2 bits 0.2.
UNRELATED = 0.5


def fitting(original: Path, compressed: Path) -> dict[str, str]:
    """The compressed model's output for each of the original's.

    Raises:
        ModelError: inputs or outputs do not fit.
    """
    one, other = (read_onnx(path, check_weights=False) for path in (original, compressed))
    wanted = {spec.name: spec for spec in input_specs(one)}
    for spec in input_specs(other):
        known = wanted.get(spec.name)
        if known is None or known.dtype != spec.dtype or len(known.shape) != len(spec.shape):
            raise ModelError(
                f"the compressed model takes {spec}, the original "
                + "; ".join(str(each) for each in wanted.values()),
                where=str(compressed),
                fix="compare two files that take the same inputs",
            )
    ours, theirs = ([spec.name for spec in output_specs(each)] for each in (one, other))
    if set(ours) <= set(theirs):
        return {name: name for name in ours}
    if len(ours) != len(theirs):
        raise ModelError(
            f"the original gives {', '.join(ours)}, the compressed model {', '.join(theirs)}",
            where=str(compressed),
            fix="compare two files that give the same outputs",
        )
    return dict(zip(ours, theirs, strict=True))


def refuse_unrelated(
    sections: Sequence[Section], values: Mapping[str, NDArray[Any]], compressed: Path
) -> None:
    """Refuse a network most of whose layers have other weights than the original's.

    Each layer is fed with what the original computed before it, with nothing rounded but its
    weights, so that one broken layer does not make those behind it look unrelated.

    Raises:
        ModelError: the first tensor at which the two part is named.
    """
    weighted = [each for each in sections if each.layer is not None and not each.layer.looks_up]
    parted = []
    for section in weighted:
        sums = Sums(section, None, counted=False)
        sums.add(values)
        if sums.parts().weights > UNRELATED:
            parted.append(section)
    if weighted and len(parted) > len(weighted) / 2:
        raise ModelError(
            "the two models do not compute the same: they part at the tensor "
            f"{parted[0].matched.tensor!r}, which layer {parted[0].matched.anchor.name!r} gives; "
            f"{len(parted)} of {len(weighted)} layers have other weights",
            where=str(compressed),
            fix="compare a model with one that was made from it",
        )
