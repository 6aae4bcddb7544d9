"""Which layers are told of, and whether what they are told to do is a setting that is taken."""

from __future__ import annotations

import pytest

from lissom.diagnosis.remedies import remedy_for
from lissom.diagnosis.verdict import enough, with_verdicts
from lissom.diagnosis.written import written
from lissom.quantize.dynamic import Dynamic
from lissom.quantize.mixed import Mixed
from lissom.quantize.static import Static
from lissom.quantize.weight_only import WeightOnly
from lissom.recipe.schema import Step
from lissom.report.diagnosis import Channels, Diagnosis, Gain, Grid, LayerError, LayerTime, Parts

GRID = Grid(low=-1.0, high=1.0, counts=(1,), clip_low=-1.0, clip_high=1.0)
CONFIGS = {
    "quantize.static": Static,
    "quantize.dynamic": Dynamic,
    "quantize.weight_only": WeightOnly,
    "quantize.mixed": Mixed,
}
CAUSES = ("weights", "rounding", "clipping", "saturation", "bias", "unexplained")


def layer(name="conv", share=0.01, added=1e-4, cause="rounding", **more) -> LayerError:
    facts = {"grid": GRID, "weight_bits": 8, "weight": f"{name}.weight"} | more
    parts = Parts() if cause == "unexplained" else Parts(**{cause: added})
    return LayerError(
        name=name, op_type="Conv", output="y", added=added, accumulated=added, share=share,
        parts=parts, **facts,
    )  # fmt: skip


def diagnosis(*layers: LayerError, error: float = 1e-3, samples: int = 128) -> Diagnosis:
    return Diagnosis(
        original="a", compressed="b", inputs="", samples=samples, output_error=error,
        pair_sums=True, layers=layers,
    )  # fmt: skip


def told(*layers: LayerError, **more) -> list:
    return list(with_verdicts(diagnosis(*layers, **more)).verdicts)


def test_a_small_share_whose_error_adds_up_with_others_is_told_of_by_what_goes() -> None:
    grid = GRID.model_copy(update={"clipped": 0.02})
    small = {"share": 0.02, "cause": "clipping", "grid": grid}
    others = [layer(f"other{at}", 0.08) for at in range(12)]
    assert told(layer(**small), *others)[0].layer is None
    gains = {"layer": Gain(part=0.4, error=0.02), "clipping": Gain(part=0.38, error=0.02)}
    first = told(layer(**small, gains=gains), *others)[0]
    assert (first.layer, first.cause, first.gain) == ("conv", "clipping", pytest.approx(0.38))
    assert "exact by itself it takes away 40 %" in first.words
    # What is too uncertain to foretell counts by its share.
    loose = {"layer": Gain(part=0.4, error=0.3)}
    assert told(layer(**small, gains=loose), *others)[0].layer is None


def test_what_saturates_is_ordered_by_what_goes_as_all_else_is() -> None:
    one = layer("one", 0.5, cause="saturation", gains={"layer": Gain(part=0.1, error=0.01)})
    other = layer("other", 0.3, cause="saturation", gains={"layer": Gain(part=0.6, error=0.01)})
    assert [each.layer for each in told(one, other)] == ["other", "one"]


@pytest.mark.parametrize(("bits", "wide", "left"), [(2, 4, 16), (3, 5, 16), (4, 6, 16), (7, 8, 4)])
def test_a_layer_of_few_bits_is_to_have_more(bits: int, wide: int, left: int) -> None:
    found = layer(
        "a[0]", 0.6, cause="weights", weight_bits=bits, gains={"layer": Gain(part=0.5, error=0.02)}
    )
    time = LayerTime(name="a[0]", original=1, compressed=1, bytes=(64_000, 8_000))
    remedy = remedy_for(found, "weights", time)
    assert remedy.config == {"layer_bits": {"a[[]0]": wide}}
    assert remedy.bytes == 2_000 * (wide - bits)
    assert f"{wide} bits for this layer: quantize.static with layer_bits: {{'a[[]0]': {wide}}}" in (
        remedy.words
    )
    (verdict,) = told(found, *(layer(f"other{at}", 0.04) for at in range(10)))
    assert f"{bits}-bit weights make 100 % of what it adds" in verdict.words
    assert verdict.gain == pytest.approx(0.5 * (1 - 1 / left))


