"""A Hugging Face folder as a network: its config's head, or a sentence encoder's pooling."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lissom.axes import Axis
from lissom.errors import ModelError, require
from lissom.factory import Network
from lissom.model import modules_of, read_json, transformer_folder

if TYPE_CHECKING:
    import torch

# Two unequal sizes of at least 2: the exporter takes 0 and 1 for constants.
BATCH, SEQUENCE = 2, 7


@dataclass(frozen=True)
class Head:
    """One kind of architecture: its class in transformers and the outputs that matter."""

    auto_class: str
    outputs: tuple[str, ...]
    arguments: Mapping[str, Any]


HEADS = {
    "ForSequenceClassification": Head("AutoModelForSequenceClassification", ("logits",), {}),
    "ForTokenClassification": Head("AutoModelForTokenClassification", ("logits",), {}),
    "ForQuestionAnswering": Head(
        "AutoModelForQuestionAnswering", ("start_logits", "end_logits"), {}
    ),
    "ForMaskedLM": Head("AutoModelForMaskedLM", ("logits",), {}),
    "ForCausalLM": Head("AutoModelForCausalLM", ("logits",), {"use_cache": False}),
    "LMHeadModel": Head("AutoModelForCausalLM", ("logits",), {"use_cache": False}),
    "ForImageClassification": Head("AutoModelForImageClassification", ("logits",), {}),
}
PLAIN = Head("AutoModel", ("last_hidden_state",), {})
ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "Sigmoid")


def load_huggingface(folder: Path) -> Network:
    """Load a folder's network from its own files only: safetensors, no download, no foreign code.

    Raises:
        ModelError: the architecture is none that lissom exports, or the weights do not fit it.
        MissingExtra: transformers is not installed.
    """
    require("transformers", extra="hf", purpose="a Hugging Face folder")
    transformer = transformer_folder(folder)
    config = read_json(transformer / "config.json")
    modules = _modules(folder)
    head = PLAIN if modules else _head(config, folder)
    model = _from_pretrained(transformer, head)
    inputs, axes = _example_inputs(model, transformer)
    module = _sentence_encoder(model, folder, modules) if modules else _chosen(model, head)
    return Network(module, inputs, axes, keywords=True)


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Type and folder of each module of a sentence encoder, none where the folder is not one."""
    listed = read_json(folder / "modules.json")
    modules = list(modules_of(folder))
    if listed is not None and (not isinstance(listed, list) or len(modules) != len(listed)):
        raise ModelError(
            "modules.json is no list of modules, each with its type and a path inside the folder",
            where=str(folder / "modules.json"),
            fix="download it again, or remove it to export the transformer alone",
        )
    return modules


def _head(config: Mapping[str, Any], folder: Path) -> Head:
    named = config.get("architectures") or ["Model"]
    architecture = str(named[0] if isinstance(named, list) else named)
    ending = next((known for known in HEADS if architecture.endswith(known)), None)
    if ending:
        return HEADS[ending]
    plain = architecture.endswith("Model") and not config.get("is_encoder_decoder")
    if plain and "DoubleHeads" not in architecture:
        return PLAIN
    raise ModelError(
        f"lissom does not export the architecture {architecture!r} yet",
        where=str(folder / "config.json"),
        fix="it exports encoders (...Model) and " + ", ".join("..." + name for name in HEADS) + "; "
        "for another one write a factory in Python, or export an .onnx file yourself",
    )


def _from_pretrained(folder: Path, head: Head) -> Any:
    import torch
    import transformers
    from safetensors import SafetensorError

    auto_class = getattr(transformers, head.auto_class)
    try:
        with _quiet_transformers():
            model, loading = auto_class.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise ModelError(
            f"the weights are damaged or cut short: {error}",
            where=str(folder),
            fix="download the .safetensors file again",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"transformers cannot load the model: {reason}",
            where=str(folder),
            fix="check that config.json and the weights belong together; models that bring their "
            "own code are not run",
        ) from error
    # The pooler is not among the outputs, so a checkpoint may come without one.
    missing = sorted(name for name in loading["missing_keys"] if "pooler." not in name)
    if missing:
        raise ModelError(
            f"the weights of {len(missing)} parameters are missing, {missing[0]!r} among them: "
            "the network would run with random numbers",
            where=str(folder),
            fix="check that the architecture in config.json is the one that was trained",
        )
    return model.eval()


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Loading without progress bars and advice; what matters of it is raised as an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _chosen(model: Any, head: Head) -> torch.nn.Module:
    from lissom.nn.wrappers import Chosen

    return Chosen(model, head.outputs, head.arguments)


