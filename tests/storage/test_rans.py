"""rANS: the compiled kernel and NumPy write and read the same streams, near the entropy."""

from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import FormatError
from lissom.storage import kernel, rans
from lissom.storage.coding import contexts
from lissom.storage.frequencies import (
    best_tables,
    entropy_bits,
    fit,
    fit_numpy,
    frequencies,
    read_tables,
    write_tables,
)
from lissom.storage.logarithms import FRACTION, log2

needs_kernel = pytest.mark.skipif(kernel.library() is None, reason="lissom has no compiled kernel")


def bell(size: int, scale: float = 20, seed: int = 0) -> np.ndarray:
    drawn = np.rint(np.random.default_rng(seed).standard_normal(size) * scale)
    return np.clip(drawn, -127, 127).astype(np.int8).view(np.uint8)


def model_of(symbols: np.ndarray, precision: int, context: np.ndarray | None = None) -> rans.Model:
    contexts = 1 if context is None else int(context.max()) + 1
    counts = rans.count(symbols, context, contexts)
    return rans.Model(frequencies(best_tables(counts)[0], precision), precision)


@pytest.mark.parametrize("precision", [12, 14])
@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize(("size", "lanes"), [(1, 1), (37, 16), (5000, 32), (40_001, 1024)])
@needs_kernel
def test_kernel_and_numpy_agree(precision: int, contexts: int, size: int, lanes: int) -> None:
    context = (np.arange(size) % contexts).astype(np.uint8) if contexts > 1 else None
    symbols = bell(size)
    model = model_of(symbols, precision, context)
    compiled = rans.encode(symbols, model, lanes, context)
    plain = rans.encode_numpy(symbols, model, lanes, context)
    assert compiled.words == plain.words
    assert np.array_equal(compiled.states, plain.states)
    out = np.zeros(size, np.uint8)
    rans.decode(compiled, model, out, context)
    assert np.array_equal(out, symbols)


@pytest.mark.parametrize("scale", [0.3, 3, 20, 60])
def test_static_stream_is_within_one_percent_of_its_entropy(scale: float) -> None:
    symbols = bell(1 << 18, scale)
    counts = rans.count(symbols)
    tables, table_bits = best_tables(counts)
    model = rans.Model(frequencies(tables, 14), 14)
    lanes = rans.lanes_for(symbols.size, int(entropy_bits(counts)))
    stream = rans.encode(symbols, model, lanes)
    taken = len(stream.words) + stream.states.nbytes + table_bits / 8
    assert taken < 1.01 * entropy_bits(counts) / 8


def padded(*counts: int) -> np.ndarray:
    return np.array([*counts, *[0] * (256 - len(counts))], np.uint32)


def test_entropy_is_shannons() -> None:
    assert entropy_bits(padded(4, 2, 1, 1)) == pytest.approx(4 * 1 + 2 * 2 + 3 + 3)


def test_logarithms_are_near_the_truth() -> None:
    values = np.concatenate([np.arange(1, 5000), 2 ** np.arange(50), 3 ** np.arange(32)])
    assert np.abs(log2(values) / 2**FRACTION - np.log2(values)).max() < 2**-23


def rows_of_counts() -> np.ndarray:
    """Counts of many symbols and of few, of many different ones and of one, and of none."""
    rng = np.random.default_rng(1)
    rows = [rans.count(bell(size, scale, 3))[0] for size in (9, 500, 30_000) for scale in (1, 40)]
    rows += [rans.count(bell(1 << 18))[0], padded(0, 0, 7), padded(2**26, 0, 1, 5), padded()]
    rows += [rng.integers(0, 3, 256, np.uint32), rng.integers(0, 999, 256, np.uint32)]
    return np.stack(rows)


@needs_kernel
def test_kernel_and_numpy_choose_the_same_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = rows_of_counts()
    counts = counts[counts.any(axis=1)]
    entropy = entropy_bits(counts)
    for rows in (counts, *counts[:, None]):
        compiled, plain = fit(rows), fit_numpy(rows)
        assert np.array_equal(compiled.freqs, plain.freqs)
        assert (compiled.packed, compiled.precision) == (plain.packed, plain.precision)
        assert compiled.bits == plain.bits
    monkeypatch.setattr(kernel, "library", lambda: None)
    assert entropy_bits(counts) == entropy


@needs_kernel
def test_kernel_and_numpy_share_the_same_tables() -> None:
    random_ = np.random.default_rng(0)
    for size in (1, 2, 21, 256):
        scales = random_.uniform(1, 30, size)
        counts = np.stack([rans.count(bell(200, scale, 2))[0] for scale in scales])
        counts[random_.random(size) < 0.3] = 0
        counts[0] = 1
        for ours, theirs in zip(
            contexts.merged(counts), contexts.merged_numpy(counts), strict=True
        ):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("precision", [10, 12, 14])
def test_frequencies_fill_the_slots_and_forget_no_symbol(precision: int) -> None:
    counts = padded(*[1] * 200)
    counts[7] = 10**7
    freqs = frequencies(best_tables(counts[None])[0], precision)[0]
    assert freqs.sum() == 1 << precision
    assert (freqs[:200] > 0).all()


@pytest.mark.parametrize("size", [1, 50, 3000, 300_000])
def test_tables_come_back_from_their_bits(size: int) -> None:
    counts = np.concatenate([rans.count(bell(size, seed=seed)) for seed in range(3)])
    tables, bits = best_tables(counts)
    packed = write_tables(tables)
    assert len(packed) == -(-bits // 8)
    found = read_tables(packed, 3)
    assert np.array_equal(found.levels, tables.levels)
    assert np.array_equal(found.fineness, tables.fineness)
    for damaged in (packed[: len(packed) // 2], packed + b"\0"):
        with pytest.raises(FormatError):
            read_tables(damaged, 3)


@pytest.mark.parametrize("damage", ["words cut", "words added", "state", "context"])
def test_damaged_streams_are_refused(damage: str) -> None:
    symbols = bell(2000)
    context = np.zeros(symbols.size, np.uint8)
    model = model_of(symbols, 12)
    stream = rans.encode(symbols, model, 16, context)
    words, states = stream.words, stream.states.copy()
    if damage == "words cut":
        words = words[:-2]
    elif damage == "words added":
        words += b"\0\0"
    elif damage == "state":
        states[3] = 7
    else:
        context[1999] = 1
    with pytest.raises(FormatError):
        rans.decode(rans.Stream(states, words), model, np.empty(symbols.size, np.uint8), context)
