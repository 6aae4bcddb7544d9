"""The contents of an archive's blobs decoded by threads, each once: whole files, or tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

import numpy as np

from lissom.errors import FormatError
from lissom.storage.ahead import usable_threads
from lissom.storage.archive import Archive
from lissom.storage.closing import Closing
from lissom.storage.limits import LARGEST_BLOB

# Bytes of content that a thread decodes at a time: much to do between two waits for the
# interpreter's lock, and little enough for all threads to end together.
BATCH, SMALLEST_BATCH = 1 << 21, 1 << 19
# Contents lie in pieces of memory of their own, so large that the system gives it in large pages:
# of small ones, the first touch of each would take as long as decoding it.
PIECE = LARGEST_BLOB
# Where a tensor begins: what vector instructions like.
ALIGNED = 64


@dataclass(eq=False)
class Batch:
    """Blobs that are decoded together, what they fill, and whether all is well with them."""

    blobs: Sequence[int]
    outs: Sequence[memoryview]
    done: Event = field(default_factory=Event)
    filled: bool = False

    def decode(self, archive: Archive) -> None:
        try:
            archive.fill(self.blobs, self.outs)
            self.filled = True
        except FormatError:  # found again by whoever asks for it
            pass
        finally:
            self.done.set()


class Crew(Closing):
    """Threads that decode blobs as soon as they are told of them, beside the one that tells."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._waiting: deque[Batch] = deque()
        self._threads: list[Thread] = []

    def begin(self, blobs: Sequence[int], outs: Sequence[memoryview]) -> list[Batch]:
        """Begin with blobs, each of which fills its memory: the batches that they are in."""
        sizes = self._archive.manifest.blobs
        share = sum(sizes[number].size for number in blobs) // (2 * usable_threads())
        enough = max(SMALLEST_BATCH, min(BATCH, share))
        found = []
        first = size = 0
        for last, number in enumerate(blobs):
            size += sizes[number].size
            if size >= enough or last + 1 == len(blobs):
                found.append(Batch(blobs[first : last + 1], outs[first : last + 1]))
                first, size = last + 1, 0
        self._waiting.extend(found)
        for _ in range(min(usable_threads(), len(found)) - 1):
            thread = Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()
        return found

    def _work(self) -> None:
        while self._waiting:
            try:
                batch = self._waiting.popleft()
            except IndexError:  # another thread was faster
                return
            batch.decode(self._archive)

    def wait(self, batch: Batch) -> None:
        """Wait until a batch is decoded; meanwhile, decode others.

        Raises:
            FormatError: a blob of it is damaged.
        """
        self._work()
        batch.done.wait()
        if not batch.filled:
            self._archive.fill(batch.blobs, batch.outs)

    def close(self) -> None:
        """Wait for the threads, which begin nothing more."""
        self._waiting.clear()
        for thread in self._threads:
            thread.join()


def read_file(archive: Archive, file: int, out: memoryview) -> None:
    """Fill memory of its size with a file.

    Raises:
        FormatError: it is damaged.
    """
    manifest = archive.manifest
    places: dict[int, memoryview] = {}
    copied: list[tuple[memoryview, memoryview]] = []
    for each in manifest.files[file].ranges:
        part, out = out[: each.length], out[each.length :]
        size = manifest.blobs[each.blob].size
        if each.blob not in places:
            if each.length == size:
                places[each.blob] = part
                continue
            places[each.blob] = np.empty(size, np.uint8).data
        copied.append((part, places[each.blob][each.start : each.start + each.length]))
    with Crew(archive) as crew:
        for batch in crew.begin(list(places), list(places.values())):
            crew.wait(batch)
    for part, content in copied:
        part[:] = content


class Decoded(Closing):
    """The tensors of files: large ones are decoded from the moment that their file is begun, what
    shares a blob once it is asked for."""

    def __init__(self, archive: Archive, files: Iterable[int]) -> None:
        self._archive = archive
        self._crew = Crew(archive)
        self._found: dict[int, tuple[Batch, memoryview]] = {}
        self.start(files)

    def start(self, files: Iterable[int]) -> None:
        """Begin with the tensors of files that have blobs of their own."""
        blobs: dict[int, None] = {}
        sizes = self._archive.manifest.blobs
        for file in files:
            # A file begins with what is no tensor, and whoever asks for that has it already.
            ranges = self._archive.manifest.files[file].ranges
            whole = (each for each in ranges if each.length == sizes[each.blob].size)
            blobs |= {each.blob: None for each in whole if each.blob != ranges[0].blob}
        self._begin([blob for blob in blobs if blob not in self._found])

    def _begin(self, blobs: Sequence[int]) -> None:
        outs = _memory([self._archive.manifest.blobs[number].size for number in blobs])
        for batch in self._crew.begin(blobs, outs):
            for number, out in zip(batch.blobs, batch.outs, strict=True):
                self._found[number] = batch, out

    def stretch(self, file: int, offset: int, length: int) -> memoryview:
        """A stretch of a file: the decoded memory itself where it is a whole blob.

        Raises:
            FormatError: a blob that holds it is damaged.
        """
        parts = []
        for each in self._archive.manifest.slices(file, offset, length):
            if each.blob not in self._found:
                self._begin([each.blob])
            batch, content = self._found[each.blob]
            self._crew.wait(batch)
            if len(content) == length:
                return content
            parts.append(content[each.start : each.start + each.length])
        return memoryview(b"".join(parts))

    def close(self) -> None:
        """Wait for the threads, which begin nothing more."""
        self._crew.close()


def _memory(sizes: Sequence[int]) -> list[memoryview]:
    """Memory for contents, one after the other in pieces of at most PIECE bytes."""
    found: list[memoryview] = []
    places: list[tuple[int, int]] = []
    end = 0
    for size in [*sizes, PIECE]:  # the last ends the piece before it
        if places and end + size > PIECE:
            piece = np.empty(end, np.uint8).data
            found += [piece[start : start + length] for start, length in places]
            places, end = [], 0
        places.append((end, size))
        end += -(-size // ALIGNED) * ALIGNED
    return found
