"""Archives put together part by part, so that each part can lie; every checksum is right."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from lissom.storage import manifest_bytes
from lissom.storage.frames import END, LENGTH, Header, to_frame
from lissom.storage.manifest import Blob, File, Manifest, Range, Tensor


def blob(content: bytes) -> Blob:
    return Blob(len(content), zlib.crc32(content))


def file(name: str, content: bytes, *ranges: Range) -> File:
    digest = hashlib.sha256(content).digest()
    return File(name, "bytes", len(content), digest, ranges or (Range(0, 0, len(content)),))


def one_file(content: bytes, *tensors: Tensor, name: str = "w.bin") -> Manifest:
    """The manifest of an archive with one file, which is one blob."""
    return Manifest(name, True, (blob(content),), (file(name, content),), tensors)


def assembled(
    manifest: Manifest | bytes,
    frames: Sequence[bytes],
    *,
    content: int | None = None,
    manifest_frame: bytes | None = None,
    lengths: Sequence[int] | None = None,
) -> bytes:
    """An archive; what is not given is as the manifest and the frames say."""
    data = manifest if isinstance(manifest, bytes) else manifest_bytes.to_bytes(manifest)
    if content is None:
        content = manifest.size if isinstance(manifest, Manifest) else 0
    out = Header(zlib.crc32(data), len(data), content).to_bytes()
    out += to_frame(data, "BYTES", (len(data),)) if manifest_frame is None else manifest_frame
    out += b"".join(frames)
    told = [len(frame) for frame in frames] if lengths is None else lengths
    out += b"".join(LENGTH.pack(length) for length in told)
    return out + hashlib.sha256(out).digest() + END


def framed(content: bytes) -> bytes:
    return to_frame(content, "BYTES", (len(content),))


def resealed(archive: bytes) -> bytes:
    """An archive whose bytes were changed, with the checksum of the whole made right again."""
    body = archive[: -32 - len(END)]
    return body + hashlib.sha256(body).digest() + END


def gguf(tensors: Sequence[tuple[str, tuple[int, ...], int, bytes]], alignment: int = 32) -> bytes:
    """A GGUF file, version 3, of tensors (name, shape outermost first, type, bytes)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    pairs = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    pairs += text("general.alignment") + struct.pack("<II", 4, alignment)
    pairs += text("tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("bc") + text("")
    pairs += text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.5, 1.0, 2.0)
    infos = data = b""
    for name, shape, kind, content in tensors:
        infos += text(name) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", size) for size in reversed(shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += content + bytes(-len(content) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 4) + pairs + infos
    return head + bytes(-len(head) % alignment) + data


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
