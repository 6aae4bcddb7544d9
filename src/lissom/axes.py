"""The name of a dynamic dimension, and between which sizes it may be."""

from __future__ import annotations

from typing import Any

# Below this the exporter takes a size for a constant.
LEAST = 2


class Axis(str):
    """A dimension's name that knows its range; without one it is any size.

    Attributes:
        least: the smallest size the network takes.
        most: the largest, or None.
    """

    __slots__ = ("least", "most")

    least: int | None
    most: int | None

    def __new__(cls, name: str, least: int | None = None, most: int | None = None) -> Axis:
        axis = super().__new__(cls, name)
        axis.least, axis.most = least, most
        return axis

    def __repr__(self) -> str:
        """Name and range: it goes into the digest of a network."""
        ranged = self.least is not None or self.most is not None
        return f"{str(self)!r}" + (f"[{self.least}, {self.most}]" if ranged else "")

    @classmethod
    def of(cls, label: Any) -> Axis:
        """From a name, a tuple (name, least, most), or a torch.export.Dim.

        Raises:
            ValueError: the range is none.
        """
        if isinstance(label, Axis):
            return cls(str(label), label.least, label.most)
        if isinstance(label, (tuple, list)):
            if len(label) != 3:
                raise ValueError(f"{label!r} is no (name, least, most)")
            name, least, most = label
        elif isinstance(label, str) or not hasattr(label, "__name__"):
            return cls(str(label))
        else:
            name, least, most = label.__name__, getattr(label, "min", None), label.max
            # torch writes "no limit" as a very large number.
            most = most if isinstance(most, int) and most < 2**31 else None
        if not all(each is None or type(each) is int for each in (least, most)):
            raise ValueError(f"the axis {name!r} has a range of {least!r} to {most!r}")
        if most is not None and (most < LEAST or most <= (least or 0)):
            raise ValueError(f"the axis {name!r} cannot be between {least} and {most}")
        return cls(str(name), least, most)

    def within(self, size: int) -> int:
        """The nearest size that the range and the exporter allow."""
        size = max(size, self.least or 0, LEAST)
        return size if self.most is None else min(size, self.most)
