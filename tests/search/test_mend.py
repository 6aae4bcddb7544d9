"""A repair that fails leaves the search what it has found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lissom.errors import FormatError, LissomError, ModelError, RunError
from lissom.search import mend
from lissom.search.mend import Repairing


@pytest.mark.parametrize("kind", [ModelError, RunError, FormatError])
def test_a_repair_that_fails_is_told(kind: type[LissomError], monkeypatch: Any) -> None:
    def failing(*_: object, **__: object) -> Any:
        raise kind("no memory is left")
        yield

    row: Any = SimpleNamespace(name="int8 static")
    attempts: Any = SimpleNamespace(
        rows=[row],
        recipes={row.name: None},
        files={row.name: None},
        store=None,
        skipped=[],
        costs=SimpleNamespace(again=lambda recipe: 0.0),
        no_time_for=lambda name, seconds: False,
        ready=SimpleNamespace(
            context=SimpleNamespace(calibration=[]),
            prepared=SimpleNamespace(original=None),
            request=SimpleNamespace(techniques=None, track=None),
        ),
    )
    monkeypatch.setattr(mend, "repairable", lambda rows, recipes: rows)
    monkeypatch.setattr(mend, "repairs", failing)
    monkeypatch.setattr(Repairing, "_wanted", lambda self, row: True)
    Repairing(attempts).of([row])
    (told,) = attempts.skipped
    assert (told.name, told.why) == ("int8 static, repaired", "failed: no memory is left")
