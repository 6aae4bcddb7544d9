"""`lissom pack MODEL`: any model file or folder as small as its bytes allow, losslessly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from lissom.storage.pack import Packed


def command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A file or folder: ONNX, safetensors, GGUF, an artifact, any."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.lsm", help="The archive; MODEL's name if not given."
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pack MODEL into one archive, without loss: `lissom unpack` gives back the same bytes.

    An ONNX file takes its external data along. MODEL itself is never touched.
    """
    from lissom.cli.progress import watched
    from lissom.storage.pack import pack

    with watched(quiet or json) as track:
        packed = pack(model, output, track=track)
    if json:
        from lissom.cli.documents import PackedArchive

        document = PackedArchive(
            archive=str(packed.path),
            bytes=packed.size,
            original_bytes=packed.original,
            repeated_bytes=packed.repeated,
            files=packed.files,
            tensors=packed.tensors,
            seconds=packed.seconds,
            notes=packed.notes,
        )
        typer.echo(document.model_dump_json(indent=2))
        return
    typer.echo(_as_text(packed))


def _as_text(packed: Packed) -> str:
    from lissom.report.text import size, times

    files = f"{packed.files} file{'s' * (packed.files != 1)}"
    gain = times(packed.original / packed.size, "smaller")
    lines = [
        f"packed: {packed.path}",
        f"{size(packed.original)} in {files}, {packed.tensors} tensors -> {size(packed.size)}: "
        f"{gain} ({packed.seconds:.1f} s)",
    ]
    if packed.repeated:
        lines.append(f"{size(packed.repeated)} are there more than once, and stored once")
    return "\n".join(lines + [f"note: {note}" for note in packed.notes])
