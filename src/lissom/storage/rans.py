"""rANS in interleaved lanes: symbols of one byte, static tables, a context for each symbol.

Range asymmetric numeral systems (Duda 2013, arXiv:1311.2540) with 32-bit states refilled by 16-bit
words. Symbol i belongs to lane i mod lanes, and all lanes share one stream of words: a step decodes
a symbol in every lane, then the lanes whose state fell below 2^16 take a word each, in the order of
the lanes. So NumPy decodes a step in a dozen vector operations, and compiled code needs neither
branches nor a length a lane (interleaving: Giesen 2014, arXiv:1402.3392). The encoder starts every
lane at 2^16, which the decoder must find at the end.

The compiled kernel is used where there is one; the functions ending in _numpy do the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lissom.errors import FormatError
from lissom.storage import kernel

LOW = 1 << 16
MOST_LANES = 1 << 14
LONGEST_LANE = 1 << 14
# Lanes that compiled code takes in a few vectors.
VECTORS = 64

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """Frequencies [contexts, 256], each row summing to 2^precision."""

    freqs: NDArray[np.uint32]
    precision: int

    @property
    def contexts(self) -> int:
        return len(self.freqs)

    def spans(self) -> NDArray[np.uint32]:
        """Frequency << 16 | first slot, of each context and symbol."""
        starts = np.cumsum(self.freqs, axis=1, dtype=np.uint32) - self.freqs
        # No context has a frequency of 2^16, precision being 14 at most.
        return self.freqs << np.uint32(16) | starts

    def slots(self) -> Bytes:
        """The symbol of each slot of each context."""
        symbols = np.broadcast_to(np.arange(256, dtype=np.uint8), self.freqs.shape)
        return np.repeat(symbols.ravel(), self.freqs.ravel())


@dataclass(frozen=True)
class Stream:
    """What encoding gives: the state each lane starts decoding with, and the words they share."""

    states: NDArray[np.uint32]
    words: bytes


def lanes_for(size: int, bits: int, beside: int = 0) -> int:
    """How many lanes a stream of `size` symbols in so many bits has, of a tensor that has as many
    bits `beside` it.

    More than 2,048 serve nobody. Two bytes of each lane's first state are lost, which shall not add
    a four-hundredth to the stream; or, up to VECTORS lanes, to the tensor, for fewer decode much
    more slowly. But no lane has more than LONGEST_LANE symbols, lest NumPy takes too long.
    """
    lanes = 1
    while lanes < 2048:
        room = bits + (beside if lanes < VECTORS else 0)
        if lanes * 2 * 16 * 400 > room and size <= lanes * LONGEST_LANE:
            break
        lanes *= 2
    while size > lanes * LONGEST_LANE:
        lanes *= 2
    return lanes


def encode(symbols: Bytes, model: Model, lanes: int, context: Bytes | None = None) -> Stream:
    """Code symbols that all have a frequency in their context."""
    library = kernel.library()
    if library is None:
        return encode_numpy(symbols, model, lanes, context)
    states = np.empty(lanes, np.uint32)
    words = np.empty(2 * symbols.size, np.uint8)
    start = library.lissom_rans_encode(
        kernel.address(symbols),
        symbols.size,
        kernel.address(context),
        kernel.address(model.freqs),
        model.precision,
        model.contexts,
        kernel.address(states),
        lanes,
        kernel.address(words),
    )
    if start > words.size:
        raise ValueError("a symbol has no frequency in its context")
    return Stream(states, words[start:].tobytes())


def encode_numpy(symbols: Bytes, model: Model, lanes: int, context: Bytes | None = None) -> Stream:
    """`encode` without the compiled kernel."""
    spans = model.spans().ravel()
    states = np.full(lanes, LOW, np.uint64)
    emitted: list[NDArray[np.uint16]] = []
    for start in range((symbols.size - 1) // lanes * lanes, -1, -lanes):
        row = symbols[start : start + lanes].astype(np.int64)
        if context is not None:
            row |= context[start : start + lanes].astype(np.int64) << 8
        freq = (spans[row] >> 16).astype(np.uint64)
        if not freq.all():
            raise ValueError("a symbol has no frequency in its context")
        first = (spans[row] & 0xFFFF).astype(np.uint64)
        state = states[: row.size]
        full = state >= freq << np.uint64(32 - model.precision)
        emitted.append((state[full] & np.uint64(0xFFFF)).astype("<u2"))
        state[full] >>= np.uint64(16)
        quotient, rest = np.divmod(state, freq)
        states[: row.size] = (quotient << np.uint64(model.precision)) + rest + first
    words = np.concatenate(emitted[::-1]) if emitted else np.empty(0, "<u2")
    return Stream(states.astype(np.uint32), words.tobytes())


def by_lane(size: int, lanes: int) -> NDArray[np.int64]:
    """Where each symbol of a stream belongs, if each lane has some that follow each other."""
    rows, longer = divmod(size, lanes)
    lane = np.arange(lanes)
    starts = lane * rows + np.minimum(lane, longer)
    return (np.arange(rows + 1)[:, None] + starts).reshape(-1)[:size]


def decode(
    stream: Stream,
    model: Model,
    out: Bytes,
    context: Bytes | None = None,
    after: Bytes | None = None,
) -> None:
    """Fill `out` with symbols. The kernel decodes whole codings, and does not come here.

    With `after` a symbol's context is what that has for the symbol before it in its lane.

    Raises:
        FormatError: the words do not end where the symbols do, or a state is wrong.
    """
    if len(stream.words) % 2 or (stream.states < LOW).any():
        raise FormatError("a stream of the coding is damaged")
    if context is not None and context.size and int(context.max()) >= model.contexts:
        raise FormatError("a stream of the coding is damaged")
    words = np.frombuffer(stream.words, "<u2")
    slots, spans = model.slots(), model.spans().ravel()
    states = stream.states.copy()
    mask, shift = np.uint32((1 << model.precision) - 1), np.uint32(model.precision)
    at = 0
    for start in range(0, out.size, states.size):
        row = out[start : start + states.size]
        state = states[: row.size]
        slot = state & mask
        if after is not None:
            before = out[start - states.size :][: row.size] if start else np.zeros_like(row)
            here: Bytes | None = after[before]
        else:
            here = None if context is None else context[start : start + states.size]
        if here is None:
            row[:] = slots[slot]
            span = spans[row]
        else:
            which = here.astype(np.uint32)
            row[:] = slots[which << shift | slot]
            span = spans[which << np.uint32(8) | row]
        state[:] = (span >> np.uint32(16)) * (state >> shift) + slot - (span & np.uint32(0xFFFF))
        low = np.flatnonzero(state < LOW)
        if low.size > words.size - at:
            raise FormatError("a stream of the coding ends early")
        state[low] = state[low] << np.uint32(16) | words[at : at + low.size]
        at += low.size
    if at != words.size or (states != LOW).any():
        raise FormatError("a stream of the coding is damaged")


def mapped(symbols: Bytes, table: Bytes) -> Bytes:
    """table[symbols]; symbols that are beyond the table become 0."""
    whole = np.zeros(256, np.uint8)
    whole[: table.size] = table
    out = np.empty(symbols.shape, np.uint8)
    library = kernel.library()
    if library is None:
        np.take(whole, symbols, out=out)
    else:
        library.lissom_map(
            kernel.address(symbols), symbols.size, kernel.address(whole), kernel.address(out)
        )
    return out


def count(symbols: Bytes, context: Bytes | None = None, contexts: int = 1) -> NDArray[np.uint32]:
    """How often each symbol comes in each context, [contexts, 256]."""
    counts = np.zeros((contexts, 256), np.uint32)
    library = kernel.library()
    if library is not None:
        failed = library.lissom_count(
            kernel.address(symbols),
            symbols.size,
            kernel.address(context),
            contexts,
            kernel.address(counts),
        )
        if failed:
            raise ValueError("a context is out of range")
        return counts
    keys = symbols.astype(np.intp)
    if context is not None:
        keys |= context.astype(np.intp) << 8
    counts.reshape(-1)[:] = np.bincount(keys, minlength=contexts * 256)
    return counts
