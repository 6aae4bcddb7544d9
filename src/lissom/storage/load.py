"""Open a packed ONNX file in ONNX Runtime without writing a file.

Weights are decoded next to each other in memory and handed over as they are; the graph that ONNX
Runtime parses says of them only that they are kept elsewhere. So they are neither copied into a
protobuf nor parsed out of one, and a model may be larger than the 2 GB that end a protobuf.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lissom.errors import ModelError, RequestError
from lissom.storage.archive import Archive
from lissom.storage.bits import varint
from lissom.storage.containers import onnx
from lissom.storage.containers.onnx import Tensor
from lissom.storage.containers.ranges import NotThisFormat
from lissom.storage.containers.source import BytesSource, Source
from lissom.storage.decoded import Decoded, read_file
from lissom.storage.limits import SMALLEST_ALONE, Limits

# Smaller weights stay in the graph: handing one over takes longer than parsing it.
SMALLEST = SMALLEST_ALONE
# How external data begin: a StringStringEntryProto with this key.
EXTERNAL = b"\x0a\x08location"
# A smaller model is given to ONNX Runtime as it is: copying takes less than taking it apart.
LARGEST_WHOLE = 1 << 22
NUMPY = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "I8": np.int8, "U8": np.uint8,
    "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32, "I64": np.int64,
    "U64": np.uint64, "BOOL": np.bool_,
}  # fmt: skip
# Types numpy has no name for, handed over as integers of their size.
AS_INTEGERS = {
    "BF16": np.uint16, "F8_E4M3": np.uint8, "F8_E4M3FNUZ": np.uint8, "F8_E5M2": np.uint8,
    "F8_E5M2FNUZ": np.uint8,
}  # fmt: skip
# Field 13 of a TensorProto, external_data {key: "location", value: "packed"}, and 14, EXTERNAL.
KEPT_ELSEWHERE = b"\x6a\x12" + EXTERNAL + b"\x12\x06packed\x70\x01"


def load(
    archive: Path | str,
    file: str | None = None,
    *,
    options: ort.SessionOptions | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    limits: Limits | None = None,
) -> ort.InferenceSession:
    """A session of the ONNX file in an archive; every byte that is read is checked.

    Args:
        archive: what `lissom pack` wrote.
        file: which .onnx file of the archive, where it holds several.
        options: of the session; the weights are added to them.
        providers: ONNX Runtime's execution providers.
        limits: what the archive may ask for.

    Raises:
        FormatError: it is no archive, is damaged, or is over the limits.
        RequestError: it holds no ONNX file, or several and `file` names none of them.
        ModelError: there is no such archive, or ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions() if options is None else options
    with Archive(archive, limits) as opened:
        number = _chosen(opened, file)
        try:
            graph, kept = _opened(opened, number, options)
        except NotThisFormat as error:
            raise ModelError(
                f"{opened.manifest.files[number].name} is no ONNX model: {error}",
                where=str(archive),
                fix="unpack it and look: lissom unpack",
            ) from None
    try:
        session = ort.InferenceSession(graph, options, providers=list(providers))
    except _session_errors() as error:
        from lissom.sessions import refusal

        raise refusal(error, archive) from None
    # The session reads the weights where they are, for as long as it lives.
    session._lissom_weights = kept
    return session


def _opened(archive: Archive, number: int, options: ort.SessionOptions) -> tuple[bytes, object]:
    """The model that ONNX Runtime parses, and what has to be kept as long as the session: weights,
    which are added to the options.

    Raises:
        NotThisFormat: it is no ONNX model.
    """
    source = archive.source(number)
    if source.size <= LARGEST_WHOLE:
        whole, out = _unwritten(source.size)
        read_file(archive, number, out)
        onnx.graph(BytesSource(whole))
        if EXTERNAL not in whole:
            return whole, None
    with Decoded(archive, [number]) as decoded:
        # While threads decode what is sure to be wanted, the graph is taken apart.
        tensors = list(onnx.initializers(source))
        inside = [each for each in tensors if _can_move(each)]
        beside = [each for each in tensors if _is_beside(each)]
        graph = _without(source, inside)
        values = _values(archive, decoded, number, inside, beside)
    if values:
        names = [each.name for each in (*inside, *beside)]
        options.add_external_initializers(names, [value for _, value in values])
    return graph, (values, _files_in_memory(archive, number, source, beside, options))


def _unwritten(size: int) -> tuple[bytes, memoryview]:
    """Bytes that nobody has seen yet, and the memory to write them through: ONNX Runtime takes a
    model as bytes alone, and making them of anything else is a copy."""
    create = ctypes.pythonapi.PyBytes_FromStringAndSize
    create.restype, create.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_ssize_t]
    address = ctypes.pythonapi.PyBytes_AsString
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object]
    found: bytes = create(None, size)
    return found, memoryview((ctypes.c_ubyte * size).from_address(address(found))).cast("B")


