"""What a model file holds: ports, operators, weights by layer, work, and what can be compressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common as passes
from pydantic import BaseModel, ConfigDict

from lissom.arrays import Batch
from lissom.errors import LissomError
from lissom.graph.inventory import Stored, inventory
from lissom.graph.opset import OLDEST_OPSET, is_old
from lissom.graph.repeats import drop_identities
from lissom.graph.widen import HALVES, holds_halves, widen
from lissom.measurement.feeds import example_feeds
from lissom.measurement.footprint import parameters, parameters_by_tensor, size_on_disk
from lissom.measurement.macs import multiply_accumulates_by_node
from lissom.measurement.records import Settings
from lissom.onnx_file import TensorSpec, input_specs, output_specs, read_onnx
from lissom.report.inspect_chances import Chances, chances_in, type_name

SCHEMA = 1


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Port(_Facts):
    """An input or output; an axis is a size, a name, or None where nothing is declared."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return str(TensorSpec(self.name, self.dtype, self.shape))


class LayerWeights(_Facts):
    """The stored tensors that one operator computes with.

    Attributes:
        name: the largest tensor's name, or the operator's where an exporter made that one up.
        op_type: the operator.
        parameters: numbers that stand for weights; bytes: what all its tensors take.
        dtypes: the types it is stored in, the largest share first.
        macs: multiply-accumulates of one run; None where it does not multiply or they are unknown.
        techniques: those that would take the largest tensor.
        why_not: why none makes it smaller than float16 does; None where one does.
    """

    name: str
    op_type: str
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]
    macs: int | None
    techniques: tuple[str, ...]
    why_not: str | None


class Chance(_Facts):
    """What one technique would take: the tensors and their bytes today."""

    technique: str
    tensors: int
    bytes: int
    needs: str | None = None


class LeftAlone(_Facts):
    """What is stored and stays as it is, whatever is done below float16, and why."""

    why: str
    tensors: int
    bytes: int


class Inspection(_Facts):
    """All that `lissom inspect` tells.

    Attributes:
        schema_version: of this record; it changes when a field changes its meaning.
        model: the file's name.
        operators: how often each occurs, bodies of If, Loop and Scan included.
        bytes: of the file and its external data; weight_bytes: of the tensors in it.
        dtypes: bytes of tensors by type.
        macs: multiply-accumulates of one run at `shapes`; None where they are unknown.
        layers: the largest first.
        notes: what is done to the file before anything is compressed, and the like.
    """

    schema_version: int = SCHEMA
    model: str
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opsets: dict[str, int]
    operators: dict[str, int]
    parameters: int
    bytes: int
    weight_bytes: int
    dtypes: dict[str, int]
    macs: int | None
    shapes: dict[str, tuple[int, ...]]
    layers: tuple[LayerWeights, ...]
    chances: tuple[Chance, ...]
    left_alone: tuple[LeftAlone, ...]
    notes: tuple[str, ...]


def inspect(
    path: Path, settings: Settings, *, name: str = "", notes: tuple[str, ...] = ()
) -> Inspection:
    """Look into a model file; nothing but its multiply-accumulates needs it to run.

    Args:
        path: the file.
        settings: batch and shapes that the multiply-accumulates are counted for.
        name: what to call it, where the file's own name tells nothing.
        notes: what is known of it besides.

    Raises:
        ModelError: the file cannot be read.
        RequestError: a shape fits no input.
    """
    model = read_onnx(path, check_weights=False)
    inputs = input_specs(model)
    facts = Inspection(
        model=name or path.name,
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        inputs=_ports(inputs),
        outputs=_ports(output_specs(model)),
        opsets={domain or "ai.onnx": number for domain, number in model.opset_imports.items()},
        operators=_operators(model),
        parameters=parameters(path),
        bytes=size_on_disk(path),
        weight_bytes=0,
        dtypes={},
        macs=None,
        shapes={},
        layers=(),
        chances=(),
        left_alone=(),
        notes=(),
    )
    work, shapes = _work(path, inputs, settings)
    _made_readable(model)
    stored = list(inventory(model))
    chances = chances_in(model, stored)
    if holds_halves(model):
        # The techniques take float32; bytes and types are told as they are in the file.
        wide = widen(read_onnx(path, check_weights=False))
        _made_readable(wide)
        narrow = {each.name for each in stored if each.tensor.dtype in HALVES}
        chances = chances_in(wide, list(inventory(wide)), narrow=narrow)
        notes += (
            "weights in 16-bit floats: `lissom compress` widens them to float32 first, and "
            "compares with this file",
        )
    if is_old(model):
        notes += (f"`lissom compress` converts it to operator set {OLDEST_OPSET} first",)
    return facts.model_copy(
        update={
            "weight_bytes": sum(each.tensor.nbytes for each in stored),
            "dtypes": _by_type(stored),
            "macs": None if work is None else sum(work.values()),
            "shapes": shapes,
            "layers": _layers(stored, parameters_by_tensor(model), work or {}, chances),
            "chances": _chances(stored, chances),
            "left_alone": _left_alone(stored, chances),
            "notes": notes,
        }
    )


