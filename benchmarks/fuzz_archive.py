"""An hour of a coverage-guided fuzzer on the readers of archives and of the files they hold.

    python benchmarks/fuzz_archive.py WORK [--seconds 3600] [--keep]

What it calls, and what counts as a failure, is in tests/storage/fuzz.py; it starts from
tests/storage/seeds. With atheris (libFuzzer) installed, that guides it; without, a loop of its own,
which keeps every input that reaches a line no other has reached. WORK collects the inputs; --keep
replaces the seeds of the tests by a few small ones that reach all the lines that WORK reaches.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "tests" / "storage" / "seeds"
STORAGE = str(ROOT / "src" / "lissom" / "storage")
LONGEST, LONGEST_SEED, MOST_SEEDS = 4096, 1024, 250
ROUND = 200

sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def seeds(folder: Path) -> list[bytes]:
    """Every input in a folder, the shortest first."""
    found = [path.read_bytes() for path in folder.glob("*") if path.is_file()]
    return sorted(set(found), key=lambda data: (len(data), data))


def guided(work: Path, seconds: int) -> None:
    """Run libFuzzer through atheris, in processes that end before what atheris keeps of every run
    (about 20 kB; the readers keep nothing) fills the memory."""
    ends = time.monotonic() + seconds
    while (left := round(ends - time.monotonic())) > 0:
        command = [sys.executable, __file__, str(work), "--seconds", str(min(left, ROUND))]
        subprocess.run([*command, "--round"], check=True)


def one_round(work: Path, seconds: int) -> None:
    """libFuzzer itself, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["lissom.storage"]):
        from tests.storage import fuzz
    arguments = [
        sys.argv[0], str(work), str(SEEDS), f"-max_total_time={seconds}", f"-max_len={LONGEST}",
        "-timeout=20", "-rss_limit_mb=4000", f"-artifact_prefix={work}/failed-",
        "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    atheris.Setup(arguments, fuzz.target)
    atheris.Fuzz()


def lines_of(target: Callable[[bytes], None], data: bytes) -> set[tuple[CodeType, int]]:
    """The lines of the storage package that an input reaches."""
    reached: set[tuple[CodeType, int]] = set()

    def inside(frame: FrameType, event: str, argument: Any) -> Any:
        reached.add((frame.f_code, frame.f_lineno))
        return inside

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return inside if frame.f_code.co_filename.startswith(STORAGE) else None

    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return reached


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """An input with a few bytes changed, cut, repeated, or taken from another input."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + chance.randint(1, 8))
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        out[at:end] = chance.choice(
            [
                b"",
                bytes(chance.randrange(256) for _ in range(end - at)),
                bytes([chance.choice((0, 1, 127, 128, 255))]) * (end - at),
                out[at:end] * 2,
                other[start : start + chance.randint(1, 32)],
            ]
        )
    return bytes(out[:LONGEST])


def unguided(work: Path, seconds: int) -> None:
    """Mutate inputs at random, and keep those that reach a new line."""
    from tests.storage import fuzz

    chance = random.Random(0)
    corpus = seeds(SEEDS) + seeds(work)
    reached = set().union(*(lines_of(fuzz.target, data) for data in corpus))
    ends, runs = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        data, runs = mutated(chance.choice(corpus), corpus, chance), runs + 1
        try:
            found = lines_of(fuzz.target, data)
        except BaseException:
            (work / f"failed-{runs}").write_bytes(data)
            raise
        if found - reached:
            reached |= found
            corpus.append(data)
            (work / f"new-{runs}").write_bytes(data)
    print(f"{runs:,} inputs, {len(reached):,} lines, {len(corpus):,} kept")


def keep(work: Path) -> None:
    """Replace the seeds by the fewest short inputs that reach what all of them reach."""
    from tests.storage import fuzz

    reached: set[tuple[CodeType, int]] = set()
    chosen = []
    for data in [*seeds(SEEDS), *(d for d in seeds(work) if len(d) <= LONGEST_SEED)]:
        found = lines_of(fuzz.target, data)
        if found - reached and len(chosen) < MOST_SEEDS:
            reached |= found
            chosen.append(data)
    for path in SEEDS.glob("*"):
        path.unlink()
    for number, data in enumerate(chosen):
        (SEEDS / f"{number:03d}").write_bytes(data)
    print(f"{len(chosen)} seeds, {sum(map(len, chosen)):,} bytes, {len(reached):,} lines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--round", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--unguided", action="store_true", help="the loop of its own")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.keep:
        keep(asked.work)
        return
    asked.unguided |= importlib.util.find_spec("atheris") is None
    run = unguided if asked.unguided else one_round if asked.round else guided
    run(asked.work, asked.seconds)


if __name__ == "__main__":
    main()
