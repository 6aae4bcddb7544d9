"""Which positions of which tensors belong together: classes of channels, and why some must stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Label = npt.NDArray[np.int64]
# One label per axis of a tensor: the class of each position, None where none is followed.
Labels = list[Label | None]
# A tensor's axis, and a position on it.
Place = tuple[str, int, int]


class Classes:
    """Disjoint sets of positions (union-find) that are removed together or not at all.

    A class that has a reason is never removed; the first reason found is kept.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._places: list[Place | None] = []
        self._reason: dict[int, str] = {}

    def fresh(self, count: int, tensor: str | None = None, axis: int = 0) -> Label:
        """`count` new classes, of the positions of a tensor's axis where one is named."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        self._places.extend(
            None if tensor is None else (tensor, axis, position) for position in range(count)
        )
        return np.arange(start, start + count, dtype=np.int64)

    def find(self, member: int) -> int:
        """The root of a member's class."""
        root = member
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[member] != root:
            self._parent[member], member = root, self._parent[member]
        return root

    def unite(self, first: Label, second: Label) -> None:
        """Let the classes at each position be one."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            one, other = sorted((self.find(a), self.find(b)))
            if one != other:
                self._parent[other] = one
                reason = self._reason.pop(other, None)
                if reason is not None:
                    self._reason.setdefault(one, reason)

    def hold(self, members: Label, reason: str) -> None:
        """Keep these classes whole."""
        for member in set(members.ravel().tolist()):
            self._reason.setdefault(self.find(member), reason)

    def hold_all(self, labels: Iterable[Sequence[Label | None]], reason: str) -> None:
        """Keep all classes of these tensors whole."""
        for axes in labels:
            for label in axes:
                if label is not None:
                    self.hold(label, reason)

    def reason(self, member: int) -> str | None:
        """Why a member's class must stay, or None."""
        return self._reason.get(self.find(member))

    def places(self) -> dict[int, list[Place]]:
        """Every class's positions in tensors, in the order they were made."""
        found: dict[int, list[Place]] = defaultdict(list)
        for member, place in enumerate(self._places):
            if place is not None:
                found[self.find(member)].append(place)
        return found


def reshaped(
    labels: Labels, before: Sequence[int], after: Sequence[int]
) -> tuple[Labels, list[Label]]:
    """Labels of a tensor seen in another shape, and those that cannot be followed.

    Axes that are merged repeat their one labelled axis (a channel becomes a block of features);
    a labelled axis that is split, or merged with another labelled one, is not followed.
    """
    result: Labels = []
    lost: list[Label] = []
    for old, new in _aligned(before, after):
        wide = [axis for axis in old if before[axis] != 1]
        labelled = [axis for axis in wide if labels[axis] is not None]
        lost.extend(
            label for axis in old if before[axis] == 1 and (label := labels[axis]) is not None
        )
        targets = [axis for axis in new if after[axis] != 1]
        merged: Label | None = None
        if len(labelled) == 1 and len(targets) == 1:
            grid = np.arange(before[labelled[0]]).reshape(
                [before[axis] if axis == labelled[0] else 1 for axis in wide]
            )
            label = labels[labelled[0]]
            assert label is not None
            merged = label[np.broadcast_to(grid, [before[axis] for axis in wide]).ravel()]
        else:
            lost.extend(label for axis in labelled if (label := labels[axis]) is not None)
        result.extend(merged if axis in targets else None for axis in new)
    return result, lost


def _aligned(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes whose sizes have the same product on both sides."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new, left, right = [], [], 1, 1
        if i < len(before):
            old, left, i = [i], before[i], i + 1
        if j < len(after):
            new, right, j = [j], after[j], j + 1
        while left != right or (not old and i < len(before)) or (not new and j < len(after)):
            if (left < right and i < len(before)) or j >= len(after):
                old.append(i)
                left, i = left * before[i], i + 1
            else:
                new.append(j)
                right, j = right * after[j], j + 1
        runs.append((old, new))
    return runs
