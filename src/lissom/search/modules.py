"""Which torch module each layer of an exported graph was."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from lissom.graph.weights import linear_weight
from lissom.onnx_file import read_onnx

# What export writes beside the graph.
NAMES = "names.json"
# The exporter puts this before names of parameters that it folded others into.
WRAPPED = "module."


class Exported(BaseModel):
    """Where export put a parameter; None where it is in the graph no more as it was."""

    initializer: str | None


EXPORTED = TypeAdapter(dict[str, Exported])


def modules_of(path: Path) -> dict[str, str]:
    """The module of each node that reads a parameter of one, by the node's name.

    Empty where the graph was not exported by lissom: a names.json beside it that holds something
    else, such as names of classes, is somebody else's.

    Args:
        path: of a graph, with names.json beside it.
    """
    try:
        matches = EXPORTED.validate_json((path.parent / NAMES).read_bytes())
    except (OSError, ValidationError):
        return {}
    parameters = {match.initializer: name for name, match in matches.items()}
    found: dict[str, str] = {}
    for node in read_onnx(path, check_weights=False).graph:
        layer = linear_weight(node)
        values = [*(value for value in node.inputs if value is not None)]
        values += [] if layer is None else [layer.value]
        for name in (value.name or "" for value in values):
            bare = name.removeprefix(WRAPPED)
            parameter = parameters.get(name) or (bare if bare in matches else None)
            module = (parameter or "").rpartition(".")[0]
            if module and node.name:
                found.setdefault(node.name, module)
    return found
