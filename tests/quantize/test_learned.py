from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.batches import Batches
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize import learned
from lissom.quantize import static as static_module
from lissom.quantize.learned import drawn
from lissom.quantize.static import Static, static
from lissom.targets.pairing import exceeding, product_layout
from lissom.technique import Context
from tests import models
from tests.graph.small import bytes_of, checked, draw, node, opened, run, tensor
from tests.quantize.test_static import as_run

WIDE = tensor("x", shape=["n", 32])


def quantized(model, batches, *, notes=None, pair_sums=True, **settings) -> ir.Model:
    model = model if isinstance(model, ir.Model) else ir.from_proto(model)
    model = optimize(model, Optimize(), Context())
    context = Context(
        pair_sums,
        calibration=Batches.of(batches),
        note=[].append if notes is None else notes.append,
    )
    return checked(static(model, Static(**settings), context))


def noise(model, found, feeds) -> float:
    """Power of the error at the output over that of the float network, in dB."""
    truth = run(model, feeds)[0]
    return float(
        10 * np.log10(np.square(run(found, feeds)[0] - truth).sum() / np.square(truth).sum())
    )


def correlated(count: int, seed: int, width: int = 32) -> np.ndarray:
    """Inputs of few causes, as features of a network are, none of mean zero."""
    mix = np.random.default_rng(9).normal(size=(6, width))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)) @ mix + 0.3 * rng.normal(size=(count, width)) + 1
    return np.maximum(x, 0).astype(np.float32)


def layers(*weights: str, opset: int = 17, **constants) -> ir.Model:
    """One product after the other, with ReLUs between them."""
    nodes, source = [], "x"
    for number, weight in enumerate(weights):
        nodes.append(node("Gemm", [source, weight], f"y{number}"))
        nodes.append(node("Relu", [f"y{number}"], f"r{number}"))
        source = f"r{number}"
    nodes.append(node("Sigmoid", [f"y{len(weights) - 1}"], "out"))
    return opened(nodes, [WIDE], ["out", f"y{len(weights) - 1}"], constants, opset=opset)


def test_a_depthwise_network_comes_nearer_to_the_float_one(tmp_path):
    proto = models.depthwise()
    batches = [models.feeds(proto, 16, seed=seed) for seed in range(6)]
    fresh = models.feeds(proto, 64, seed=99)
    found = {}
    for bits in (4, 8):
        for rounding in ("nearest", "learned"):
            model = quantized(proto, batches, weight_bits=bits, rounding=rounding)
            found[bits, rounding] = noise(proto, model, fresh)
            assert as_run(model, tmp_path).count("QLinearConv") == 2
    assert found[4, "learned"] < found[4, "nearest"] - 12
    assert found[8, "learned"] < found[8, "nearest"] - 0.5
    assert found[4, "learned"] < -28


def test_the_same_bytes_twice():
    proto = models.depthwise()
    batches = [models.feeds(proto, 8, seed=seed) for seed in range(3)]
    first, second = (quantized(proto, batches, weight_bits=4, rounding="learned") for _ in range(2))
    assert bytes_of(first) == bytes_of(second)


def test_errors_of_one_layer_are_made_up_for_in_the_next():
    # The second layer reads what the first one gives, which four bits leave far off.
    constants = {"w": draw(32, 32, scale=0.3), "v": draw(32, 32, seed=1, scale=0.3)}
    feeds = {"x": correlated(800, 0)}
    model = layers("w", "v", **constants)
    plain = quantized(layers("w", "v", **constants), feeds, weight_bits=4)
    both = quantized(layers("w", "v", **constants), feeds, weight_bits=4, rounding="learned")
    fresh = {"x": correlated(800, 7)}
    truth = run(model, fresh)[1]
    errors = [np.square(run(each, fresh)[1] - truth).mean() for each in (plain, both)]
    assert errors[1] < errors[0] / 6
    # Every layer has a bias now, for which kernels take no more time.
    assert {len(each.inputs) for each in both.graph if each.op_type == "Gemm"} == {3}
    assert np.abs((run(both, fresh)[1] - truth).mean()) < 0.2 * np.sqrt(errors[1])


