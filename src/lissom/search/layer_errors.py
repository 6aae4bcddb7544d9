"""What every layer of a network does to its outputs in one format, all others as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from onnx import TensorProto

from lissom.arrays import Batch
from lissom.diagnosis.anchors import Anchor, anchors, original_network
from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network, network_of
from lissom.diagnosis.diagnose import matched
from lissom.diagnosis.kept import Keep
from lissom.diagnosis.layer_node import layer_node
from lissom.diagnosis.rewrite import in_reals
from lissom.diagnosis.rounded import Rounded, rounded
from lissom.diagnosis.section import Section, sections
from lissom.diagnosis.share import NEGLIGIBLE, alone
from lissom.diagnosis.together import passing_by, together
from lissom.graph.compared import compared
from lissom.measurement.quality import run_batch
from lissom.onnx_file import read_onnx
from lissom.quantize.output_error import RelativeError
from lissom.tables import STATIC, Format, Pair
from lissom.targets.target import Opener
from lissom.technique import Track

T = TypeVar("T")
FLOAT16 = TensorProto.FLOAT16
# Pairs of layers that are measured together in every format.
PAIRS = 2


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its name and type, how many weights it has."""

    name: str
    op_type: str
    weights: int


@dataclass(frozen=True)
class Original:
    """The float network and what it gives for the samples.

    Attributes:
        network: as quantizers see it; its outputs are those at which errors are measured.
        anchors: its layers.
        samples: batches of a few samples.
    """

    network: Network
    anchors: tuple[Anchor, ...]
    samples: Sequence[Batch] = field(default=(), repr=False)

    @classmethod
    def of(cls, path: Path) -> Original:
        """Read it, without samples.

        Raises:
            ModelError: the file cannot be read.
        """
        network = original_network(path)
        found = tuple(anchors(network))
        ends = set(compared(ir.serde.deserialize_model(network.model)))
        network.outputs = [name for name in network.outputs if name in ends]
        return cls(network, found)

    def layers(self) -> Iterator[Layer]:
        """Those that multiply by weights or look rows of them up, in the order of the graph."""
        for anchor in self.anchors:
            if anchor.weight:
                count = math.prod(self.network.constants[anchor.weight].dims)
                yield Layer(anchor.name, anchor.op_type, count)

    def held(self, batch: Batch) -> int:
        """Bytes of a batch that are held while one layer is measured, of the layer that needs most.

        They are the outputs of both networks, and of the original what the layer reads and gives
        and what goes past it.

        Raises:
            ModelError: the network cannot be run.
        """
        network = self.network
        needs = []
        for anchor in self.anchors:
            if anchor.weight:
                tensor, bare = anchor.tensors[0], anchor.tensors[-1]
                past = passing_by(
                    network, [tensor], set(network.outputs) & network.behind([tensor])
                )
                reads = network.reads[id(network.maker[bare])]
                needs.append({tensor, *past, *reads} - {*network.constants, *network.outputs})
        names = sorted(set(network.outputs).union(*needs))
        values = {**batch, **network.between((), names).session({})(batch)}
        outputs = sum(values[name].nbytes for name in network.outputs)
        widest = max((sum(values[name].nbytes for name in each) for each in needs), default=0)
        return 2 * outputs + widest


@dataclass(frozen=True)
class FormatErrors:
    """One format of the network.

    Attributes:
        layers: the error that each layer alone makes of the outputs, by name.
        whole: the error of the network with all of them.
        pairs: of layers that were measured together.
        lost: layers in this format that could not be found again in the file.
    """

    layers: dict[str, float]
    whole: float
    pairs: tuple[Pair, ...]
    lost: tuple[str, ...]


def format_errors(
    original: Original,
    compressed: Path,
    form: Format,
    *,
    opener: Opener,
    keep: Keep,
    seed: int = 0,
    track: Track,
) -> FormatErrors:
    """The error of the outputs that each layer in this format makes alone.

    Each layer's own part of the compressed network is fed with what the original computed before
    it, its result put into the original, and what depends on that run again.

    Args:
        original: the float network and samples.
        compressed: the same network, every layer in this format.
        form: the format.
        opener: opens the file in the runtime that it is for.
        keep: keeps the error of each layer.
        seed: chooses the pairs.
        track: shown one item a layer.

    Raises:
        ModelError: the two do not compute the same, or one of them cannot be run.
    """
    samples = original.samples
    answers = _answers(compressed, samples, opener)
    found, lost, sizes, values = _parts(original, compressed, form)
    sums = [Sums(section, None, counted=False) for section in found]
    for each in sums:
        # A few samples tell which layers make an error at all.
        each.add(values)
    # A table is stored as codes only where it has enough rows.
    sums = [
        each
        for each in sums
        if each.section.bits is not None or form == "float16" or each.added > NEGLIGIBLE
    ]
    parts = [each.section for each in sums]
    made = alone(original.network, sums, samples, answers, sizes, _called(track, form), keep)
    names = [section.matched.anchor.name for section in parts]
    errors = {name: found.error for name, found in zip(names, made, strict=True)}
    pairs = [
        Pair(
            one=one,
            other=other,
            format=form,
            predicted=errors[one] + errors[other],
            measured=keep(f"{one} and {other}", _measure(original, parts, names, one, other)),
        )
        for one, other in chosen_pairs(names, errors, seed)
    ]
    whole = keep("whole", lambda: _whole(original, answers))
    return FormatErrors(errors, whole, tuple(pairs), lost)


