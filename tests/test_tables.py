"""Tables: they go to JSON and back, and predict an allocation by adding up."""

from __future__ import annotations

import json
import math
from typing import NoReturn

import pytest
import yaml
from pydantic import ValidationError

from lissom.errors import RequestError
from lissom.tables import (
    Allocation,
    Change,
    LatencyTable,
    LayerSensitivity,
    Pair,
    Sensitivity,
    SizeTable,
)

SENSITIVITY = Sensitivity(
    model="sha256:ab",
    data="cd",
    samples=8,
    formats=("w8a8", "w4"),
    layers=(
        LayerSensitivity(
            name="a", module="net.a", op_type="Conv", weights=9, errors={"w8a8": 0.25}
        ),
        LayerSensitivity(name="b", op_type="MatMul", weights=6, errors={"w8a8": 0.125, "w4": 0.5}),
    ),
    whole={"w8a8": 0.4, "w4": 0.5},
    pairs=(Pair(one="a", other="b", format="w8a8", predicted=0.375, measured=0.4),),
    lost={"w4": ("c",)},
)
SIZES = SizeTable(
    layers={"a": {"float32": 36, "w8a8": 13}, "b": {"float32": 24, "w8a8": 10, "w4": 7}}, rest=100
)
TIMES = LatencyTable(
    target="onnxruntime",
    machine="ef",
    threads=1,
    feeds="01",
    layers={"a": {"float32": 4.0, "w8a8": 1.0}, "b": {"float32": 2.0, "w8a8": 1.0}},
    changes=(
        Change(tensor="image", before=None, after="a", ms=0.5),
        Change(tensor="between", before="a", after="b", ms=0.25),
        # The same tensor, read once more.
        Change(tensor="between", before="a", after=None, ms=0.25),
    ),
    rest=0.125,
)
OVERFLOWING = LayerSensitivity(name="a", op_type="Conv", weights=9, errors={"w4": float("inf")})
BOTH = Allocation(formats={"a": "w8a8", "b": "w8a8"}, error=0.375, bytes=123, ms=2.875)


@pytest.mark.parametrize("table", [SENSITIVITY, SIZES, TIMES, BOTH, OVERFLOWING])
def test_a_table_comes_back_from_json_and_yaml(table: Sensitivity) -> None:
    kind = type(table)
    assert kind.model_validate_json(table.model_dump_json()) == table
    assert (
        kind.model_validate(yaml.safe_load(yaml.safe_dump(table.model_dump(mode="json")))) == table
    )


def refused(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def test_an_error_of_outputs_that_overflow_is_null_in_json_and_was_infinity_before() -> None:
    whole = {"w8a8": math.inf, "w4": math.nan}
    pair = Pair(one="a", other="b", format="w4", predicted=math.inf, measured=0.5)
    table = SENSITIVITY.model_copy(update={"layers": (OVERFLOWING,), "pairs": (pair,)})
    table = Sensitivity.model_validate(table.model_dump() | {"whole": whole})
    written = table.model_dump_json()
    told = json.loads(written, parse_constant=refused)
    assert told["layers"][0]["errors"] == {"w4": None}
    assert told["whole"] == {"w8a8": None, "w4": None}
    assert told["pairs"][0]["predicted"] is None
    read = Sensitivity.model_validate_json(written)
    assert read == table
    assert (read.layers[0].errors, read.whole["w4"]) == ({"w4": math.inf}, math.inf)
    before = written.replace('{"w4":null}', '{"w4":Infinity}')
    assert before != written
    assert Sensitivity.model_validate_json(before) == table


def test_errors_add_up_and_float_has_none() -> None:
    assert SENSITIVITY.predict(BOTH) == 0.375
    assert SENSITIVITY.predict(Allocation(formats={"b": "w4", "a": "float32"})) == 0.5
    assert SENSITIVITY.predict(Allocation(formats={})) == 0.0


def test_bytes_of_a_layer_that_is_not_named_are_those_of_floats() -> None:
    assert SIZES.predict(BOTH) == 123
    assert SIZES.predict(Allocation(formats={"b": "w4"})) == 143


def test_a_change_of_format_costs_once_for_a_tensor() -> None:
    # The input becomes codes, and what lies between becomes floats again for the graph's output.
    assert TIMES.predict(BOTH) == 2 + 0.5 + 0.25 + 0.125
    assert TIMES.predict(Allocation(formats={"a": "w8a8"})) == 3 + 0.5 + 0.25 + 0.125
    assert TIMES.predict(Allocation(formats={})) == 6.125


@pytest.mark.parametrize(("table", "name"), [(SENSITIVITY, "a"), (SENSITIVITY, "x"), (SIZES, "a")])
def test_what_was_not_measured_is_refused(table: Sensitivity, name: str) -> None:
    with pytest.raises(RequestError, match=f"'{name}' was not measured in w4"):
        table.predict(Allocation(formats={"a": "float32", name: "w4"}))


@pytest.mark.parametrize(
    "wrong", [{"formats": {"a": "w9a8"}}, {"formats": {}, "colour": 1}, {"formats": {"a": 8}}]
)
def test_an_allocation_with_a_mistake_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Allocation.model_validate(wrong)