def test_learned_codes_are_exact_in_pairs():
    constants = {"w": np.sign(draw(32, 32)) * np.random.default_rng(0).uniform(0.7, 1, (32, 32))}
    constants = {name: array.astype(np.float32) for name, array in constants.items()}
    feeds = {"x": correlated(400, 0)}
    for pair_sums in (True, False):
        model = quantized(layers("w", **constants), feeds, rounding="learned", pair_sums=pair_sums)
        codes = model.graph.initializers["w_quantized"].const_value.numpy()
        assert exceeding(product_layout().rows(codes)).any() != pair_sums


def test_nearest_codes_stay_where_held_out_samples_say_so():
    # Every fourth sample is held out, and these look nothing like the others.
    x = correlated(400, 0)
    x[3::4] = np.abs(draw(100, 32, seed=5, scale=4.0))
    constants = {"w": draw(32, 32, scale=0.3)}
    plain = quantized(layers("w", **constants), {"x": x}, weight_bits=4)
    notes: list[str] = []
    found = quantized(
        layers("w", **constants), {"x": x}, weight_bits=4, rounding="learned", notes=notes
    )
    for name in ("w_quantized", "w_scale"):
        one, other = (each.graph.initializers[name].const_value.numpy() for each in (plain, found))
        np.testing.assert_array_equal(one, other)
    assert notes[0].startswith("0 of 1 layers have learned codes; not y0/Gemm: learned codes were")


def test_too_few_samples_change_nothing():
    constants = {"w": draw(32, 32, scale=0.3)}
    notes: list[str] = []
    feeds = {"x": correlated(2, 0)}
    found = quantized(layers("w", **constants), feeds, rounding="learned", notes=notes)
    assert bytes_of(found) == bytes_of(quantized(layers("w", **constants), feeds))
    assert "too few samples" in notes[0]


def test_shared_weights_keep_their_codes_and_wide_layers_are_left_out(monkeypatch):
    constants = {"w": draw(32, 32, scale=0.3), "v": draw(32, 32, seed=1, scale=0.3)}
    feeds = {"x": correlated(400, 0)}
    plain = quantized(layers("w", "v", "w", **constants), feeds, weight_bits=4)
    notes: list[str] = []
    found = quantized(
        layers("w", "v", "w", **constants), feeds, weight_bits=4, rounding="learned", notes=notes
    )
    kept = [each.graph.initializers["w_quantized"].const_value.numpy() for each in (plain, found)]
    np.testing.assert_array_equal(*kept)
    assert "1 of 3" in notes[0] and "y0/Gemm, y2/Gemm: its weight has another use" in notes[0]
    monkeypatch.setattr(learned, "MOST_SUMS", 1000)
    quantized(layers("v", **constants), feeds, rounding="learned", notes=notes)
    assert "y0/Gemm: its sums would take" in notes[1]


def test_padding_is_not_looked_at():
    weight = draw(16, 8, scale=0.3)
    inputs = [tensor("x", shape=["n", "s", 16]), tensor("attention_mask", 7, ["n", "s"])]
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Cast", ["attention_mask"], "m", to=1),
        node("Unsqueeze", ["m", "last"], "u"),
        node("Mul", ["a", "u"], "y"),
    ]
    constants = {"w": weight, "last": np.array([-1])}
    codes = []
    x = correlated(40 * 10, 0, 16).reshape(40, 10, 16)
    mask = np.arange(10)[None] < np.random.default_rng(0).integers(3, 11, 40)[:, None]
    # The range is the same; only where padding is looked at do the codes differ.
    x[0, 0, 0] = x.max() + 1
    for padding in (0.0, x.max()):
        filled = np.where(mask[..., None], x, padding).astype(np.float32)
        model = opened(nodes, inputs, ["y"], constants)
        feeds = {"x": filled, "attention_mask": mask.astype(np.int64)}
        model = quantized(model, feeds, weight_bits=4, rounding="learned", observer="minmax")
        codes.append(model.graph.initializers["w_quantized"].const_value.numpy())
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize("correction", ["empirical", "analytic"])
def test_bias_correction_leaves_no_mean_error(correction):
    constants = {"w": draw(32, 32, scale=0.3)}
    feeds = {"x": correlated(4000, 0)}
    truth = run(layers("w", **constants), feeds)[1]
    off = {}
    for how in ("none", correction):
        model = quantized(layers("w", **constants), feeds, weight_bits=4, bias_correction=how)
        off[how] = np.abs((run(model, feeds)[1] - truth).mean(axis=0)).max()
    assert off[correction] < 0.05 * off["none"]


