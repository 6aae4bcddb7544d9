"""The tensors of an archive's files decoded by threads, each blob once, and given out by place."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from lissom.storage.ahead import usable_threads
from lissom.storage.archive import Archive

# Bytes of content that a thread decodes at a time: much to do between two waits for the
# interpreter's lock, and little enough for all threads to end together.
BATCH = 1 << 21


class Decoded:
    """Contents of blobs, which threads decode from the moment that their file is begun."""

    def __init__(self, archive: Archive, files: Iterable[int]) -> None:
        self._archive = archive
        self._pool = ThreadPoolExecutor(usable_threads())
        self._futures: dict[int, tuple[Future[list[memoryview]], int]] = {}
        self.start(files)

    def start(self, files: Iterable[int]) -> None:
        """Begin with the tensors of files."""
        manifest = self._archive.manifest
        wanted = set(files)
        batch: dict[int, None] = {}
        size = 0
        for tensor in manifest.tensors:
            if tensor.file not in wanted:
                continue
            for each in manifest.slices(tensor.file, tensor.offset, tensor.length):
                if each.blob in self._futures or each.blob in batch:
                    continue
                batch[each.blob] = None
                size += manifest.blobs[each.blob].size
                if size >= BATCH:
                    self._submit(list(batch))
                    batch, size = {}, 0
        if batch:
            self._submit(list(batch))

    def _submit(self, blobs: list[int]) -> None:
        future = self._pool.submit(self._archive.contents, blobs)
        for place, blob in enumerate(blobs):
            self._futures[blob] = future, place

    def stretch(self, file: int, offset: int, length: int) -> memoryview:
        """A stretch of a file: the decoded memory itself where it is a whole blob.

        Raises:
            FormatError: a blob that holds it is damaged.
        """
        parts = []
        for each in self._archive.manifest.slices(file, offset, length):
            if each.blob not in self._futures:
                self._submit([each.blob])
            future, place = self._futures[each.blob]
            content = future.result()[place]
            if len(content) == length:
                return content
            parts.append(content[each.start : each.start + each.length])
        return memoryview(b"".join(parts))

    def __enter__(self) -> Decoded:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
