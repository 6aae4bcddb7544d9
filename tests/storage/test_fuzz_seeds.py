"""What a coverage-guided fuzzer found worth keeping (benchmarks/fuzz_archive.py), once more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage import fuzz

SEEDS = sorted((Path(__file__).parent / "seeds").glob("*"))


def test_there_are_seeds_for_every_part() -> None:
    assert {path.read_bytes()[0] % len(fuzz.PARTS) for path in SEEDS} == {0, 1, 2, 3}


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.name)
def test_a_seed_is_read_or_refused_by_both_readers_alike(path: Path) -> None:
    fuzz.target(path.read_bytes())