def test_layers_in_several_forms_are_told_of_as_settings_of_mixed_precision() -> None:
    packed = layer("a", cause="weights", weight_bits=2, grid=None)
    moving = layer("b", grid=GRID.model_copy(update={"dynamic": True}))
    plain, table = layer("c"), packed.model_copy(update={"op_type": "Gather", "weight_bits": 4})
    kept = {
        each.name: remedy_for(written(each, (packed, moving, plain)), "unexplained").config
        for each in (packed, moving, plain)
    }
    assert kept == {name: {"layers": {name: "float32"}} for name in "abc"}
    more = remedy_for(written(packed, (packed, plain)), "weights")
    assert (more.technique, more.config) == ("quantize.mixed", {"layers": {"a": "w4"}})
    alone = remedy_for(packed, "weights")
    assert alone.config == {"default": "w2", "layers": {"a": "w4"}}
    # Tables are packed beside layers of any form.
    assert written(plain, (plain, table)).whole == "quantize.static"
    assert remedy_for(written(table, (plain, table)), "weights").config == {"embeddings": 8}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"weight_bits": 3},
        {"grid": GRID.model_copy(update={"dynamic": True})},
        {"grid": None, "weight_bits": 4},
        {"weight_bits": None},
        {"channels": (Channels(axis="activation", count=8, worst=(1,), spread=20.0),)},
    ],
)
@pytest.mark.parametrize("beside", [(), ({"grid": None, "weight_bits": 2},)])
def test_every_remedy_is_a_setting_of_its_technique(cause, form, beside) -> None:
    one = layer("/a[0]/b*", cause=cause, **form)
    others = [layer("other", **each) for each in beside]
    remedy = remedy_for(written(one, [one, *others]), cause)
    if remedy.technique in CONFIGS:
        CONFIGS[remedy.technique](**remedy.config)
    for name, value in remedy.config.items():
        assert f"{name}: " in remedy.words or not isinstance(value, (list, dict))


@pytest.mark.parametrize("cause", ["rounding", "clipping"])
def test_a_layer_that_was_left_float_is_not_told_to_be(cause: str) -> None:
    """The user excluded it, and what it reads is rounded for others."""
    remedy = remedy_for(layer(weight_bits=None), cause)
    assert remedy.words.startswith("it is float already, and reads what is rounded for the layers")
    assert set(remedy.config) == {"observer"}
    assert remedy_for(layer(weight_bits=None), "unexplained").words == ""
    # What has no weights can be left float itself.
    assert "keep_float" in remedy_for(layer(weight="", weight_bits=None), "unexplained").config


def test_a_layer_without_a_name_is_called_by_its_weight() -> None:
    found = layer("tensor", named=False)
    assert remedy_for(found, "unexplained").config == {"keep_float": ["tensor.weight"]}
    assert remedy_for(found.model_copy(update={"weight": ""}), "unexplained").config == {}


def test_too_few_samples_for_a_gain_say_how_many_would_do() -> None:
    uncertain = Gain(part=0.3, error=0.15)
    assert enough(uncertain, 32) == 80  # 32 x (0.15 / 0.1)^2 = 72
    assert enough(Gain(part=0.3, error=0.09), 32) is None, "known"
    assert enough(uncertain, 100) is None, "gains take 128 samples at most"
    assert enough(Gain(part=-0.3, error=0.2), 32) is None
    (verdict,) = told(layer(share=0.9, cause="bias", gains={"layer": uncertain}), samples=32)
    assert "too uncertain to foretell: about 80 samples would do" in verdict.words


def test_few_bits_everywhere_are_not_called_healthy() -> None:
    even = [layer(f"l{at}", 0.05, cause="weights", weight_bits=4) for at in range(20)]
    (verdict,) = told(*even, error=0.04)
    assert verdict.cause == "weights"
    assert verdict.remedy == "quantize.static with rounding: learned, or more bits"
    assert [each.cause for each in told(*even, error=0.004)] == ["healthy"]
    wide = [each.model_copy(update={"weight_bits": 8}) for each in even]
    assert [each.cause for each in told(*wide, error=0.04)] == ["healthy"]


def test_what_the_recipe_has_already_is_no_remedy() -> None:
    config = {"rounding": "learned", "bias_correction": "empirical", "weight_bits": 4}
    steps = (Step(technique="graph.optimize"), Step(technique="quantize.static", config=config))
    for cause, gone in (("weights", "rounding"), ("bias", "bias_correction"), ("rounding", "auto")):
        one = layer(cause=cause, weight_bits=4)
        assert gone in remedy_for(written(one), cause).words
        kept = remedy_for(written(one, (one,), steps), cause)
        assert gone not in kept.words and kept.words
    other = (Step(technique="quantize.static", config={"observer": "minmax"}),)
    assert "observer: auto" in remedy_for(written(layer(), (layer(),), other), "rounding").words
    assert "learned" in remedy_for(written(layer(), (layer(),), other), "weights").words
