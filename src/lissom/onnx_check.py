"""Checks of an ONNX file from a stranger, made on its bytes before anything large is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from lissom.errors import ModelError
from lissom.foreign import recognise_foreign

PROTOBUF_LIMIT = 2**31 - 1
# Smaller one-dimensional constants are epsilons, mask values and the like, not weights.
FEW_VALUES = 16
CHUNK = 1 << 22

RE_EXPORT = "export or download the model again"


def parse(path: Path) -> onnx.ModelProto:
    """Parse a file and check that it is a whole ONNX model; external data are not read.

    Raises:
        ModelError: the file is missing, not ONNX, damaged, or points outside its folder.
    """
    data = _read(path)
    recognise_foreign(path, data[:64])
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{path.name} is not an ONNX model, or it is cut short: it cannot be parsed",
            where=str(path),
            fix=RE_EXPORT,
        ) from None
    check_structure(proto, path)
    for tensor in all_tensors(proto):
        check_tensor(tensor, path)
    return proto


def _read(path: Path) -> bytes:
    if not path.exists():
        raise ModelError("there is no such model file", where=str(path), fix="check the path")
    if not path.is_file():
        raise ModelError("a model file is expected here, not a folder", where=str(path))
    try:
        size = path.stat().st_size
        if size > PROTOBUF_LIMIT:
            raise ModelError(
                f"an ONNX file cannot be larger than 2 GB, and this one has {size:,} bytes",
                where=str(path),
                fix="save its weights as external data beside it",
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model file cannot be read: {error.strerror}", where=str(path)
        ) from None
    if not data:
        raise ModelError("the model file is empty", where=str(path), fix=RE_EXPORT)
    return data


def check_structure(proto: onnx.ModelProto, path: Path) -> None:
    """An ONNX model has a version, operator sets, and a graph with operators and outputs.

    Raises:
        ModelError: one of them is missing.
    """
    if not proto.ir_version or not proto.HasField("graph"):
        raise ModelError(
            f"{path.name} is not an ONNX model: it has no graph", where=str(path), fix=RE_EXPORT
        )
    if not proto.graph.node:
        raise ModelError(
            f"{path.name} has no operators: there is nothing to compress",
            where=str(path),
            fix=RE_EXPORT,
        )
    if not proto.graph.output:
        raise ModelError(f"{path.name} has no outputs", where=str(path), fix=RE_EXPORT)
    _check_wiring(proto.graph, path, frozenset())


def _check_wiring(graph: onnx.GraphProto, path: Path, outer: frozenset[str]) -> None:
    """Every value that is read must be produced somewhere; the order of nodes is not judged."""
    if graph.sparse_initializer:
        raise ModelError(
            f"{path.name} stores {graph.sparse_initializer[0].values.name!r} as a sparse tensor, "
            "which lissom does not read",
            where=str(path),
            fix="export it with dense weights",
        )
    known = set(outer)
    known.update(value.name for value in graph.input)
    known.update(tensor.name for tensor in graph.initializer)
    known.update(name for node in graph.node for name in node.output)
    reads = [(n, f"operator {node.op_type}") for node in graph.node for n in node.input if n]
    reads += [(value.name, "the list of outputs") for value in graph.output]
    for name, reader in reads:
        if name not in known:
            raise ModelError(
                f"{path.name} is damaged: {reader} needs {name!r}, which nothing produces",
                where=str(path),
                fix=RE_EXPORT,
            )
    if not all(isinstance(name, str) for name in known):
        raise ModelError(f"{path.name} is damaged: a name is no text", where=str(path))
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _check_wiring(inner, path, frozenset(known))


def all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in the model: initializers, attributes, subgraphs and functions."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def check_tensor(tensor: onnx.TensorProto, path: Path) -> None:
    """The declared shape must fit the bytes that are there.

    Raises:
        ModelError: names the tensor whose type, shape, bytes or external file are wrong.
    """
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        raise _damaged(tensor, path, f"has the unknown element type {tensor.data_type}") from None
    if any(size < 0 for size in tensor.dims):
        raise _damaged(tensor, path, f"has the impossible shape {list(tensor.dims)}")
    if dtype == ir.DataType.UNDEFINED:
        raise _damaged(tensor, path, "has no element type")
    count = math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        if dtype == ir.DataType.STRING:
            raise _damaged(tensor, path, "keeps text in external data, which ONNX does not allow")
        _check_external(tensor, math.ceil(count * dtype.bitwidth / 8), path)
    elif tensor.HasField("raw_data"):
        expected = math.ceil(count * dtype.bitwidth / 8) if dtype != ir.DataType.STRING else -1
        if len(tensor.raw_data) != expected:
            raise _damaged(
                tensor, path, f"holds {len(tensor.raw_data)} bytes where its shape needs {expected}"
            )
    else:
        stored, expected = _typed_counts(tensor, dtype, count)
        if stored != expected:
            raise _damaged(tensor, path, f"holds {stored} values where its shape needs {expected}")


def _typed_counts(tensor: onnx.TensorProto, dtype: ir.DataType, count: int) -> tuple[int, int]:
    """Values stored in the field of this type, and how many there should be."""
    if dtype in (ir.DataType.FLOAT, ir.DataType.COMPLEX64):
        return len(tensor.float_data), count * (2 if dtype == ir.DataType.COMPLEX64 else 1)
    if dtype in (ir.DataType.DOUBLE, ir.DataType.COMPLEX128):
        return len(tensor.double_data), count * (2 if dtype == ir.DataType.COMPLEX128 else 1)
    if dtype == ir.DataType.INT64:
        return len(tensor.int64_data), count
    if dtype in (ir.DataType.UINT32, ir.DataType.UINT64):
        return len(tensor.uint64_data), count
    if dtype == ir.DataType.STRING:
        return len(tensor.string_data), count
    return len(tensor.int32_data), math.ceil(count * min(dtype.bitwidth, 8) / 8)


def _check_external(tensor: onnx.TensorProto, expected: int, path: Path) -> None:
    file = external_file(tensor, path)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(expected)))
    except ValueError:
        raise _damaged(tensor, path, "has an external offset or length that is no number") from None
    if offset < 0 or length != expected:
        raise _damaged(
            tensor, path, f"claims {length} bytes at {offset} where its shape needs {expected}"
        )
    if offset + length > size:
        raise ModelError(
            f"the external data file {file.name} is cut short: tensor {tensor.name!r} ends at byte "
            f"{offset + length:,} and the file has {size:,}",
            where=str(path),
            fix=f"copy or download {file.name} again",
        )


def external_file(tensor: onnx.TensorProto, path: Path) -> Path:
    """The file that holds an external tensor's bytes, which must be inside the model's folder.

    Raises:
        ModelError: the file is missing, or its path leads out of the folder.
    """
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    folder = path.absolute().parent
    file = folder / location
    outside = not location or "\0" in location or Path(location).is_absolute()
    outside = outside or "\\" in location or ".." in Path(location).parts
    if outside or not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        raise ModelError(
            f"tensor {tensor.name!r} keeps its data in {location!r}, outside the model's folder; "
            "lissom reads no file that a model names elsewhere",
            where=str(path),
            fix="put the real data file (not a link) beside the .onnx file",
        )
    if not file.is_file():
        raise ModelError(
            f"the external data file {location!r} is missing: tensor {tensor.name!r} is in it",
            where=str(path),
            fix=f"copy {location!r} into {folder}",
        )
    return file


def _damaged(tensor: onnx.TensorProto, path: Path, what: str) -> ModelError:
    return ModelError(
        f"the file is damaged: tensor {tensor.name!r} {what}", where=str(path), fix=RE_EXPORT
    )


def check_weights(model: ir.Model, where: str) -> None:
    """Weights must be numbers: no NaN, and no infinity except in attention masks.

    Raises:
        ModelError: names the first tensor that holds NaN or infinity.
    """
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or not tensor.dtype.is_floating_point():
                continue
            if len(tensor.shape) < 2 and tensor.size <= FEW_VALUES:
                continue
            found = _not_a_number(tensor)
            if found:
                raise ModelError(
                    f"the weights hold {found}: tensor {name!r}, shape {list(tensor.shape)}",
                    where=where,
                    fix="the training diverged or the file is damaged; use an earlier checkpoint",
                )


def _not_a_number(tensor: ir.TensorProtocol) -> str:
    """ "NaN", "infinity" or nothing; a matrix of zeros and -inf only is a mask and passes."""
    flat = tensor.numpy().reshape(-1)
    infinite = False
    for start in range(0, flat.size, CHUNK):
        chunk = np.asarray(flat[start : start + CHUNK])
        if chunk.dtype not in (np.float32, np.float64):
            chunk = chunk.astype(np.float32)
        low, high = chunk.min(), chunk.max()
        if np.isnan(low):
            return "NaN"
        infinite = infinite or bool(np.isinf(low) or np.isinf(high))
    if infinite and len(tensor.shape) >= 2:
        values = np.unique(flat.astype(np.float32))
        if set(values.tolist()) != {float("-inf"), 0.0}:
            return "infinity"
    return ""
