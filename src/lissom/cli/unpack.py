"""`lissom unpack FILE.lsm`: the files again, byte for byte; or a list of them, or one tensor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.cli.options import JsonOption, QuietOption
from lissom.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lissom.storage.archive import Archive
    from lissom.storage.limits import Limits
    from lissom.storage.manifest import Manifest, Tensor


def command(
    archive: Annotated[
        str, typer.Argument(metavar="FILE.lsm", help="What `lissom pack` wrote; - reads stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to; its own name if not given."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List files and tensors, and write nothing.")
    ] = False,
    tensor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write one tensor only, as .npy or as plain bytes."),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Refuse an archive that says it holds more (64GB)."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give back the files of an archive, byte for byte; nothing that is there is overwritten.

    Every checksum is checked before a file appears under its name.
    """
    from lissom.storage.limits import Limits

    if tensor is not None and listed:
        raise RequestError("--list and --tensor exclude each other", fix="give one of them")
    limits = Limits()
    if limit is not None:
        from lissom.search.budget import parse_size

        limits = Limits(content=parse_size(limit))
    if listed or tensor is not None:
        _part(archive, output, tensor, limits, as_json=json)
    else:
        _whole(archive, output, limits, as_json=json, quiet=quiet)


def _whole(
    archive: str, output: Path | None, limits: Limits, *, as_json: bool, quiet: bool
) -> None:
    from lissom.cli.progress import watched
    from lissom.report.text import size
    from lissom.storage.unpack import STDIN, unpack

    with watched(quiet or as_json) as track:
        done = unpack(archive, output, limits=limits, track=track)
    if as_json:
        stored = None if archive == STDIN else Path(archive).stat().st_size
        _print(archive, stored, done.path, done.manifest, [], done.seconds)
        return
    files = f"{len(done.manifest.files)} file{'s' * (len(done.manifest.files) != 1)}"
    typer.echo(f"unpacked: {done.path}")
    typer.echo(f"{size(done.manifest.size)} in {files}, all checked ({done.seconds:.1f} s)")


def _part(
    archive: str, output: Path | None, name: str | None, limits: Limits, *, as_json: bool
) -> None:
    from lissom.storage.archive import Archive
    from lissom.storage.tensor_file import write_tensor

    started = time.monotonic()
    with Archive(archive, limits) as opened:
        manifest = opened.manifest
        written = None
        tensors: Iterable[Tensor] = manifest.tensors
        if name is not None:
            wanted = manifest.tensor(name)
            written, tensors = write_tensor(opened, wanted, output), [wanted]
        if as_json:
            entries = [(each, opened.stored_bytes(each)) for each in tensors]
            _print(archive, opened.size, written, manifest, entries, time.monotonic() - started)
        elif name is None:
            typer.echo(_listing(opened))
        else:
            typer.echo(f"written: {written}")


def _print(
    archive: str,
    stored: int | None,
    output: Path | None,
    manifest: Manifest,
    tensors: Iterable[tuple[Tensor, int | None]],
    seconds: float,
) -> None:
    from lissom.cli.documents import ArchiveContent, ArchiveFile, ArchiveTensor

    files = tuple(
        ArchiveFile(name=f.name, container=f.container, bytes=f.size, sha256=f.sha256.hex())
        for f in manifest.files
    )
    entries = tuple(
        ArchiveTensor(
            name=t.name,
            file=manifest.files[t.file].name,
            dtype=t.dtype,
            shape=t.shape,
            bytes=t.length,
            stored=size,
        )
        for t, size in tensors
    )
    document = ArchiveContent(
        archive=archive,
        archive_bytes=stored,
        output=None if output is None else str(output),
        bytes=manifest.size,
        files=files,
        tensors=entries,
        seconds=seconds,
    )
    typer.echo(document.model_dump_json(indent=2))


def _listing(archive: Archive) -> str:
    """Files with their tensors: type, shape, bytes, and bytes stored, the names last."""
    from lissom.report.text import size

    manifest = archive.manifest
    lines = [f"{archive.path}: {size(archive.size)}, holds {size(manifest.size)}"]
    by_file: dict[int, list[Tensor]] = {}
    for tensor in manifest.tensors:
        by_file.setdefault(tensor.file, []).append(tensor)
    for number, file in enumerate(manifest.files):
        lines += ["", f"{_plain(file.name)}  {file.container}, {size(file.size)}"]
        lines.append(f"  sha256 {file.sha256.hex()}")
        for tensor in by_file.get(number, []):
            stored = archive.stored_bytes(tensor)
            shape = "x".join(map(str, tensor.shape)) or "one value"
            lines.append(
                f"  {_plain(tensor.dtype):<10} {shape:<18} {size(tensor.length):>9} -> "
                f"{size(stored) if stored is not None else 'shared':>9}  {_plain(tensor.name)}"
            )
    return "\n".join(lines)


def _plain(name: str) -> str:
    """A name from a stranger as a terminal may show it."""
    return name if name.isprintable() else ascii(name)[1:-1]
