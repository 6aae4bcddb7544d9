"""Torch to ONNX, once: exported, named, checked against the original, written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from lissom.axes import Axis
from lissom.errors import ModelError, require
from lissom.factory import Network
from lissom.model import Model, TensorSpec, input_specs, output_specs, read_onnx, write_onnx
from lissom.nn import parity as checks
from lissom.nn.graph_names import name_dimensions, name_ports, strip_traces
from lissom.nn.huggingface import load_huggingface
from lissom.nn.names import Match, match_parameters, rename_initializers
from lissom.onnx_file import failing_as_folder_error, keep_ranges, write_beside
from lissom.technique import Track, silent
from lissom.user_code import showing_user_lines, user_lines

if TYPE_CHECKING:
    import torch

    from lissom.nn.wrappers import Flat

OPSET = 21
QUIET_LOGGERS = (
    "torch.onnx",
    "torch.export",
    "torch._export",
    "torch._dynamo",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
)


@dataclass(frozen=True)
class Export:
    """What an export wrote and how far it is from torch.

    Attributes:
        path: the file.
        parity: largest absolute difference of an output value from torch's.
        relative: the same over the largest value of that output.
        inputs, outputs: what the file takes and gives.
        notes: what the user should know, in sentences.
    """

    path: Path
    parity: float
    relative: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...]


def export(model: Model, folder: Path, *, track: Track = silent) -> Export:
    """Write folder/model.onnx (opset 21) and folder/names.json, checked against torch.

    Text models get dynamic batch and sequence axes, images a dynamic batch, a factory what it
    says, or else a dynamic first dimension where that can be exported.

    Raises:
        ModelError: the network cannot be built or exported, or the file computes something else.
        FolderError: the folder cannot be written.
        MissingExtra: torch, onnxscript or transformers is not installed.
    """
    extra = "hf" if model.kind == "huggingface" else "torch"
    for package in ("torch", "onnxscript"):
        require(package, extra=extra, purpose="exporting a model from torch to ONNX")
    from lissom.nn.wrappers import evaluating

    phases = track(("load", "convert", "check"), f"export {model.name}", 3)
    next(phases)
    network = network_of(model)
    next(phases)
    path = folder / "model.onnx"
    with evaluating(network.module):
        made = _first_that_works(_attempts(network), path, model.spec)
    next(phases)
    written = read_onnx(path)
    with failing_as_folder_error(folder / "names.json"):
        names = {name: match.model_dump() for name, match in made.names.items()}
        write_beside(folder / "names.json", json.dumps(names, indent=1).encode())
    list(phases)
    far = made.parity
    return Export(
        path, far.absolute, far.relative, input_specs(written), output_specs(written), made.notes
    )


def network_of(model: Model) -> Network:
    """The torch network behind a Hugging Face folder, a factory or a module.

    Raises:
        ModelError: it cannot be built.
    """
    if model.factory is not None:
        return model.factory()
    if model.kind != "huggingface" or model.folder is None:
        raise ValueError(f"a model of kind {model.kind!r} is not exported")
    return load_huggingface(model.folder)


@dataclass(frozen=True)
class Attempt:
    """A network whose axes are settled, and what to tell the user if this is what works."""

    network: Network
    axes: Mapping[str, Mapping[int, str]]
    note: str = ""


@dataclass(frozen=True)
class Made:
    """A written file, its parity, where its parameters are."""

    parity: checks.Parity
    names: dict[str, Match]
    notes: tuple[str, ...]


def _attempts(network: Network) -> list[Attempt]:
    """What was asked for; or where nothing was, a dynamic batch, then fixed sizes."""
    if network.axes is not None:
        return [
            Attempt(replace(network, inputs=_of_two(network.inputs, network.axes)), network.axes)
        ]
    axes = {name: {0: "batch"} for name, value in network.inputs.items() if value.dim()}
    dynamic = replace(network, inputs=_of_two(network.inputs, axes))
    sizes = ", ".join(f"{name} {list(value.shape)}" for name, value in network.inputs.items())
    return [
        Attempt(dynamic, axes),
        Attempt(network, {}, f"the model takes inputs of exactly these sizes: {sizes}"),
    ]


def _of_two(
    inputs: Mapping[str, torch.Tensor], axes: Mapping[str, Mapping[int, str]]
) -> dict[str, torch.Tensor]:
    """Example inputs of sizes in range and at least 2: the exporter takes 1 for a constant."""
    sizes = {
        name: {
            dimension: Axis.of(label).within(value.shape[dimension])
            for dimension, label in axes.get(name, {}).items()
        }
        for name, value in inputs.items()
    }
    return {name: _resized(value, sizes[name]) for name, value in inputs.items()}


def _resized(value: torch.Tensor, sizes: Mapping[int, int]) -> torch.Tensor:
    """A tensor repeated from its start until each given dimension has the size."""
    import torch

    for dimension, size in sizes.items():
        positions = torch.arange(size, device=value.device) % value.shape[dimension]
        value = value.index_select(dimension, positions)
    return value


def _first_that_works(attempts: list[Attempt], path: Path, spec: str) -> Made:
    *hopeful, last = attempts
    reasons = []
    for attempt in hopeful:
        try:
            return _make(attempt, path, spec)
        except ModelError as error:
            reasons.append(error.what)
    made = _make(last, path, spec)
    if not last.note:
        return made
    note = f"{last.note}; with a batch of any size: {'; '.join(reasons)}"
    return replace(made, notes=(note, *made.notes))


def _make(attempt: Attempt, path: Path, spec: str) -> Made:
    """Export, name, write and check one network."""
    from lissom.nn.wrappers import Flat

    network = attempt.network
    flat = Flat(network.module, tuple(network.inputs), network.keywords)
    with showing_user_lines(spec, ModelError):
        outputs = flat.named(*network.inputs.values())
    if not outputs:
        raise ModelError(f"{spec} returns no tensor", fix="return tensors, or a dict of them")
    graph_model = _convert(flat, attempt, spec)
    names = match_parameters(network.module, graph_model.graph)
    strip_traces(graph_model)
    name_dimensions(graph_model.graph, list(network.inputs), attempt.axes)
    keep_ranges(graph_model, attempt.axes)
    names = rename_initializers(graph_model.graph, names)
    name_ports(graph_model.graph, list(network.inputs), list(outputs))
    write_onnx(graph_model, path)
    found, notes = _compare(flat, attempt, path)
    return Made(found, names, notes)


def _convert(flat: Flat, attempt: Attempt, spec: str) -> ir.Model:
    import torch

    shapes = tuple(
        {dimension: _dynamic(label) for dimension, label in attempt.axes.get(name, {}).items()}
        for name in attempt.network.inputs
    )
    try:
        with _quiet():
            program = torch.onnx.export(
                flat,
                tuple(attempt.network.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={"inputs": shapes},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ModelError(
            f"torch cannot export {spec} to ONNX: {_reason(cause)}",
            where=user_lines(cause) or None,
            fix="rewrite what it names without Python branches on tensor values, or export the "
            "network yourself and pass the .onnx file",
        ) from error
    assert program is not None
    return program.model


def _dynamic(label: str) -> Any:
    """What torch calls a size that may change, in its range where it has one."""
    import torch

    axis, dynamic = Axis.of(label), torch.export.Dim.DYNAMIC
    return dynamic if axis.most is None else dynamic(min=axis.least, max=axis.most)


def _reason(error: BaseException) -> str:
    """The first line of a message, with the second where the first only announces it."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1]) or type(error).__name__