def _ports(specs: tuple[TensorSpec, ...]) -> tuple[Port, ...]:
    return tuple(Port(name=s.name, dtype=s.dtype, shape=s.shape) for s in specs)


def _operators(model: ir.Model) -> dict[str, int]:
    """Constants are data, not work, and are left out."""
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in nodes
        if node.op_type != "Constant"
    )
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _work(
    path: Path, inputs: tuple[TensorSpec, ...], settings: Settings
) -> tuple[dict[str, int] | None, dict[str, tuple[int, ...]]]:
    """Multiply-accumulates by the output of each node, and the shapes they are counted for."""
    asked = bool(settings.shapes) or settings.batch != 1
    try:
        feeds: Batch = example_feeds(inputs, settings)
    except LissomError:
        if asked:
            raise
        return None, {}
    shapes = {name: tuple(array.shape) for name, array in feeds.items()}
    return multiply_accumulates_by_node(path, feeds), shapes


def _made_readable(model: ir.Model) -> None:
    """Constants as initializers, nothing hidden in functions or behind Identity."""
    if model.functions:
        passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    drop_identities(model)


def _by_type(stored: list[Stored]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for each in stored:
        planes = each.planes
        name = type_name(each.tensor.dtype) if planes is None else f"int{planes.bits}"
        sizes[name] += each.tensor.nbytes
    return dict(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])))


def _layers(
    stored: list[Stored], counts: Mapping[ir.Value, int], work: Mapping[str, int], chances: Chances
) -> tuple[LayerWeights, ...]:
    groups: dict[ir.Node, list[Stored]] = {}
    for each in stored:
        if each.reader is not None:
            groups.setdefault(each.reader, []).append(each)
    layers = [_layer(node, found, counts, work, chances) for node, found in groups.items()]
    return tuple(sorted(layers, key=lambda layer: (-layer.bytes, layer.name)))


def _layer(
    node: ir.Node,
    found: list[Stored],
    counts: Mapping[ir.Value, int],
    work: Mapping[str, int],
    chances: Chances,
) -> LayerWeights:
    largest = max(found, key=lambda each: each.tensor.nbytes)
    sizes = _by_type(found)
    made_up = largest.name.startswith(("onnx::", "_")) or largest.name.isdigit()
    return LayerWeights(
        name=(node.name if made_up and node.name else largest.name) or node.op_type,
        op_type=node.op_type,
        parameters=sum(counts.get(each.value, 0) for each in found),
        bytes=sum(each.tensor.nbytes for each in found),
        dtypes=tuple(sizes),
        macs=work.get(node.outputs[0].name or ""),
        techniques=chances.techniques(largest.name),
        why_not=chances.why_not(largest.name),
    )


def _chances(stored: list[Stored], chances: Chances) -> tuple[Chance, ...]:
    found = []
    for technique, needs in chances.needs.items():
        taken = [each for each in stored if technique in chances.techniques(each.name)]
        if taken:
            size = sum(each.tensor.nbytes for each in taken)
            found.append(Chance(technique=technique, tensors=len(taken), bytes=size, needs=needs))
    return tuple(found)


def _left_alone(stored: list[Stored], chances: Chances) -> tuple[LeftAlone, ...]:
    groups: dict[str, list[Stored]] = {}
    for each in stored:
        why = chances.why_not(each.name)
        if why is not None:
            groups.setdefault(why, []).append(each)
    left = [
        LeftAlone(why=why, tensors=len(found), bytes=sum(each.tensor.nbytes for each in found))
        for why, found in groups.items()
    ]
    return tuple(sorted(left, key=lambda each: (-each.bytes, each.why)))
