"""Open a model: an .onnx file, a Hugging Face folder, a factory in Python code, a torch module."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lissom import factory as factories
from lissom.errors import ModelError
from lissom.foreign import recognise_foreign
from lissom.onnx_file import (
    TensorSpec,
    files_of,
    input_specs,
    inputs_of,
    output_specs,
    outputs_of,
    read_onnx,
    write_onnx,
)
from lissom.user_code import split_spec

if TYPE_CHECKING:
    import torch

__all__ = [
    "Model",
    "TensorSpec",
    "files_of",
    "input_specs",
    "inputs_of",
    "open_model",
    "output_specs",
    "outputs_of",
    "read_onnx",
    "write_onnx",
]

Kind = Literal["onnx", "huggingface", "factory"]

KINDS = "an .onnx file, a Hugging Face folder, or file.py:factory"
# File and folder names that do not say which model it is.
NAMELESS = {"model", "onnx", "weights", "checkpoint", ""}


@dataclass(frozen=True)
class Model:
    """A model that is known to be there and of a kind lissom takes; nothing large is loaded yet.

    Attributes:
        kind: "onnx", "huggingface" or "factory".
        spec: what the user wrote.
        path: the .onnx file of kind "onnx".
        folder: the Hugging Face folder, or the folder of the .onnx file.
        factory: builds the torch network of kind "factory", once.
    """

    kind: Kind
    spec: str
    path: Path | None = None
    folder: Path | None = None
    factory: Callable[[], factories.Network] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """A short name for tables and titles."""
        if self.kind == "factory":
            return Path(self.spec.rpartition(":")[0] or self.spec).stem
        place = (self.path or self.folder or Path(self.spec)).absolute()
        candidates = [place.stem if self.path else place.name]
        # The folder of a file is its model's only where it was named, or is Hugging Face's.
        if self.path is None or Path(self.spec) != self.path or _named_by_folder(place):
            candidates += [parent.name for parent in place.parents]
        return next((name for name in candidates if name.lower() not in NAMELESS), "model")

    def digest(self) -> str:
        """Sha256 of everything that decides what the model computes, and of nothing else.

        Raises:
            ModelError: the files have gone, or the factory fails.
        """
        if self.factory is not None:
            return factories.digest_of(self.factory())
        if self.path is not None:
            return _digest_files(files_of(self.path), self.path.parent)
        assert self.folder is not None
        return _digest_files(_huggingface_files(self.folder), self.folder)


def open_model(
    spec: str | Path | torch.nn.Module,
    *,
    example_inputs: Any = None,
    dynamic_axes: Any = None,
) -> Model:
    """Open a model by its file, folder, `file.py:factory` or `module:factory`, or as a module.

    A factory takes nothing and returns a torch module, example inputs (a tensor, a tuple or a
    dict of tensors), and optionally dynamic axes ({input: {dimension: name}}).

    Raises:
        ModelError: there is no such model, or it is damaged or of a kind lissom does not take.
        MissingExtra: torch is needed and not installed.
    """
    torch_loaded = sys.modules.get("torch")
    if torch_loaded is not None and isinstance(spec, torch_loaded.nn.Module):
        build = factories.from_module(spec, example_inputs, dynamic_axes)
        return Model("factory", type(spec).__name__, factory=build)
    if not isinstance(spec, (str, Path)):
        raise ModelError(f"a model is {KINDS}, or a torch module, not {type(spec).__name__!r}")
    path = Path(spec)
    if path.is_dir():
        return _open_folder(path, str(spec))
    if path.is_file():
        return _open_file(path, str(spec))
    if split_spec(str(spec)):
        return Model("factory", str(spec), factory=factories.from_spec(str(spec)))
    raise _nothing_there(str(spec))


def _named_by_folder(file: Path) -> bool:
    return file.parent.name == "onnx" or (file.parent / "config.json").is_file()


def _open_file(path: Path, spec: str) -> Model:
    if path.suffix == ".py":
        raise ModelError(
            f"{path.name} is Python code, but which function builds the model is not said",
            where=str(path),
            fix=f"write {spec}:name_of_function; the function must {factories.RETURNS}",
        )
    read_onnx(path)
    return Model("onnx", spec, path=path, folder=path.absolute().parent)


def _open_folder(folder: Path, spec: str) -> Model:
    # transformers.js and optimum keep theirs in a subfolder, beside the weights it came from.
    graphs = sorted(folder.glob("*.onnx")) or sorted(folder.glob("onnx/*.onnx"))
    transformer = transformer_folder(folder)
    weights = sorted(transformer.glob("*.safetensors"))
    if (transformer / "config.json").is_file() and (weights or not graphs):
        _check_huggingface(folder, transformer, weights)
        return Model("huggingface", spec, folder=folder)
    if len(graphs) == 1:
        return _open_file(graphs[0], spec)
    if graphs:
        raise ModelError(
            f"the folder holds {len(graphs)} .onnx files: {_names(graphs)}",
            where=str(folder),
            fix="name one of them",
        )
    raise ModelError(
        "the folder is not a model: it has neither a config.json (Hugging Face) nor an .onnx file",
        where=str(folder),
        fix=f"pass {KINDS}; this folder holds {_names(folder.iterdir())}",
    )


def _names(paths: Iterable[Path]) -> str:
    names = sorted(path.name for path in paths)
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "nothing"


def transformer_folder(folder: Path) -> Path:
    """Where a Hugging Face folder keeps its transformer: itself, or as its modules.json says."""
    for kind, inner in modules_of(folder):
        if kind.endswith("Transformer"):
            return inner
    return folder


def modules_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Type and folder of each module of a sentence encoder; none that lies outside the folder."""
    listed = read_json(folder / "modules.json")
    for module in listed if isinstance(listed, list) else ():
        path = str(module.get("path", "")) if isinstance(module, dict) else "\0"
        if "\0" not in path and (folder / path).resolve().is_relative_to(folder.resolve()):
            yield str(module.get("type", "")), folder / path


