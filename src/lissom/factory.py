"""A torch network from the user's own code: the module, example inputs, and what is dynamic."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lissom.axes import Axis
from lissom.errors import ModelError, require
from lissom.user_code import load_object, showing_user_lines

if TYPE_CHECKING:
    import torch

RETURNS = "return the module and its example inputs: `return model.eval(), torch.randn(2, 3, 8, 8)`"


@dataclass(frozen=True)
class Network:
    """A torch module that is ready to be exported.

    Attributes:
        module: the network.
        inputs: example inputs by name, in the order the module takes them.
        axes: input name -> {dimension: its name} for sizes that may change, with their range
            where the name is an Axis; None lets lissom try the first dimension of every input.
        keywords: whether the module takes its inputs by name rather than by position.
        source: the text that the network's code is in, for its digest.
    """

    module: torch.nn.Module
    inputs: Mapping[str, torch.Tensor]
    axes: Mapping[str, Mapping[int, str]] | None = None
    keywords: bool = False
    source: bytes = b""


def from_spec(spec: str) -> Callable[[], Network]:
    """A function that builds the network `file.py:factory` names, once, however often it is asked.

    The file is run here, the factory only when the network is wanted.

    Raises:
        ModelError: the file or the factory is not there, or running the file failed.
    """
    require("torch", extra="torch", purpose=f"a model from Python code ({spec})")
    factory, file = load_object(spec, error=ModelError)
    if not callable(factory):
        raise ModelError(f"{spec} is not a function", fix=RETURNS)
    source = file.read_bytes() if file else b""
    return cache(lambda: _build(factory, spec, source))


def _build(factory: Callable[[], Any], spec: str, source: bytes) -> Network:
    import torch

    # Untrained layers start from the same numbers in every run, or no run could be resumed.
    with torch.random.fork_rng(devices=[]), showing_user_lines(spec, ModelError):
        torch.manual_seed(0)
        built = factory()
    if isinstance(built, torch.nn.Module):
        raise ModelError(f"{spec} returns a module without example inputs", fix=RETURNS)
    if not isinstance(built, (tuple, list)) or len(built) not in (2, 3):
        raise ModelError(f"{spec} returns {type(built).__name__!r}", fix=RETURNS)
    return network_of(built[0], built[1], built[2] if len(built) == 3 else None, spec, source)


def from_module(module: Any, example_inputs: Any, axes: Any = None) -> Callable[[], Network]:
    """A function that gives back a module the caller already has.

    Raises:
        ModelError: the example inputs are missing or no tensors.
    """
    name = type(module).__name__
    if example_inputs is None:
        raise ModelError(
            f"a torch module ({name}) needs example inputs to be exported",
            fix="open_model(module, example_inputs=torch.randn(2, 3, 224, 224))",
        )
    network = network_of(module, example_inputs, axes, name, _class_sources(module))
    return lambda: network


def network_of(module: Any, examples: Any, axes: Any, spec: str, source: bytes) -> Network:
    """Name the example inputs after the module's parameters and check what was given.

    Raises:
        ModelError: the module is no module, an input is no tensor, or `axes` does not fit.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{spec} gives {type(module).__name__!r}, not a torch.nn.Module")
    if isinstance(examples, torch.Tensor):
        examples = (examples,)
    keywords = isinstance(examples, Mapping)
    if isinstance(examples, Mapping):
        inputs = {str(name): value for name, value in examples.items()}
    elif isinstance(examples, (tuple, list)):
        inputs = dict(zip(_positional_names(module, len(examples)), examples, strict=True))
    else:
        raise ModelError(f"{spec}: example inputs are a tensor, a tuple or a dict", fix=RETURNS)
    if not inputs:
        raise ModelError(f"{spec} gives no example inputs", fix=RETURNS)
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{spec}: the example input {name!r} is {type(value).__name__!r}, not a tensor",
                fix="wrap the network in a module that takes tensors only",
            )
    return Network(
        module, inputs, _named_axes(axes, inputs, spec), keywords=keywords, source=source
    )


def _positional_names(module: torch.nn.Module, count: int) -> list[str]:
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind in plain][:count]
    return names + [f"input_{position}" for position in range(len(names), count)]


def _named_axes(
    axes: Any, inputs: Mapping[str, torch.Tensor], spec: str
) -> dict[str, dict[int, str]] | None:
    if axes is None:
        return None
    known = f"the inputs are {', '.join(inputs)}; write {{{next(iter(inputs))!r}: {{0: 'batch'}}}}"
    if not isinstance(axes, Mapping):
        raise ModelError(f"{spec}: the dynamic axes are not a dict", fix=known)
    named: dict[str, dict[int, str]] = {}
    for name, entry in axes.items():
        if name not in inputs:
            raise ModelError(f"{spec}: dynamic axes of {name!r}, which is no input", fix=known)
        pairs = entry.items() if isinstance(entry, Mapping) else ((d, f"{name}_{d}") for d in entry)
        try:
            named[name] = {int(dimension): Axis.of(label) for dimension, label in pairs}
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{spec}: the dynamic axes of {name!r} cannot be read: {error}",
                fix=f"{known}, or {{0: ('batch', 1, 64)}} with the least and the largest size",
            ) from None
        if not all(0 <= dimension < inputs[name].dim() for dimension in named[name]):
            raise ModelError(f"{spec}: {name!r} has no such dimensions: {entry}", fix=known)
    return named


def _class_sources(module: torch.nn.Module) -> bytes:
    """The source of every class in a module that is not torch's own; a name where there is none."""
    classes = {type(part) for part in module.modules()}
    texts = []
    for kind in sorted(classes, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"):
        if kind.__module__.split(".")[0] != "torch":
            try:
                texts.append(inspect.getsource(kind))
            except (OSError, TypeError):
                texts.append(f"{kind.__module__}.{kind.__qualname__}")
    return "\n".join([repr(module), *texts]).encode()


def digest_of(network: Network) -> str:
    """Sha256 over the weights' bytes, the code's text, and the example inputs' names and shapes."""
    import torch

    state = hashlib.sha256(network.source)
    for name, tensor in sorted(network.module.state_dict().items()):
        state.update(f"{name} ".encode())
        if isinstance(tensor, torch.Tensor):
            data = tensor.detach().cpu().contiguous()
            state.update(f"{data.dtype} {tuple(data.shape)}".encode())
            state.update(data.reshape(-1).view(torch.uint8).numpy().data)
        else:
            state.update(repr(tensor).encode())
    for name, value in network.inputs.items():
        state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
    state.update(f"{network.axes}".encode())
    return state.hexdigest()
