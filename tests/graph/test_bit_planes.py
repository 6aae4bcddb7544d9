from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.graph.bit_planes import pack, planes_in, unpack, unpack_planes, write_planes
from lissom.graph.edit import Editor, tidy
from lissom.graph.inventory import computed_at_load, inventory
from lissom.graph.optimize import Optimize, optimize
from lissom.graph.quantized import quantized
from lissom.technique import Context
from tests.graph.small import bytes_of, node, opened, reference, run, tensor


def grid(bits: int, odd: bool) -> np.ndarray:
    return np.arange(1 - 2**bits, 2**bits, 2) if odd else np.arange(-(2**bits) // 2, 2**bits // 2)


def codes_of(bits: int, odd: bool, shape: tuple[int, ...]) -> np.ndarray:
    draw = np.random.default_rng(bits).choice(grid(bits, odd), size=shape)
    draw.reshape(-1)[: 2**bits] = grid(bits, odd)[: draw.size]
    return draw.astype(np.int8)


def with_codes(*weights: tuple[np.ndarray, int, bool]) -> ir.Model:
    """The sum of codes, unpacked from planes, as floats beside an input."""
    nodes = [node("Identity", ["x"], "y0")]
    for number, _ in enumerate(weights):
        nodes.append(node("Cast", [f"codes{number}"], f"wide{number}", to=1))
        nodes.append(node("Flatten", [f"wide{number}"], f"flat{number}", axis=0))
        nodes.append(node("ReduceMean", [f"flat{number}"], f"mean{number}", keepdims=0))
        nodes.append(node("Add", [f"y{number}", f"mean{number}"], f"y{number + 1}"))
    constants = {f"codes{number}": codes for number, (codes, *_) in enumerate(weights)}
    outputs = [f"y{len(weights)}", *(f"wide{number}" for number, _ in enumerate(weights))]
    model = opened(nodes, [tensor("x", shape=[1])], outputs, constants, opset=13)
    editor = Editor(model)
    for number, (codes, bits, odd) in enumerate(weights):
        cast = next(each for each in model.graph if each.name == f"wide{number}/Cast")
        _, unpacked = write_planes(editor, cast, codes, bits, f"w{number}", odd=odd)
        cast.replace_input_with(0, unpacked)
    tidy(model)
    return model


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 5, 6])
def test_codes_come_back_and_take_their_bits(bits, odd):
    codes = codes_of(bits, odd, (7, 11))
    planes = pack(codes, bits, odd=odd)
    assert planes.nbytes == -(-codes.size // 8) * bits
    np.testing.assert_array_equal(unpack(planes, codes.size, odd=odd), codes.reshape(-1))


@pytest.mark.parametrize(("value", "bits", "odd"), [(2, 2, False), (-5, 3, False), (2, 3, True)])
def test_what_is_not_on_the_grid_is_refused(value, bits, odd):
    with pytest.raises(ValueError, match="code"):
        pack(np.asarray([1, value]), bits, odd=odd)


def test_a_runtime_unpacks_what_was_packed():
    # Sizes with and without a last byte that is not full.
    given = [
        (codes_of(bits, odd, shape), bits, odd)
        for shape in ((4, 2, 3, 3), (3, 5))
        for bits, odd in ((2, True), (2, False), (3, True), (5, False), (6, False), (7, False))
    ]
    model = with_codes(*given)
    feeds = {"x": np.zeros(1, np.float32)}
    for found in (run(model, feeds), run(model, feeds, optimize=False), reference(model, feeds)):
        for (codes, *_), wide in zip(given, found[1:], strict=True):
            np.testing.assert_array_equal(wide, codes)
    # What the nodes read beside the planes is there once.
    stored = [name for name in model.graph.initializers if name.startswith("bits_")]
    assert sorted(stored) == [
        "bits_2", "bits_2_odd", "bits_3_odd", "bits_3x5", "bits_4x2x3x3", "bits_5", "bits_6",
        "bits_7", "bits_all", "bits_down", "bits_first", "bits_one", "bits_to_15", "bits_up",
    ]  # fmt: skip


def test_they_are_read_back_as_codes():
    given = [(codes_of(3, True, (6, 24)), 3, True), (codes_of(5, False, (9, 3)), 5, False)]
    model = with_codes(*given)
    found = list(planes_in(model.graph))
    assert [(each.bits, each.odd, each.shape) for each in found] == [
        (3, True, (6, 24)), (5, False, (9, 3)),
    ]  # fmt: skip
    unpacking = {each for planes in found for each in planes.nodes}
    assert len(unpacking) == 6 + 7 and unpacking < computed_at_load(model.graph)
    (codes,) = quantized(inventory(model))
    assert codes.tensors == 2 and codes.bytes == 6 * 24 * 3 // 8 + 4 * 5
    widths = unpack_planes(model)
    assert sorted(widths.values()) == [3, 5]
    for value, (wanted, *_) in zip(widths, given, strict=True):
        np.testing.assert_array_equal(value.const_value.numpy(), wanted)
    assert not list(planes_in(model.graph))
    assert not [name for name in model.graph.initializers if name.startswith("bits_")]


def test_codes_that_the_graph_returns_stay_packed():
    given = [(codes_of(3, False, (4, 8)), 3, False), (codes_of(5, True, (3, 5)), 5, True)]
    model = with_codes(*given)
    first, _ = planes_in(model.graph)
    model.graph.outputs.append(first.nodes[-1].outputs[0])
    feeds = {"x": np.zeros(1, np.float32)}
    before = run(model, feeds)
    assert list(unpack_planes(model).values()) == [5]
    assert [(each.bits, each.shape) for each in planes_in(model.graph)] == [(3, (4, 8))]
    for found, wanted in zip(run(model, feeds), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_folding_constants_leaves_them_packed():
    model = with_codes((codes_of(3, False, (64, 24)), 3, False))
    before = len(bytes_of(model))
    after = optimize(model, Optimize(), Context())
    assert len(list(planes_in(after.graph))) == 1 and len(bytes_of(after)) <= before


def stored(model: ir.Model, name: str, array: np.ndarray) -> None:
    value = model.graph.initializers[name]
    value.const_value = ir.tensor(array, name=name)
    value.dtype, value.shape = value.const_value.dtype, ir.Shape(array.shape)


SIZES = "bits_3x5"
CHANGED = {
    "powers": ("bits_3", np.asarray([[1], [2], [4]], np.int8)),
    "shifts": ("bits_up", np.arange(8, dtype=np.uint8)[::-1, None].copy()),
    "shift back": ("bits_down", np.asarray(6, np.uint8)),
    "first": ("bits_first", np.asarray([1])),
    "last": ("bits_to_15", np.asarray([16])),
    "a negative shape": (SIZES, np.asarray([-3, -5])),
    "a shape that wraps around": (SIZES, np.asarray([2**32, 2**32])),
    "a large shape": (SIZES, np.asarray([2**40])),
    "a shape of no axis": (SIZES, np.asarray(15)),
    "a shape of numbers": (SIZES, np.asarray([np.nan, 5])),
    "many axes": (SIZES, np.asarray([3, 5] + [1] * 100)),
    "no bits": ("w0", np.zeros((2, 1, 0), np.uint8)),
    "many bits": ("w0", np.zeros((2, 1, 9), np.uint8)),
    "fewer planes": ("w0", np.zeros((1, 1, 3), np.uint8)),
    "no planes": ("w0", np.zeros((0, 1, 3), np.uint8)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_constants_that_look_alike_are_none(what):
    model = with_codes((codes_of(3, False, (3, 5)), 3, False))
    assert len(list(planes_in(model.graph))) == 1
    stored(model, *CHANGED[what])
    assert not list(planes_in(model.graph))
    assert unpack_planes(model) == {}


@pytest.mark.parametrize(
    ("kind", "name", "value"), [("BitShift", "direction", "RIGHT"), ("Cast", "to", 6)]
)
def test_nodes_that_look_alike_are_none(kind, name, value):
    model = with_codes((codes_of(3, True, (4, 8)), 3, True))
    first = next(each for each in model.graph if each.op_type == kind)
    first.attributes[name] = ir.convenience.convert_attribute(name, value)
    assert not list(planes_in(model.graph))


@pytest.mark.parametrize("kind", ["Reshape", "Slice", "MatMulInteger", "BitShift"])
@pytest.mark.parametrize("inputs", [0, 1, 3])
def test_nodes_with_other_inputs_are_none(kind, inputs):
    model = with_codes((codes_of(3, False, (3, 5)), 3, False))
    last = next(each for each in reversed(model.graph) if each.op_type == kind)
    before = len(last.inputs)
    last.resize_inputs(inputs)
    assert len(list(planes_in(model.graph))) == (inputs == before)
