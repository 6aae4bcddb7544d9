"""Results read back from a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lissom.errors import FolderError
from lissom.report.results import Results
from lissom.report.stored import read_stored
from tests.report.invented import fidelity, row


def test_what_was_written_is_read(results: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    stored = read_stored(tmp_path)
    assert stored.results == results
    assert stored.manifest is None


def test_what_is_no_number_comes_back_as_none_such(results: Results, tmp_path: Path) -> None:
    broken = row("a", 10, None, fidelity(math.nan, 0.0))
    written = results.model_copy(update={"rows": (broken,)}).model_dump_json()
    (tmp_path / "results.json").write_text(written, encoding="utf-8")
    quality = read_stored(tmp_path).results.rows[0].measurement.quality
    assert quality is not None
    assert math.isnan(quality.value.value)


def test_results_of_before_there_were_layers_are_read(results: Results, tmp_path: Path) -> None:
    old = json.loads(results.model_dump_json())
    del old["layers"]
    (tmp_path / "results.json").write_text(json.dumps(old), encoding="utf-8")
    assert read_stored(tmp_path).results.layers == ()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "holds no results of lissom"),
        ("{", "the results are damaged"),
        ('{"model": 3}', "lissom: Field required"),
        ("\udcff", "the results are damaged"),
        ('{"schema_version": 2, "lissom": "9.1"}', "have schema version 2, and this lissom reads"),
        ('{"schema_version": 0}', "have schema version 0, and this lissom reads version 1"),
    ],
)
def test_what_is_not_there_or_damaged_is_said(
    tmp_path: Path, written: str | None, words: str
) -> None:
    if written is not None:
        (tmp_path / "results.json").write_bytes(written.encode("utf-8", "surrogateescape"))
    with pytest.raises(FolderError) as raised:
        read_stored(tmp_path)
    assert words in raised.value.what
    assert raised.value.where == str(tmp_path / "results.json")
    assert raised.value.fix


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError, match="holds no results"):
        read_stored(tmp_path / "file")


def test_what_no_measurement_gives_is_damage(results: Results, tmp_path: Path) -> None:
    written = json.loads(results.model_dump_json())
    for place, value in (("footprint.bytes", 0), ("speed.ratio.low", 0), ("latency.p50", -1)):
        broken = json.loads(json.dumps(written))
        *parents, last = place.split(".")
        at = broken["rows"][0]["measurement"]
        for parent in parents:
            at = at[parent]
        at[last] = value
        (tmp_path / "results.json").write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(FolderError, match=f"damaged.*rows.0.measurement.{place.split('.')[0]}"):
            read_stored(tmp_path)