def _sentence_encoder(
    model: Any, folder: Path, modules: Sequence[tuple[str, Path]]
) -> torch.nn.Module:
    from lissom.nn import wrappers

    poolings: list[str] = []
    tail: list[torch.nn.Module] = []
    for name, place in modules[1:]:
        kind = name.rpartition(".")[2]
        if kind == "Pooling":
            poolings = _poolings(place)
        elif kind == "Normalize":
            tail.append(wrappers.Normalize())
        elif kind == "Dense":
            tail.append(_dense(place))
        else:
            raise ModelError(
                f"lissom does not export sentence encoders with a module of type {kind!r}",
                where=str(folder / "modules.json"),
                fix="export it yourself and pass the .onnx file",
            )
    if not poolings:
        raise ModelError(
            "the sentence encoder's modules.json has no pooling",
            where=str(folder / "modules.json"),
            fix="remove modules.json to export the transformer alone",
        )
    return wrappers.SentenceEncoder(model, poolings, tail)


def _poolings(folder: Path) -> list[str]:
    config = read_json(folder / "config.json")
    config = config if isinstance(config, dict) else {}
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        ways = [str(way) for way in mode] if isinstance(mode, list) else [str(mode)]
    else:
        ways = [key.removeprefix("pooling_mode_") for key, on in config.items() if on is True]
    names = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean", "include_prompt": ""}
    ways = [name for name in (names.get(way, way) for way in ways) if name]
    foreign = [way for way in ways if way not in ("cls", "max", "mean")]
    if foreign or not ways:
        raise ModelError(
            f"lissom does not export the pooling {foreign or 'nothing'}; it knows cls, mean, max",
            where=str(folder / "config.json"),
            fix="export it yourself and pass the .onnx file",
        )
    # The order in which sentence-transformers puts several poolings side by side.
    return sorted(ways, key=("cls", "max", "mean").index)


def _dense(folder: Path) -> torch.nn.Module:
    """A linear layer and its activation, from its folder's config.json and model.safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn

    config = read_json(folder / "config.json") or {}
    activation = str(config.get("activation_function", "Identity")).rsplit(".", 1)[-1]
    try:
        layer = nn.Linear(config["in_features"], config["out_features"], config.get("bias", True))
        weights = load_file(folder / "model.safetensors")
        layer.load_state_dict({name.removeprefix("linear."): t for name, t in weights.items()})
    except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the dense layer cannot be loaded: {error}", where=str(folder)) from error
    if activation not in ACTIVATIONS:
        raise ModelError(f"lissom does not know the activation {activation!r}", where=str(folder))
    return nn.Sequential(layer, getattr(nn, activation)())


def _example_inputs(
    model: Any, folder: Path
) -> tuple[dict[str, torch.Tensor], dict[str, Mapping[int, str]]]:
    import torch

    parameters = inspect.signature(model.forward).parameters
    draw = torch.Generator().manual_seed(0)
    if model.main_input_name == "pixel_values":
        size = _image_size(model.config, folder)
        shape = (BATCH, getattr(model.config, "num_channels", 3), *size)
        return {"pixel_values": torch.randn(shape, generator=draw)}, {"pixel_values": {0: "batch"}}
    if model.main_input_name != "input_ids" or model.config.is_encoder_decoder:
        raise ModelError(
            f"lissom exports models of text or images, not of {model.main_input_name!r}",
            where=str(folder),
            fix="write a factory in Python that returns the module and example inputs",
        )
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = torch.randint(0, vocabulary, (BATCH, SEQUENCE), generator=draw)
    mask = torch.ones_like(ids)
    # One padded sequence, so that the parity check sees whether the mask is honoured.
    mask[-1, -2:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in parameters and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    axes = {0: "batch", 1: Axis("sequence", most=_longest(model))}
    return inputs, dict.fromkeys(inputs, axes)


def _longest(model: Any) -> int | None:
    """How many tokens a text may have, None where positions have no table."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 2 * SEQUENCE:
        return None
    tables = (m for name, m in model.named_modules() if name.endswith("position_embeddings"))
    # RoBERTa's positions begin after the one that stands for padding.
    padding = getattr(next(tables, None), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _image_size(config: Any, folder: Path) -> tuple[int, int]:
    """Height and width from the config, else from the preprocessor, else 224."""
    size = getattr(config, "image_size", None)
    if size is None:
        preprocessor = read_json(folder / "preprocessor_config.json") or {}
        size = preprocessor.get("crop_size") or preprocessor.get("size") or 224
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", 224)
        return int(size.get("height", edge)), int(size.get("width", edge))
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[-1])
    return int(size), int(size)
