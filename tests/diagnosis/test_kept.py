"""A killed diagnosis goes on where it was, and ends as one that nobody killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.kept import forget, kept
from lissom.recipe.store import Store
from lissom.report.diagnosis import Diagnosis
from tests.diagnosis.networks import images

STAGES = ("layers", "shares", "repairs", "calibration")


class Killing:
    """A track that counts what is finished of every loop, and is killed in the middle of one."""

    def __init__(self, label: str | None = None) -> None:
        self.label, self.done = label, Counter[str]()

    def __call__(self, items: Iterable, label: str, total: int | None = None) -> Iterator:
        for at, item in enumerate(items):
            if label == self.label and at == 1:
                raise KeyboardInterrupt
            yield item
            self.done[label] += 1


def diagnosed(case, store: Store, track: Killing) -> Diagnosis:
    def make(keep):
        return diagnose(
            case.original,
            case.healthy,
            case.batches,
            calibration=images(seed=5),
            pair_sums=True,
            keep=keep,
            track=track,
        )

    return kept(store, "key", make)


@pytest.fixture(scope="module")
def unbroken(healthy) -> tuple[Diagnosis, Counter[str]]:
    """What comes of it without a store, and how long each stage is."""
    case, track = healthy["residual", "full"], Killing()
    found = diagnose(
        case.original, case.healthy, case.batches, calibration=images(seed=5), pair_sums=True,
        track=track,
    )  # fmt: skip
    return found, track.done


def test_killed_in_every_stage_it_ends_with_the_same_bits(unbroken, healthy, tmp_path):
    found, whole = unbroken
    case, store = healthy["residual", "full"], Store(tmp_path)
    assert set(STAGES) <= set(whole)
    for stage in STAGES:
        with pytest.raises(KeyboardInterrupt):
            diagnosed(case, store, Killing(stage))
        assert not list(store.records.iterdir()), "a part of it would pass for the whole"
    parts = [json.loads(each.read_text())["value"] for each in tmp_path.glob("work/key/records/*")]
    # The layers' sums, every share and every gain, and the outputs' error with what saturates where
    # this machine adds exactly; of the data that differ, nothing.
    emulated = found.emulated_error is not None
    assert len(parts) == 1 + whole["shares"] + whole["repairs"] + emulated
    last = Killing()
    again = diagnosed(case, store, last)
    assert again.model_dump_json() == found.model_dump_json()
    assert again == found
    assert "layers" not in last.done and last.done["calibration"] == whole["calibration"]
    assert not (tmp_path / "work" / "key").exists()


def test_what_is_finished_is_not_made_again(unbroken, tmp_path):
    found, _ = unbroken
    store = Store(tmp_path)
    assert kept(store, "key", lambda keep: found) == found
    assert kept(store, "key", lambda keep: pytest.fail("it was made again")) == found
    forget(store)
    other = found.model_copy(update={"samples": 1})
    assert kept(store, "key", lambda keep: other) == other


def test_a_damaged_part_and_what_failed_are_made_again(unbroken, tmp_path):
    found, _ = unbroken
    store = Store(tmp_path)
    made: list[float] = []

    def make(keep, failing: bool) -> Diagnosis:
        keep("number", lambda: made.append(1.0) or float("inf"))
        if failing:
            raise ValueError("fails")
        assert keep("number", lambda: pytest.fail("it is there")) == float("inf")
        return found

    with pytest.raises(ValueError, match="fails"):
        kept(store, "key", lambda keep: make(keep, True))
    (part,) = tmp_path.glob("work/key/records/*")
    part.write_bytes(part.read_bytes()[:-3])
    assert kept(store, "key", lambda keep: make(keep, False)) == found
    assert len(made) == 2
