"""What an archive may ask of its reader; all of it is checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from lissom.errors import FormatError

# What the format itself allows: a reader never needs more than this for one blob's content.
LARGEST_BLOB = 1 << 26
# How much longer than its content a blob may be stored: the names of its coding.
LARGEST_EXCESS = 1 << 16
# A smaller tensor costs more as a blob of its own than among its like, in bytes and in time.
SMALLEST_ALONE = 1 << 14
# How many bytes of small tensors a writer puts into one blob: who wants one decodes them all.
LARGEST_SHARED = 1 << 18


@dataclass(frozen=True)
class Limits:
    """A reader's limits.

    Attributes:
        content: bytes of all files of an archive together.
        entries: blobs, files, ranges and tensors together.
    """

    content: int = 64 * 10**9
    entries: int = 1_000_000

    def check_content(self, size: int, where: str) -> None:
        """Refuse an archive that says it holds more than the limit.

        Raises:
            FormatError: it does.
        """
        if size > self.content:
            raise FormatError(
                f"the archive says it holds {size:,} bytes, and the limit is {self.content:,}",
                where=where,
                fix=f"if you trust it and have the space, raise the limit: --limit {size}, "
                f"or Limits(content={size})",
            )