def _session_errors() -> tuple[type[Exception], ...]:
    """What a refusal is raised as; asked for when there is one, for it brings the onnx package."""
    from lissom.sessions import SESSION_ERRORS

    return SESSION_ERRORS


def _chosen(archive: Archive, name: str | None) -> int:
    files = archive.manifest.files
    if name is not None:
        return archive.manifest.file(name)
    found = [number for number, file in enumerate(files) if file.name.endswith(".onnx")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(files[number].name for number in found)
    raise RequestError(
        f"the archive holds {len(found)} ONNX files: {names}" if found else "no ONNX file is in it",
        where=str(archive.path),
        fix='name one: lissom.load(archive, "NAME.onnx")'
        if found
        else "open its weights with lissom.safe_open, or unpack it with `lissom unpack`",
    )


def _can_move(tensor: Tensor) -> bool:
    known = tensor.dtype in NUMPY or tensor.dtype in AS_INTEGERS
    if tensor.data is None or tensor.location is not None or not tensor.name or not known:
        return False
    start, end = tensor.data
    return end - start >= SMALLEST and end - start == tensor.nbytes


def _is_beside(tensor: Tensor) -> bool:
    known = tensor.dtype in NUMPY or tensor.dtype in AS_INTEGERS
    return known and tensor.location is not None and bool(tensor.nbytes)


def _without(source: Source, moved: Iterable[Tensor]) -> bytes:
    """The model's bytes, where these initializers say that their values are kept elsewhere."""
    place = onnx.graph(source)
    parts, at = [], place.start
    for tensor in moved:
        assert tensor.data is not None
        message = (
            source.read(tensor.start, tensor.data_head - tensor.start)
            + source.read(tensor.data[1], tensor.end - tensor.data[1])
            + KEPT_ELSEWHERE
        )
        parts += [source.read(at, tensor.head - at), b"\x2a", varint(len(message)), message]
        at = tensor.end
    parts.append(source.read(at, place.end - at))
    graph = b"".join(parts)
    before, after = source.read(0, place.head), source.read(place.end, source.size - place.end)
    return before + b"\x3a" + varint(len(graph)) + graph + after


Values = list[tuple[NDArray[np.generic], ort.OrtValue]]


def _values(
    archive: Archive,
    decoded: Decoded,
    number: int,
    inside: Iterable[Tensor],
    beside: Iterable[Tensor],
) -> Values:
    """The values of tensors, decoded: of those inside the file, then of those in files beside."""
    manifest = archive.manifest
    wanted = []
    for tensor in inside:
        assert tensor.data is not None
        wanted.append((tensor, number, tensor.data[0]))
    wanted += [
        (tensor, _data_file(archive, number, tensor), tensor.stretch[0]) for tensor in beside
    ]
    for tensor, file, offset in wanted:
        if offset + (tensor.nbytes or 0) > manifest.files[file].size:
            raise ModelError(
                f"initializer {tensor.name!r} reaches over the end of {manifest.files[file].name}",
                where=str(archive.path),
                fix="export the model again",
            )
    files = {file for _, file, _ in wanted}
    decoded.start(files - {number})
    found = []
    for tensor, file, offset in wanted:
        content = decoded.stretch(file, offset, tensor.nbytes or 0)
        kind = NUMPY.get(tensor.dtype) or AS_INTEGERS[tensor.dtype]
        array: NDArray[np.generic] = np.frombuffer(content, dtype=kind).reshape(tensor.shape)
        if tensor.dtype in NUMPY:
            value = ort.OrtValue.ortvalue_from_numpy(array)
        else:
            value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.kind)
        found.append((array, value))
    return found


def _data_file(archive: Archive, number: int, tensor: Tensor) -> int:
    """The number of the file that a tensor's external data are in."""
    files = archive.manifest.files
    folder, slash, _ = files[number].name.rpartition("/")
    wanted = folder + slash + (tensor.location or "").removeprefix("./")
    for at, file in enumerate(files):
        if file.name == wanted:
            return at
    raise ModelError(
        f"the external data {tensor.location!r} of initializer {tensor.name!r} are not in it",
        where=str(archive.path),
        fix="pack the model again, with its external data beside it",
    )


def _files_in_memory(
    archive: Archive,
    number: int,
    source: Source,
    known: Iterable[Tensor],
    options: ort.SessionOptions,
) -> list[bytes]:
    """Hand over whole the external files that more than plain initializers are in."""
    if not any(file.container == "data" for file in archive.manifest.files):
        return []
    done = {tensor.start for tensor in known}
    left = [t for t in onnx.all_tensors(source) if t.location is not None and t.start not in done]
    found = {tensor.location: _data_file(archive, number, tensor) for tensor in left}
    files = archive.manifest.files
    contents = [bytes(archive.read(at, 0, files[at].size)) for at in found.values()]
    if found:
        options.add_external_initializers_from_files_in_memory(
            list(found), contents, [len(content) for content in contents]
        )
    return contents
