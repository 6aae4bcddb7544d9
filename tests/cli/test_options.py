"""Options as text become settings, or an error that says how to write them."""

from __future__ import annotations

import pytest

from lissom.cli.options import read_settings
from lissom.errors import RequestError
from lissom.measurement.records import Settings
from lissom.targets.machine import usable_cores


def test_seconds_are_spread_over_the_processes() -> None:
    found = read_settings(4, ["ids=1x128", "a.b:0=3"], 1, 6.0, 3)
    assert found == Settings(
        batch=4, shapes={"ids": (1, 128), "a.b:0": (3,)}, threads=1, seconds=2.0, processes=3
    )
    assert read_settings(1, None, usable_cores(), 0.3, 1).seconds == 0.3


@pytest.mark.parametrize("text", ["ids", "ids=", "=1x2", "ids=1x", "ids=x2", "ids=1,2", "ids=-1x2"])
def test_a_shape_that_cannot_be_read(text: str) -> None:
    with pytest.raises(RequestError, match="cannot read the shape") as caught:
        read_settings(1, [text], 1, 6.0, 3)
    assert caught.value.fix == "write it like ids=1x128"


def test_more_threads_than_cores() -> None:
    cores = usable_cores()
    with pytest.raises(RequestError, match=f"more than the {cores} cores") as caught:
        read_settings(1, None, cores + 1, 6.0, 3)
    assert f"at most {cores}" in str(caught.value.fix)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_no_time(seconds: float) -> None:
    with pytest.raises(RequestError, match="is no time"):
        read_settings(1, None, 1, seconds, 3)
