"""Small numbers in few bits, most significant first, and numbers of unknown size in bytes.

Exponential Golomb codes (Teuhola 1978) write x + 1 in binary after as many zeros as it has bits
less one. Rice codes write x >> k in ones and a zero, then the k low bits. A varint has seven bits
a byte, the lowest first, and the high bit set in all but the last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.errors import FormatError

LONGEST_UNARY = 300
LARGEST_NUMBER = 1 << 62


class BitWriter:
    """Collects bits; `getvalue` pads them to whole bytes with zeros."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def write(self, value: int, width: int) -> None:
        if width:
            self._bits.append(format(value, f"0{width}b"))

    def exp_golomb(self, value: int) -> None:
        self.write(value + 1, 2 * (value + 1).bit_length() - 1)

    def rice(self, value: int, low: int) -> None:
        self._bits.append("1" * (value >> low) + "0")
        self.write(value & ((1 << low) - 1), low)

    @property
    def size(self) -> int:
        """How many bits were written."""
        return sum(map(len, self._bits))

    def getvalue(self) -> bytes:
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


class BitReader:
    """Reads what BitWriter wrote; past the end is a FormatError."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(format(byte, "08b") for byte in data)
        self._at = 0

    def read(self, width: int) -> int:
        if width == 0:
            return 0
        end = self._at + width
        if end > len(self._bits):
            raise FormatError("a table of the coding ends early")
        value = int(self._bits[self._at : end], 2)
        self._at = end
        return value

    def _unary(self, of: str) -> int:
        """How many bits of `of` there are before another."""
        other = "0" if of == "1" else "1"
        end = self._bits.find(other, self._at, self._at + LONGEST_UNARY)
        if end < 0:
            raise FormatError("a table of the coding ends early")
        count = end - self._at
        self._at = end
        return count

    def end(self) -> None:
        """No byte may be left.

        Raises:
            FormatError: there is one.
        """
        if len(self._bits) - self._at >= 8:
            raise FormatError("a table of the coding is longer than it needs to be")

    def exp_golomb(self) -> int:
        zeros = self._unary("0")
        if zeros > 32:
            raise FormatError("a number of the coding is too large")
        return self.read(zeros + 1) - 1

    def rice(self, low: int) -> int:
        ones = self._unary("1")
        self._at += 1
        return ones << low | self.read(low)


def varint(value: int) -> bytes:
    """A number that is not negative, in as few bytes as it takes."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


class Cursor:
    """Walks over bytes that may lie about their length."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> memoryview:
        """The next `count` bytes.

        Raises:
            FormatError: there are not so many.
        """
        if count > self.left:
            raise FormatError("a coding ends early")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> memoryview:
        """All the bytes that are left, not taken."""
        return self._data[self._at :]

    def array(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bytes as an array, not copied."""
        return np.frombuffer(self.take(count), np.uint8)

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next varint, below 2^62.

        Raises:
            FormatError: it is larger, longer than it needs to be, or the bytes end.
        """
        value = 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= LARGEST_NUMBER or (byte == 0 and shift):
                    break
                return value
        raise FormatError("a number of the coding is too large, or too long")