def chosen_pairs(
    names: Sequence[str], errors: Mapping[str, float], seed: int
) -> list[tuple[str, str]]:
    """The layer of largest error with its neighbour, and with one drawn from the worse half.

    Args:
        names: layers in the order of the graph.
        errors: by name.
        seed: of the draw.
    """
    ranked = [name for name in sorted(names, key=lambda name: -errors[name]) if errors[name] > 0]
    if len(ranked) < 2:
        return []
    worst, rest = ranked[0], ranked[1:]
    place = names.index(worst)
    behind = [name for name in names[place + 1 :] if errors[name] > 0]
    before = [name for name in names[:place] if errors[name] > 0]
    neighbour = behind[0] if behind else before[-1]
    others = [name for name in rest[: max(1, len(ranked) // 2)] if name != neighbour]
    partners = [neighbour]
    if others:
        partners.append(others[int(np.random.default_rng(seed).integers(len(others)))])
    found = [sorted((worst, partner), key=names.index) for partner in partners[:PAIRS]]
    return [(one, other) for one, other in found]


def _measure(
    original: Original, parts: Sequence[Section], names: Sequence[str], one: str, other: str
) -> Callable[[], float]:
    first, second = (parts[names.index(name)] for name in (one, other))
    return lambda: together(original.network, first, second, original.samples)


def _parts(
    original: Original, compressed: Path, form: Format
) -> tuple[list[Rounded], tuple[str, ...], dict[str, int], dict[str, np.ndarray]]:
    """The layers in this format, those that are lost, bytes of tensors and values of one batch."""
    network, samples = original.network, original.samples
    reals = in_reals(read_onnx(compressed, check_weights=False))
    second = Network(reals.proto)
    first = samples[0]
    matches, without, _, values = matched(network, second, reals, original.anchors, first)
    plain = network_of(read_onnx(compressed, check_weights=False))
    found = sections(matches, reals, second, plain)
    mine = {layer.name for layer in original.layers()}
    roots = {section.root for section in found}
    parts = [
        rounded(section, reals)
        for section in found
        if section.matched.anchor.name in mine
        and (section.bits is not None or _may_be(section, roots, plain, form))
    ]
    lost = tuple(name for name, _ in without if name in mine)
    share = len(samples)
    sizes = {name: array.nbytes * share for name, array in values.items() if name not in first}
    return parts, lost, sizes, values


def _may_be(section: Section, roots: set[str], file: Network, form: Format) -> bool:
    """Whether a layer without codes may be in a format: rows of tables are codes only later.

    Floats of 16 bits are told by the file: weights that were such once lose nothing in it.
    """
    if form == "float16":
        layer = layer_node(file.between(roots - {section.root}, [section.root]), file)
        return layer is not None and file.constants[layer.weight].data_type == FLOAT16
    return section.matched.anchor.op_type == "Gather" and form not in STATIC


def _answers(compressed: Path, samples: Sequence[Batch], opener: Opener) -> list[Batch]:
    """What the file itself gives for the samples in its runtime, sums exact.

    Raises:
        ModelError, RunError: the runtime cannot run it.
    """
    session = opener(compressed, exact=True)
    taken = session.inputs
    return [
        run_batch(session, {name: batch[name] for name in taken}, compressed) for batch in samples
    ]


def _whole(original: Original, answers: Sequence[Batch]) -> float:
    """The relative squared error of the file's outputs, the largest output's."""
    outputs = list(original.network.outputs)
    session = original.network.between((), outputs).session({})
    sums = {name: RelativeError() for name in outputs}
    for batch, answer in zip(original.samples, answers, strict=True):
        truth = session(batch)
        for name in outputs:
            sums[name].add(truth[name], answer[name])
    return max((each.relative for each in sums.values() if each.count), default=0.0)


def _called(track: Track, form: Format) -> Track:
    """The track with the format in place of what it would show."""

    def named(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        return track(items, f"sensitivity to {form}", total)

    return named