def test_only_the_empirical_correction_knows_of_earlier_layers():
    constants = {"w": draw(32, 32, scale=0.3), "v": draw(32, 32, seed=1, scale=0.3)}
    feeds = {"x": correlated(4000, 0)}
    truth = run(layers("w", "v", **constants), feeds)[1]
    off = {}
    for how in ("none", "analytic", "empirical"):
        model = quantized(layers("w", "v", **constants), feeds, weight_bits=4, bias_correction=how)
        off[how] = np.abs((run(model, feeds)[1] - truth).mean(axis=0)).mean()
    assert 3 * off["empirical"] < off["analytic"] < off["none"]


def test_the_bias_may_stand_in_an_addition_behind():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Add", ["a", "b"], "y"),
        node("Relu", ["y"], "z"),
    ]
    inputs = [tensor("x", shape=["n", "s", 32])]
    constants = {"w": draw(32, 8, scale=0.3), "b": draw(8, seed=2)}
    model = opened(nodes, inputs, ["y", "z"], constants)
    feeds = {"x": correlated(2000, 0).reshape(200, 10, 32)}
    truth = run(model, feeds)[0]
    plain = quantized(opened(nodes, inputs, ["y", "z"], constants), feeds, weight_bits=4)
    found = quantized(
        opened(nodes, inputs, ["y", "z"], constants), feeds, weight_bits=4, rounding="learned"
    )
    errors = [run(each, feeds)[0] - truth for each in (plain, found)]
    assert np.square(errors[1]).mean() < np.square(errors[0]).mean() / 4
    assert np.abs(errors[1].mean(axis=(0, 1))).max() < 0.02 * errors[1].std()
    # The float bias is another constant now, and the old one is gone.
    assert "b" not in found.graph.initializers


def test_what_is_worse_at_the_output_is_undone(monkeypatch):
    def spoil(model, *_, **__):
        scales = model.graph.initializers["w_scale"]
        scales.const_value = ir.tensor(scales.const_value.numpy() * np.float32(1.5))
        return {}

    constants = {"w": draw(32, 32, scale=0.3)}
    feeds = {"x": correlated(400, 0)}
    monkeypatch.setattr(static_module, "learn", spoil)
    notes: list[str] = []
    found = quantized(layers("w", **constants), feeds, rounding="learned", notes=notes)
    assert bytes_of(found) == bytes_of(quantized(layers("w", **constants), feeds))
    assert notes[0].startswith("codes were left as they were: the error at the output was")


def test_whole_batches_are_drawn_each_as_likely_as_any_other():
    batches = [{"x": np.full((64, 2), number)} for number in range(40)]
    counts = np.zeros(40)
    for seed in range(300):
        numbers = [int(batch["x"][0, 0]) for batch in drawn(batches, seed)]
        assert len(numbers) == 8 and numbers == sorted(numbers)
        counts[numbers] += 1
    # 60 of 300 each; six standard deviations.
    assert np.abs(counts - 60).max() < 6 * np.sqrt(300 * 0.2 * 0.8)
    assert len(drawn([{"x": np.zeros((5000, 1))}] * 3, 0)) == 1
