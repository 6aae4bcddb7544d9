"""The files that benchmarks/archive.py packs: forms of models by plain casts and masks, and by
lissom's own techniques."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import numpy as stored

from lissom.storage.containers.ranges import TensorRange

Arrays = dict[str, np.ndarray]
GROUP = 32


def forms(
    weights: Arrays, folder: Path, name: str, wanted: Sequence[str] | None = None
) -> Iterator[tuple[str, Path]]:
    """Forms of a model's float32 weights, all or the wanted ones, as safetensors in `folder`."""
    makers: dict[str, Callable[[Arrays], Arrays]] = {
        "float16": lambda arrays: _each(arrays, lambda a: a.astype(np.float16)),
        "bfloat16": lambda arrays: _each(arrays, lambda a: a.astype(ml_dtypes.bfloat16)),
        "int8": lambda arrays: _coded(arrays, 8),
        "int4": lambda arrays: _coded(arrays, 4),
        "2 bits": lambda arrays: _coded(arrays, 2),
        "90 % sparse": lambda arrays: _each(arrays, _sparse),
        "float16 in float32": lambda arrays: _each(
            arrays, lambda a: a.astype(np.float16).astype(np.float32)
        ),
        "int8 times scale in float32": _scaled_back,
    }
    for form in makers if wanted is None else wanted:
        make = makers[form]
        path = folder / f"{name}-{form.replace(' ', '_').replace('%', 'percent')}.safetensors"
        if not path.exists():
            stored.save_file(make(weights), path)
        yield form, path


# A network, the technique and its settings, and what the form is called.
MADE: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    ("resnet20", "ONNX, int8 static", "quantize.static", {}),
    ("minilm", "ONNX, int8 dynamic", "quantize.dynamic", {}),
    ("minilm", "ONNX, 4-bit weights", "quantize.weight_only", {"bits": 4}),
    ("minilm", "ONNX, 2-bit weights", "quantize.weight_only", {"bits": 2}),
)


def made_by_lissom(data: Path, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """ONNX files of ResNet-20 and MiniLM by lissom's techniques: network, form, file.

    `data` is the folder with the images and sentences that calibrate.
    """
    import networks
    import ours

    from lissom.nn.export import export

    for network, form, technique, config in MADE:
        original = folder / network / "model.onnx"
        path = folder / f"{network}-{form.replace(', ', '-').replace(' ', '_')}.onnx"
        if not path.exists():
            model, task = networks.load(network, data)
            if not original.exists():
                original.parent.mkdir(exist_ok=True)
                export(model, original.parent)
            steps = (("graph.optimize", {}), (technique, config))
            ours.make_recipe(original, path, list(task.calibration or ()), steps=steps)
        yield network, form, path


def dequantized(arrays: Iterable[tuple[TensorRange, np.ndarray]]) -> Arrays:
    """The float32 weights of a GGUF file's Q4_1, Q8_0 and F32 tensors."""
    result = {}
    for tensor, data in arrays:
        if tensor.dtype == "GGUF:Q4_1":
            blocks = data.reshape(-1, 20)
            scale, least = np.ascontiguousarray(blocks[:, :4]).view(np.float16).T.astype(np.float32)
            codes = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
            values = codes * scale[:, None] + least[:, None]
        elif tensor.dtype == "GGUF:Q8_0":
            blocks = data.reshape(-1, 34)
            scale = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
            values = np.ascontiguousarray(blocks[:, 2:]).view(np.int8) * scale
        else:
            values = data.view(np.float32)
        result[tensor.name] = values.astype(np.float32).reshape(tensor.shape)
    return result


def _each(arrays: Arrays, make: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    return {name: make(array) for name, array in arrays.items()}


def _sparse(array: np.ndarray) -> np.ndarray:
    """The largest tenth kept, the rest times zero: half of the zeros are negative."""
    if array.ndim < 2:
        return array
    mask = np.abs(array) > np.quantile(np.abs(array), 0.9)
    return array * mask.astype(np.float32)


def _scaled(array: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric codes with a scale a row."""
    rows = array.reshape(len(array), -1)
    scales = np.abs(rows).max(axis=1, keepdims=True) / most
    scales[scales == 0] = 1
    scales = scales.astype(np.float32)
    return np.rint(rows / scales).astype(np.int8).reshape(array.shape), scales


def _scaled_back(arrays: Arrays) -> Arrays:
    result = {}
    for name, array in arrays.items():
        if array.ndim > 1:
            codes, scales = _scaled(array, 127)
            rows = codes.reshape(len(array), -1).astype(np.float32) * scales
            array = rows.reshape(array.shape)
        result[name] = array
    return result


def _coded(arrays: Arrays, bits: int) -> Arrays:
    """int8 with a scale a row; int4 and 2 bits packed into bytes with a float16 scale and least
    value a group of 32 weights, where rows have whole groups."""
    result: Arrays = {}
    for name, array in arrays.items():
        if array.ndim < 2 or (bits < 8 and array[0].size % GROUP):
            result[name] = array
        elif bits == 8:
            result[name], result[name + ".scale"] = _scaled(array, 127)
        else:
            codes, scale, least = _grouped(array, bits)
            each = 8 // bits
            shifts = np.arange(each, dtype=np.uint8) * bits
            packed = np.bitwise_or.reduce(codes.reshape(len(array), -1, each) << shifts, axis=2)
            result |= {name: packed, name + ".scale": scale, name + ".least": least}
    return result


def _grouped(array: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = array.reshape(len(array), -1, GROUP)
    least = groups.min(axis=2).astype(np.float16)
    span = groups.max(axis=2) - least.astype(np.float32)
    scale = (span / ((1 << bits) - 1)).astype(np.float16)
    step = np.where(scale == 0, 1, scale.astype(np.float32))[..., None]
    codes = np.rint((groups - least.astype(np.float32)[..., None]) / step)
    return np.clip(codes, 0, (1 << bits) - 1).astype(np.uint8).reshape(len(array), -1), scale, least