def _compare(flat: Flat, attempt: Attempt, path: Path) -> tuple[checks.Parity, tuple[str, ...]]:
    """Parity on the example inputs and on other sizes of the dynamic axes.

    Raises:
        ModelError: the file does not run, or is further than a tenth from torch.
    """
    found = checks.parity(flat, path, attempt.network.inputs)
    notes = []
    sizes = {
        name: {d: _other_size(label, value.shape[d]) for d, label in attempt.axes[name].items()}
        for name, value in attempt.network.inputs.items()
        if name in attempt.axes
    }
    if any(sizes.values()):
        other = {
            name: _resized(value, sizes.get(name, {}))
            for name, value in attempt.network.inputs.items()
        }
        try:
            flat(*other.values())
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            notes.append(
                f"checked at one size only, because torch fails at another: {_reason(error)}"
            )
        else:
            second = checks.parity(flat, path, other)
            found = max(found, second, key=lambda each: each.relative)
    if not found.relative <= checks.REFUSED:
        raise ModelError(
            f"the exported model computes something else than torch: outputs differ by "
            f"{found.relative:.0%} of their largest value",
            where=str(path),
            fix="look for randomness or state in the network's forward",
        )
    if found.relative > checks.NOTED:
        notes.append(
            f"the exported model differs from torch by {found.relative:.1e} of its largest output"
        )
    return found, tuple(notes)


def _other_size(label: str, size: int) -> int:
    """Another size in the range of an axis, a smaller one where it is at its largest."""
    axis = Axis.of(label)
    other = axis.within(size + 1 if label == "batch" else size * 2)
    return other if other != size else axis.within(size - 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's advice is about itself; what goes wrong is raised as an error."""
    loggers = [logging.getLogger(name) for name in QUIET_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        # After a failure torch prints whole graphs; only the error's reason is for the user.
        unread = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
