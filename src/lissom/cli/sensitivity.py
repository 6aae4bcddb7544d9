"""`lissom sensitivity MODEL`: what each layer's error in each format does to the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lissom.cli.options import (
    CpuOption,
    JsonOption,
    MetricOption,
    QuietOption,
    SeedOption,
    TargetOption,
    TaskOption,
    TokenizerOption,
    read_task,
)
from lissom.cli.told import check_page, tell
from lissom.errors import FolderError, RequestError


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An .onnx file, a Hugging Face folder, or file.py:factory."
        ),
    ],
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    target: TargetOption = "onnxruntime",
    cpu: CpuOption = None,
    formats: Annotated[
        str,
        typer.Option(
            help="Formats, separated by commas: float16, w8a8 to w2a8 (weights of 8 to 2 bits, "
            "activations of 8), 'w8a8 dynamic', w8, w4, w2 (weights only). Left out: those worth "
            "choosing between."
        ),
    ] = "",
    samples: Annotated[
        int,
        typer.Option(min=8, help="Calibration samples: at most so many, drawn at random."),
    ] = 128,
    rounding: Annotated[
        Literal["nearest", "learned"],
        typer.Option(
            help="How codes of the static formats are chosen; learned ones take longer, and are "
            "what `lissom compress` builds for convolutions."
        ),
    ] = "nearest",
    seed: SeedOption = 0,
    every: Annotated[
        bool, typer.Option("--all", help="List every layer, in the order of the network.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where finished files and layers are kept, for the same command to go on from; "
            "lissom-out, as of `lissom compress`, if it can be."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page with a picture too.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell how sensitive MODEL is to each format, layer by layer.

    One layer at a time is quantized, the others stay float; the error it makes of the outputs is
    measured on calibration data, which the task must have. Kill it at any moment: the same command
    goes on from the layers that are finished.
    """
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.report.sensitivity_page import render_sensitivity
    from lissom.report.sensitivity_text import as_text
    from lissom.search.folder import check_folder, first_usable
    from lissom.search.formats import check_formats
    from lissom.search.sensitivity import sensitivity
    from lissom.targets.named import check_runtime

    asked = [name.strip() for name in formats.split(",") if name.strip()]
    # Wrong names are told before the model is read; `sensitivity` looks at them again.
    check_formats(asked)
    check_runtime(target)
    check_page(output)
    opened = open_model(model)
    chosen_task = read_task(task, metric, tokenizer, opened)
    if chosen_task is None:
        raise RequestError(
            "layers are fed with calibration data, and there is no task that brings any",
            fix="name the data: --task images:FOLDER, arrays:FILE.npz, table:FILE.parquet, "
            "text:FILE, pairs:FILE.tsv, or file.py:object",
        )
    if folder is not None:
        try:
            check_folder(folder, opened)
        except FolderError as error:
            # Of other commands it is the option -o.
            error.fix = "name a new folder, or one that lissom made of this model, with --folder"
            raise
    place = folder or first_usable([Path("lissom-out")], opened)
    with watched(quiet or json) as track:
        found = sensitivity(
            opened,
            chosen_task,
            formats=asked,
            samples=samples,
            rounding=rounding,
            target=target,
            cpu=cpu,
            folder=place,
            seed=seed,
            track=track,
            waiting=lambda: typer.echo(f"another run holds {place}; waiting for it", err=True),
        )
    tell(
        found,
        lambda: render_sensitivity(found, opened.name),
        lambda width: as_text(found, every=every, width=width),
        output=output,
        json=json,
    )
