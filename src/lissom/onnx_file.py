"""Read and write ONNX files: checked on the way in, deterministic and atomic on the way out."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from lissom import onnx_check
from lissom.axes import Axis
from lissom.errors import FolderError, ModelError
from lissom.maps import KINDS, declare_maps, keep_maps, kinds_of_maps, without_maps

# A protobuf ends at 2 GB; what is larger keeps its weights in a file beside it.
INLINE_LIMIT = 1_800_000_000
# What an output can be besides a tensor: it is carried through, and no metric looks at it.
NOT_TENSORS = ("sequence", *KINDS)
# Metadata of a file that lissom exported: the ranges of its named axes.
RANGES = "lissom.axes"


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output: `dtype` is numpy's name, a dimension is a size, a name or None.

    A name is an Axis where the file tells its range. Text has the dtype "string". An output that is
    no tensor has one of NOT_TENSORS as its dtype; where a file does not tell an output's rank, its
    shape is ().
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        if self.dtype in NOT_TENSORS:
            return f"{self.name}: {self.dtype}"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


def read_onnx(path: Path | str, *, check_weights: bool = True) -> ir.Model:
    """Open an ONNX file as a graph; external data are mapped, not loaded.

    Raises:
        ModelError: the file is missing, not ONNX, damaged, points outside its folder, or (with
            `check_weights`) holds NaN or infinity in its weights.
    """
    path = Path(path)
    proto = onnx_check.parse(path)
    model = as_graph(proto, path)
    # Absolute, so that a change of the working directory does not lose the mapped files.
    ir.external_data.set_base_dir(model.graph, str(path.absolute().parent))
    input_specs(model)
    _refuse_external_attributes(model, path)
    if check_weights:
        onnx_check.check_weights(model, str(path))
    return model


def as_graph(proto: onnx.ModelProto, path: Path) -> ir.Model:
    """A parsed file as a graph, with maps among its outputs (scikit-learn's probabilities).

    Raises:
        ModelError: the file is damaged, or holds what lissom has no form for.
    """
    maps = without_maps(proto.graph)
    for each in proto.opset_import:
        # The other name of ONNX's own operators; onnx-ir knows it of nodes only.
        each.domain = "" if each.domain == "ai.onnx" else each.domain
    try:
        model = ir.serde.deserialize_model(proto)
    except (ir.serde.SerdeError, ValueError, TypeError, RecursionError) as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0].partition(" Please contribute")[0]
        if isinstance(cause, NotImplementedError):
            raise ModelError(
                f"{path.name} holds something that lissom cannot read: {reason.rstrip('.')}",
                where=str(path),
                fix="export it without that; onnxruntime alone may still run the file",
            ) from None
        raise ModelError(
            f"{path.name} is damaged: {reason}", where=str(path), fix=onnx_check.RE_EXPORT
        ) from None
    keep_maps(model, maps)
    return model


def _refuse_external_attributes(model: ir.Model, path: Path) -> None:
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            if isinstance(attribute.value, ir.ExternalTensor):
                raise ModelError(
                    f"node {node.name!r} keeps an attribute in external data",
                    where=str(path),
                    fix="save the model again with onnx.save",
                )


def inputs_of(path: Path | str) -> tuple[TensorSpec, ...]:
    """What a model file must be fed: its graph inputs that are not initializers.

    Raises:
        ModelError: the file cannot be read as an ONNX model.
    """
    return input_specs(read_onnx(path, check_weights=False))


def outputs_of(path: Path | str) -> tuple[TensorSpec, ...]:
    """What a model file gives back.

    Raises:
        ModelError: the file cannot be read as an ONNX model.
    """
    return output_specs(read_onnx(path, check_weights=False))


def input_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """The inputs of an open graph that are not initializers.

    Raises:
        ModelError: an input is not a tensor, or its type or rank is not declared.
    """
    fed = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    ranges = _ranges(model)
    for value in fed:
        known = isinstance(value.type, ir.TensorType) and value.dtype != ir.DataType.UNDEFINED
        if not known or value.shape is None:
            raise ModelError(
                f"the model's input {value.name!r} is not a tensor of known type and rank",
                fix="export it with tensor inputs whose shapes are declared (names or -1 will do)",
            )
    specs = map(_spec, fed)
    return tuple(
        replace(spec, shape=tuple(ranges.get(size, size) for size in spec.shape)) for spec in specs
    )


def keep_ranges(model: ir.Model, axes: Mapping[str, Mapping[int, str]]) -> None:
    """Write into a graph between which sizes its named axes may be, for `input_specs` to find.

    ONNX has no place for it, and whoever makes up an input must know.
    """
    named = (Axis.of(label) for sizes in axes.values() for label in sizes.values())
    ranges = {str(a): [a.least, a.most] for a in named if (a.least, a.most) != (None, None)}
    if ranges:
        model.metadata_props[RANGES] = json.dumps(ranges, sort_keys=True)


def _ranges(model: ir.Model) -> dict[int | str | None, Axis]:
    """What `keep_ranges` wrote; nothing where somebody else wrote something else there."""
    try:
        listed = json.loads(model.metadata_props.get(RANGES, "{}"))
        return {name: Axis.of((name, least, most)) for name, (least, most) in listed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def output_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """The outputs of an open graph."""
    maps = kinds_of_maps(model)
    return tuple(
        TensorSpec(value.name or "", maps[value.name], ()) if value.name in maps else _spec(value)
        for value in model.graph.outputs
    )


def _spec(value: ir.Value) -> TensorSpec:
    if not isinstance(value.type, ir.TensorType):
        return TensorSpec(value.name or "", "sequence", ())
    shape: list[int | str | None] = []
    for size in value.shape or ():
        if isinstance(size, int):
            shape.append(size if size >= 0 else None)
        else:
            shape.append(size.value if _is_name(size.value) else None)
    dtype = value.type.dtype
    # Numpy has no type for these two; a runtime infers an output's that is left undefined.
    wordless = dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED)
    name = dtype.name.lower() if wordless else dtype.numpy().name
    return TensorSpec(value.name or "", name, tuple(shape))


def _is_name(label: str | None) -> bool:
    """Whether a dimension's label names it; exporters also write "?", "-1" or "None" for unknown.

    Axes of one name have one size, and two unknown ones need not. Names with a hyphen or a sum
    ("past + 1") are names too.
    """
    return label not in (None, "None") and any(sign.isalpha() for sign in label or "")


def files_of(path: Path | str) -> tuple[Path, ...]:
    """The model file and the external data files it needs, each once, sorted after the first.

    Raises:
        ModelError: the file cannot be read as an ONNX model, or a data file is missing.
    """
    path = Path(path)
    proto = onnx_check.parse(path)
    external = {
        onnx_check.external_file(tensor, path)
        for tensor in onnx_check.all_tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return (path, *sorted(external))


def write_onnx(model: ir.Model, path: Path | str, *, inline_limit: int = INLINE_LIMIT) -> None:
    """Write a graph: the same graph gives the same bytes, and a reader never sees half a file.

    Weights of more than `inline_limit` bytes in all go to `<name>.data` beside the file. The
    graph itself is left as it was, unless its own external data are what is overwritten: then
    read it again.

    Raises:
        FolderError: the folder is not writable, or the disk is full.
    """
    path = Path(path)
    with failing_as_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        data_name = path.name + ".data"
        with _original_weights(model):
            if _weight_bytes(model) > inline_limit:
                ir.external_data.unload_from_model(
                    model, str(path.absolute().parent), data_name, size_threshold_bytes=1024
                )
            else:
                ir.external_data.load_to_model(model)
            proto = ir.serde.serialize_model(model)
            declare_maps(proto.graph, model)
            _drop_repeated_types(proto.graph)
            data = proto.SerializeToString(deterministic=True)
        write_beside(path, data)


def _drop_repeated_types(graph: onnx.GraphProto) -> None:
    """Leave out types and shapes of initializers, which say theirs themselves.

    They took 6 % of the file of a small network with weights of two bits.
    """
    stored = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.value_info if value.name not in stored]
    del graph.value_info[:]
    graph.value_info.extend(kept)


@contextmanager
def _original_weights(model: ir.Model) -> Iterator[None]:
    """Give every initializer back its tensor after a block that replaces some."""
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    tensors = [value.const_value for value in values]
    try:
        yield
    finally:
        for value, tensor in zip(values, tensors, strict=True):
            value.const_value = tensor


def _weight_bytes(model: ir.Model) -> int:
    tensors = (v.const_value for g in model.graphs() for v in g.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def write_beside(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it into place; nothing is left on failure."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def failing_as_folder_error(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a FolderError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise FolderError(
            f"{path.name} cannot be written: {error.strerror or error}",
            where=str(path.parent),
            fix="free some space or choose another disk"
            if full
            else "choose a folder you may write to",
        ) from error
