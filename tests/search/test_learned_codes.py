"""What learned codes leave of predicted errors: of which formats, and measured against what."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from lissom.batches import Batches
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.search import mixed
from lissom.search.budget import Budget
from lissom.search.candidates import BASELINE
from lissom.search.comparable import file_error
from lissom.search.layer_tables import Tables
from lissom.search.learned_codes import left_by_learning, with_learned
from lissom.search.mixed import Mixing
from lissom.tables import Allocation, Format, LayerSensitivity, Sensitivity, SizeTable
from lissom.targets.named import find_target
from lissom.technique import Context, silent
from tests import models

if TYPE_CHECKING:
    from lissom.report.results import Row
    from lissom.search.attempts import Attempts

ERRORS: dict[Format, float] = {
    "float16": 1e-6, "w8a8": 0.01, "w4a8": 0.5, "w8a8 dynamic": 0.02, "w8": 0.0001, "w4": 0.3,
}  # fmt: skip
NAMES = tuple(f"layer{at}" for at in range(4))
NARROW, WIDE = "int8 static, 4-bit weights", "int8 static, learned"


def tables(errors: dict[Format, float] = ERRORS) -> Tables:
    layers = tuple(
        LayerSensitivity(name=name, op_type="MatMul", weights=100, errors=errors) for name in NAMES
    )
    sizes: dict[Format, int] = {
        "float32": 400, "float16": 200, "w8a8": 110, "w8a8 dynamic": 120, "w8": 100, "w4a8": 60,
        "w4": 60,
    }  # fmt: skip
    return Tables(
        Sensitivity(model="m", data="d", samples=1, formats=tuple(errors), layers=layers),
        SizeTable(layers=dict.fromkeys(NAMES, sizes), rest=0),
        None,
        (),
    )


def test_only_formats_that_learn_their_codes_are_scaled() -> None:
    for layer in with_learned(tables(), 0.25).sensitivity.layers:
        assert layer.errors == {**ERRORS, "w8a8": 0.0025, "w4a8": 0.125}


def tried(path: Path, files: dict[str, Recipe], store: Store) -> tuple[Attempts, Any]:
    """A search that has built such files, and what measures the error of one."""
    source = Built(path, "net")
    batch = models.feeds(models.encoder(vocabulary=1200), 32)
    context = Context(calibration=Batches(lambda: iter([batch])))
    target = find_target()
    found = SimpleNamespace(
        ready=SimpleNamespace(
            context=context, prepared=SimpleNamespace(built=source), targets=[target]
        ),
        store=store,
        recipes=files,
        files={name: run(recipe, source, context, store) for name, recipe in files.items()},
    )

    def error(recipe: Recipe) -> float:
        built = run(recipe, source, context, store)
        measured = file_error(target.open, path, built.path, [batch])
        assert measured is not None
        return measured

    return cast("Attempts", found), error


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Attempts, Any]:
    """A network whose table the narrow file stores in 4 bits; its codes are of nearest rounding."""
    folder = tmp_path_factory.mktemp("encoder")
    path = models.saved(models.encoder(vocabulary=1200), folder / "net.onnx")
    packed = Step(technique="quantize.weight_only", config={"layers": False, "embeddings": 4})
    narrow = Step(technique="quantize.static", config={"weight_bits": 4})
    wide = Step(technique="quantize.static")
    recipes = {
        NARROW: Recipe(name=NARROW, steps=(*BASELINE.steps, packed, narrow)),
        WIDE: Recipe(name=WIDE, steps=(*BASELINE.steps, wide)),
    }
    return tried(path, recipes, Store(folder / "store"))


def test_a_table_in_4_bits_is_no_error_of_codes(encoder: tuple[Attempts, Any]) -> None:
    attempts, error = encoder
    narrow = attempts.recipes[NARROW]
    plain = Recipe(name="plain", steps=(*BASELINE.steps, narrow.steps[-1]))
    left = left_by_learning(attempts, tables(), 4)
    assert left == pytest.approx(error(plain) / (4 * 0.5), rel=0.1)
    # Not the whole error of that file.
    assert left < 0.8 * error(narrow) / (4 * 0.5)


def test_where_outputs_overflow_another_file_tells_or_nothing_is_scaled(
    encoder: tuple[Attempts, Any],
) -> None:
    attempts, error = encoder
    overflowing = tables(ERRORS | {"w4a8": math.inf})
    left = left_by_learning(attempts, overflowing, 4)
    assert left == pytest.approx(error(attempts.recipes[WIDE]) / (4 * 0.01), rel=0.1)
    assert left_by_learning(attempts, tables(ERRORS | {"w4a8": math.inf, "w8a8": math.inf}), 4) == 1
    assert left_by_learning(attempts, tables({"w4": 0.1}), 4) == 1


class Searched(Mixing):
    """A search that builds nothing."""

    def __init__(self, budget: Budget) -> None:
        ready = SimpleNamespace(
            budget=budget, request=SimpleNamespace(settings=None, objective="size", track=silent)
        )
        costs = SimpleNamespace(keep=lambda *_: None)
        attempts = SimpleNamespace(
            ready=ready, store=None, rows=[], costs=costs, no_time_for=lambda *_: False
        )
        super().__init__(cast("Attempts", attempts))
        self.made: list[Allocation] = []

    def _why_not(self) -> None:
        return None

    def _formats(self) -> tuple[Format, ...]:
        return tuple(ERRORS)

    def _expected(self, formats: tuple[Format, ...]) -> float:
        return 0.0

    def _rounding(self) -> Any:
        return "nearest"

    def _asked_ms(self) -> float | None:
        return None

    def _built(self, tables: Tables, allocation: Allocation) -> Row | None:
        assert tables.sensitivity.predict(allocation) == allocation.error
        self.made.append(allocation)
        return None


@pytest.mark.parametrize(
    ("left", "form", "error"), [(1.0, "w8", 4 * 0.0001), (0.001, "w8a8", 4 * 0.00001)]
)
def test_codes_that_learn_are_chosen_for_what_learning_leaves(
    monkeypatch: pytest.MonkeyPatch, left: float, form: Format, error: float
) -> None:
    monkeypatch.setattr(mixed, "tables_of", lambda *_: tables())
    monkeypatch.setattr(mixed, "left_by_learning", lambda *_: left)
    search = Searched(Budget(size="440B"))
    search.of()
    (made,) = search.made
    assert set(made.formats.values()) == {form}
    assert made.error == pytest.approx(error)
    # What could have been built instead is predicted the same way.
    assert min(each.error for each in search.front) == pytest.approx(error)
