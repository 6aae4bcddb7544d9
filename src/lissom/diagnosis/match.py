"""Which tensor of the compressed file carries what a layer of the original computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.activation import kept_by_codes
from lissom.diagnosis.anchors import Anchor
from lissom.diagnosis.cut import Network
from lissom.diagnosis.reals import SWITCHES, Reals
from lissom.diagnosis.scaling import Scaling
from lissom.errors import ModelError

# What quantizers append to the name of a tensor whose codes, or reals, they keep.
SUFFIXES = (
    "_quantized", "_QuantizeLinear_Output", "_DequantizeLinear_Output", "_QuantizeInput",
    "_quantize_out", "_dequantize_out", "_DequantizeLinear", "_QuantizeLinear", "_output_quantized",
    "_exact_out", "_q", "_dq", "_output", "_out",
)  # fmt: skip
# A tensor of another name is taken for the same from this correlation on.
SURE = 0.95
# One of the same name is believed from this on without looking further.
LIKELY = 0.7
# Positions of a tensor that are compared.
POSITIONS = 4096


@dataclass(frozen=True)
class Matched:
    """A layer and its counterpart.

    Attributes:
        anchor: the layer.
        tensor: the original's tensor that is compared.
        root: the compressed graph's tensor, before quantization where it is quantized.
        correlation: of the two on the sample, the whole compressed network run.
        scaling: how its channels are scaled in the compressed network, None where they are not.
    """

    anchor: Anchor
    tensor: str
    root: str
    correlation: float
    scaling: Scaling | None = None


def match(
    anchors: Sequence[Anchor],
    values: Mapping[str, NDArray[Any]],
    reals: Reals,
    others: Mapping[str, NDArray[Any]],
    network: Network,
) -> tuple[list[Matched], list[tuple[str, str]]]:
    """Layers with their counterparts, and those that have none with the reason.

    A tensor of the same name, or of it with a suffix that quantizers append, comes first; where
    there is none, or it holds something else, the tensor of the same shape that correlates best.

    Args:
        anchors: the original's layers.
        values: the original's tensors on a sample.
        reals: the compressed graph.
        others: its tensors on the same sample.
        network: the compressed graph in reals, by names.

    Raises:
        ModelError: no layer has a counterpart.
    """
    prints = _Prints(reals, others, values)
    taken: dict[str, str] = {}
    found: list[Matched] = []
    without: list[tuple[str, str]] = []
    for anchor in anchors:
        if not any(name in values and values[name].dtype.kind == "f" for name in anchor.tensors):
            continue
        best = _counterpart(anchor, values, prints, taken)
        if isinstance(best, str):
            without.append((anchor.name, best))
            continue
        best = _active(best, values, reals, network)
        taken[best.root] = best.tensor
        found.append(best)
    if not found:
        raise ModelError(
            "no tensor of the compressed model matches one of the original",
            where=without[0][1] if without else None,
            fix="check that one was made from the other; names, sizes and values were compared",
        )
    return found, without


def _counterpart(
    anchor: Anchor,
    values: Mapping[str, NDArray[Any]],
    prints: _Prints,
    taken: Mapping[str, str],
) -> Matched | str:
    nearest = 0.0
    tensors = [name for name in anchor.tensors if name in values]
    for tensor in tensors:
        root, likeness = prints.by_name(tensor, values[tensor])
        if root is None or root in taken:
            continue
        if likeness < LIKELY:
            # A broken layer is still the layer of that name; another tensor has to be sure.
            other, closer = prints.by_value(values[tensor], taken)
            if other is not None and closer >= SURE:
                root, likeness = other, closer
        return Matched(anchor, tensor, root, likeness)
    for tensor in tensors:
        root, likeness = prints.by_value(values[tensor], taken)
        if root is not None and likeness >= SURE:
            return Matched(anchor, tensor, root, likeness)
        nearest = max(nearest, likeness)
    if nearest <= 0.0:
        return "no tensor has its name, and none its shape"
    return f"no tensor has its name, and the nearest of its shape correlates by {nearest:.2f}"


def _active(
    matched: Matched, values: Mapping[str, NDArray[Any]], reals: Reals, network: Network
) -> Matched:
    """The layer with its activation where the codes do that one's work.

    Quantizers that write operators on codes drop the activation and name the codes by what was
    before it, which is what only the kernel sees.
    """
    anchor = matched.anchor
    if matched.tensor == anchor.tensors[0] or anchor.tensors[0] not in values:
        return matched
    ends = anchor.low, anchor.high
    if ends == (None, None) or kept_by_codes(anchor, matched.root, reals, network) != ends:
        return matched
    return replace(matched, tensor=anchor.tensors[0])


class _Prints:
    """What the compressed graph's tensors are called and hold."""

    def __init__(
        self,
        reals: Reals,
        others: Mapping[str, NDArray[Any]],
        values: Mapping[str, NDArray[Any]],
    ) -> None:
        self.reals, self.others = reals, others
        # What has the name of one of the original's tensors is not taken for another.
        self.named = {reals.root(name) for name in values if name in reals.same or name in others}
        self.members: dict[str, list[str]] = {}
        self.groups: dict[tuple[int, ...], list[str]] = {}
        for name, array in others.items():
            if array.dtype.kind != "f" or array.size < 2:
                continue
            # Codes as such are no reals.
            if name in reals.quantizers:
                continue
            self.members.setdefault(reals.root(name), []).append(name)
            self.groups.setdefault(array.shape, []).append(name)
        self.matrices = {
            shape: np.stack([_print(others[name]) for name in names])
            for shape, names in self.groups.items()
        }

    def by_name(self, tensor: str, value: NDArray[Any]) -> tuple[str | None, float]:
        """The root of that name, and how well it correlates."""
        names = [tensor, *(f"{tensor}{suffix}" for suffix in SUFFIXES)]
        for name in names:
            if name not in self.reals.same and name not in self.others:
                continue
            root = self.reals.root(name)
            alike = [m for m in self.members.get(root, ()) if self.others[m].shape == value.shape]
            if alike:
                mine = _print(value)
                return root, max(float(_print(self.others[m]) @ mine) for m in alike)
        return None, 0.0

    def by_value(self, value: NDArray[Any], taken: Mapping[str, str]) -> tuple[str | None, float]:
        """The root that correlates best among those that carry nothing yet."""
        matrix = self.matrices.get(value.shape)
        if matrix is None or value.size < 2:
            return None, 0.0
        likeness = matrix @ _print(value)
        for at in np.argsort(-likeness):
            root = self.reals.root(self.groups[value.shape][at])
            if root not in taken and root not in self.named:
                return root, float(likeness[at])
        return None, 0.0


def _print(array: NDArray[Any]) -> NDArray[np.float64]:
    """Values at evenly spaced positions, centred and of length one."""
    flat = array.reshape(-1)
    if flat.size > POSITIONS:
        flat = flat[np.linspace(0, flat.size - 1, POSITIONS).astype(np.intp)]
    found: NDArray[np.float64] = flat.astype(np.float64)
    # Masks hold numbers whose squares are none.
    found = np.clip(np.nan_to_num(found), -1e30, 1e30)
    found -= found.mean()
    length = float(np.linalg.norm(found))
    if length > 0:
        found /= length
    return found


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Of two tensors of one shape, at a sample of positions."""
    return float(_print(one) @ _print(other))


def watched(reals: Reals, network: Network) -> list[str]:
    """The compressed graph's tensors that may carry a layer's result."""
    return [
        name
        for name in network.maker
        if name not in reals.quantizers and name not in reals.inside and name not in SWITCHES
    ]