def read_json(file: Path) -> Any:
    """A JSON file's content, or None where there is no such file.

    Raises:
        ModelError: the file is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file.name} cannot be read as JSON: {error}", where=str(file), fix="download it again"
        ) from None


def _check_huggingface(folder: Path, transformer: Path, weights: list[Path]) -> None:
    config = read_json(transformer / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            "config.json does not say which model this is (it has no model_type)",
            where=str(transformer / "config.json"),
            fix=f"pass {KINDS}",
        )
    if "quantization_config" in config:
        raise ModelError(
            "the model in this folder is quantized already; its export would not be faithful",
            where=str(folder),
            fix="start from the original, unquantized checkpoint",
        )
    if (transformer / "adapter_config.json").is_file():
        raise ModelError(
            "the folder holds an adapter, not a whole model",
            where=str(folder),
            fix="merge it first: peft's model.merge_and_unload().save_pretrained(...)",
        )
    if weights:
        return
    pickles = sorted([*transformer.glob("pytorch_model*.bin"), *transformer.glob("*.pt")])
    if pickles:
        raise ModelError(
            f"the weights are in {pickles[0].name}, a pickle, and lissom never loads one: "
            "a pickle can run any code",
            where=str(folder),
            fix="if you trust it, convert it once: `from transformers import AutoModel; "
            f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained('converted')` "
            "(with the Auto class of its task), or look for a revision with model.safetensors",
        )
    raise ModelError(
        "the folder has a config.json and no weights (*.safetensors)",
        where=str(folder),
        fix="download the whole model: hf download NAME --local-dir FOLDER",
    )


def _nothing_there(spec: str) -> ModelError:
    path = Path(spec)
    if path.suffix:
        recognise_foreign(path, b"")
    fix = f"pass {KINDS}"
    if not path.suffix and spec.count("/") == 1 and not spec.startswith((".", "/", "~")):
        local = spec.split("/")[1]
        fix = "lissom downloads nothing; if this is a model's name on the Hub, first run "
        fix += f"`hf download {spec} --local-dir {local}`, then pass {local}"
    return ModelError("there is no such model", where=spec, fix=fix)


def _huggingface_files(folder: Path) -> list[Path]:
    """The files that decide what the network computes; the tokenizer is not among them."""
    transformer = transformer_folder(folder)
    files = {folder / "modules.json", transformer / "config.json"}
    files.update(transformer.glob("*.safetensors"))
    for _, inner in modules_of(folder):
        if inner != transformer:
            files.update((inner / "config.json", *inner.glob("*.safetensors")))
    return sorted(file for file in files if file.is_file())


def _digest_files(files: Iterable[Path], folder: Path) -> str:
    """Sha256 over names and contents; the first .onnx file's own name does not matter."""
    state = hashlib.sha256()
    for file in files:
        name = "" if file.suffix == ".onnx" else str(file.absolute().relative_to(folder.absolute()))
        state.update(f"{name} {file.stat().st_size} ".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                state.update(chunk)
    return state.hexdigest()
