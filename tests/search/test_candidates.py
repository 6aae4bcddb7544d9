"""Which recipes are proposed for which model, and the reasons for those that are not."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import pytest

from lissom.errors import ModelError, RequestError
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.search.candidates import BASELINE, left_alone, propose
from lissom.search.weights import Weights, weights_of
from lissom.technique import Context
from tests import models

DENSE = Weights(linear=9_000, tables=0, convolutions=0, floats=10_000, total=10_000)
ENCODER = Weights(linear=5_000, tables=5_000, convolutions=0, floats=10_000, total=10_000)
IMAGES = Weights(linear=500, tables=0, convolutions=9_500, floats=10_000, total=10_000)


def proposed(weights: Weights, *, task: bool = True, only: tuple[str, ...] = ()) -> set[str]:
    recipes, _ = propose(weights, calibrated=task, judged=task, only=only)
    return {recipe.name for recipe in recipes}


def reasons(weights: Weights, *, task: bool = True, only: tuple[str, ...] = ()) -> dict[str, str]:
    _, skipped = propose(weights, calibrated=task, judged=task, only=only)
    return {each.name: each.why for each in skipped}


def test_weights_are_counted_once_by_what_reads_them() -> None:
    found = weights_of(ir.serde.deserialize_model(models.two_input()))
    assert found.tables == 50 * 24 * 4
    assert found.linear == (32 * 48 + 48 * 3) * 4
    assert found.convolutions == 0
    assert found.floats == found.tables + found.linear + (48 + 3) * 4
    assert found.total >= found.floats
    images = weights_of(ir.serde.deserialize_model(models.depthwise()))
    # The stem, of three channels, stays float.
    assert images.convolutions == (16 * 9 + 64 * 16) * 4


def test_every_recipe_begins_with_the_baseline_and_has_its_own_name() -> None:
    recipes, skipped = propose(ENCODER, calibrated=True, judged=True)
    assert [each.name for each in skipped] == ["int8 static, learned"]
    assert all(recipe.steps[:1] == BASELINE.steps for recipe in recipes)
    for recipe in recipes:
        for step in recipe.steps:
            step.settings()
    assert len({recipe.name for recipe in recipes}) == len(recipes) == 9


def test_without_a_task_nothing_is_built_that_only_a_task_can_judge() -> None:
    assert proposed(DENSE, task=False) == {
        "float32, optimized", "float16 storage", "int8 dynamic", "8-bit weights",
    }  # fmt: skip
    why = reasons(DENSE, task=False)
    assert why["int8 static"] == "needs calibration data, and no task brings any"
    assert why["4-bit weights"] == "below 8 bits quality must be measured, and no task does"


def test_images_are_not_packed_and_say_why() -> None:
    assert "int8 static" in proposed(IMAGES)
    assert "int8 dynamic" not in proposed(IMAGES)
    assert reasons(IMAGES)["8-bit weights"] == (
        "matrix products hold too little of this model's weights"
    )


def test_static_packs_a_large_table_unless_techniques_are_narrowed() -> None:
    recipes, _ = propose(ENCODER, calibrated=True, judged=True)
    static = next(recipe for recipe in recipes if recipe.name == "int8 static")
    assert [step.technique for step in static.steps] == [
        "graph.optimize", "quantize.weight_only", "quantize.static",
    ]  # fmt: skip
    (alone, narrow), _ = propose(ENCODER, calibrated=True, judged=True, only=("quantize.static",))
    for recipe in (alone, narrow):
        assert [step.technique for step in recipe.steps] == ["graph.optimize", "quantize.static"]


def test_learned_rounding_alone_is_for_convolutions() -> None:
    assert "int8 static, learned" in proposed(IMAGES)
    assert "inputs" in reasons(ENCODER)["int8 static, learned"]


def test_embeddings_of_four_bits_need_an_embedding() -> None:
    assert "int8 dynamic, 4-bit embeddings" in proposed(ENCODER)
    assert reasons(DENSE)["int8 dynamic, 4-bit embeddings"] == "no large embedding table"


def test_techniques_narrow_the_choice() -> None:
    assert proposed(DENSE, only=("quantize.static",)) == {
        "int8 static", "int8 static, 4-bit weights",
    }  # fmt: skip
    assert proposed(ENCODER, only=("quantize.weight_only", "quantize.dynamic")) == {
        "int8 dynamic", "int8 dynamic, 4-bit embeddings", "8-bit weights", "4-bit weights",
        "2-bit weights",
    }  # fmt: skip
    assert reasons(DENSE, only=("graph.optimize",))["int8 dynamic"] == "left out by --technique"


def test_an_unknown_technique_offers_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"unknown technique 'quantize\.statc'") as caught:
        propose(DENSE, calibrated=True, judged=True, only=("quantize.statc",))
    assert "did you mean 'quantize.static'?" in str(caught.value.fix)


def test_a_technique_that_fits_nothing_says_why() -> None:
    with pytest.raises(RequestError, match="none of the techniques quantize.dynamic") as caught:
        propose(IMAGES, calibrated=True, judged=True, only=("quantize.dynamic",))
    assert "matrix products hold too little" in str(caught.value.where)
    with pytest.raises(RequestError) as caught:
        propose(DENSE, calibrated=False, judged=False, only=("quantize.static",))
    assert "needs calibration data" in str(caught.value.where)


@pytest.mark.parametrize("total", [0, 10_000])
def test_nothing_to_quantize_is_refused(total: int) -> None:
    weights = Weights(linear=0, tables=0, convolutions=0, floats=0, total=total)
    with pytest.raises(ModelError, match="nothing to (compress|quantize)"):
        propose(weights, calibrated=True, judged=True)


def test_a_quantized_model_can_still_be_tidied_on_request() -> None:
    weights = Weights(linear=0, tables=0, convolutions=0, floats=0, total=10_000)
    assert proposed(weights, only=("graph.optimize",)) == {"float32, optimized"}


def test_weights_of_other_operators_can_be_stored_in_half() -> None:
    recurrent = Weights(linear=0, tables=0, convolutions=0, floats=9_000, total=9_000)
    assert proposed(recurrent) == {"float32, optimized", "float16 storage"}


def test_what_is_quantized_already_is_named_when_nothing_is_left() -> None:
    model = ir.serde.deserialize_model(models.mlp())
    done = weights_of(dynamic(model, Dynamic(), Context()))
    assert done.quantizable == done.halves == 0
    with pytest.raises(ModelError) as refused:
        propose(done, calibrated=True, judged=True)
    assert "quantized already: 1.3 kB in 2 tensors for MatMulInteger" in refused.value.what
    assert "biases, norms, scales" in refused.value.what
    recipes, _ = propose(done, calibrated=True, judged=True, only=("graph.optimize",))
    assert [recipe.name for recipe in recipes] == [BASELINE.name]


def test_what_is_left_of_a_half_quantized_model_is_gone_on_with() -> None:
    half = weights_of(
        dynamic(
            ir.serde.deserialize_model(models.mlp(hidden=256)),
            Dynamic(keep_float=("fc1*",)),
            Context(),
        )
    )
    assert half.linear == half.halves == 16 * 256 * 4
    assert "int8 dynamic" in proposed(half)
    assert left_alone(half) == [
        "Quantized already and left as it is: 1.3 kB in 1 tensor for MatMulInteger."
    ]


def test_weights_in_bodies_are_told_and_alone_refused() -> None:
    some = dataclasses.replace(DENSE, bodies={"If": 5_000, "Loop": 100})
    assert left_alone(some) == [
        "Left as they are: 5.0 kB of weights in the body of If and 100 B of weights in the body "
        "of Loop."
    ]
    alone = Weights(0, 0, 0, 0, 24, bodies={"If": 5_000})
    with pytest.raises(ModelError, match="5.0 kB of weights in the body of If, and lissom") as told:
        propose(alone, calibrated=True, judged=True)
    assert "one of the branches" in (told.value.fix or "")
