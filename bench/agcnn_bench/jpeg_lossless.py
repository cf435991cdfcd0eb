"""JPEG Lossless, Process 14, Selection Value 1 (ITU-T T.81, Annex H): often sent, and pydicom cannot write it.

Written so that decoding it can be timed on any film. Each pixel is predicted by its left neighbour; the difference is
coded by its length in bits (a Huffman code made for this picture, Annex K.2) followed by that many bits.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CATEGORIES = 17
"""A difference has 0 to 16 bits (Table H.2)."""
_LONGEST = 16
"""Bits of the longest Huffman code that a DHT segment can state."""


def encode(values: NDArray[np.uint16], bits: int) -> bytes:
    """Return the stream of one grey frame: [rows, columns] with values below 2**bits; 2 to 15 bits.

    Raises:
        ValueError: another shape, more bits, or values that do not fit.
    """
    if values.ndim != 2 or not 2 <= bits <= 15 or int(values.max()) >> bits:
        raise ValueError("one grey frame with 2 to 15 bits can be written")
    differences = _differences(values.astype(np.int32), bits)
    categories = _lengths(differences)
    code_lengths = _code_lengths(np.bincount(categories, minlength=_CATEGORIES))
    symbols = sorted((length, symbol) for symbol, length in enumerate(code_lengths) if length)
    rows, columns = values.shape
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHB", 11, bits, rows, columns, 1) + b"\x01\x11\x00",  # SOF3 (B.2.2)
            _huffman_table(symbols),
            b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x01\x00\x00",  # SOS: Selection Value 1 (B.2.3)
            _entropy_coded(differences, categories, _codes(symbols), np.array(code_lengths)),
            b"\xff\xd9",
        )
    )


def _differences(values: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Each pixel less its prediction (H.1.2.1): the left one, in the first column the one above."""
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    return (values - predicted).ravel()


def _lengths(differences: NDArray[np.int32]) -> NDArray[np.intp]:
    """SSSS: bits of the difference's size (Table H.2)."""
    return np.ceil(np.log2(np.abs(differences) + 1.0)).astype(np.intp)


def _code_lengths(counts: NDArray[Any]) -> list[int]:
    """Bits of each category's Huffman code (K.2); 0 where it does not occur.

    The code of all ones must not be used: a symbol that never occurs takes it. Rare categories are counted higher
    until no code is longer than 16 bits.
    """
    floor = 1
    while True:
        lengths = _huffman({symbol: max(int(count), floor) for symbol, count in enumerate(counts) if count})
        if max(lengths.values()) <= _LONGEST:
            return [lengths.get(symbol, 0) for symbol in range(_CATEGORIES)]
        floor *= 4


def _huffman(counts: dict[int, int]) -> dict[int, int]:
    reserved = -1
    groups: list[tuple[int, tuple[int, ...]]] = [(count, (symbol,)) for symbol, count in counts.items()]
    groups.append((0, (reserved,)))
    lengths = dict.fromkeys((reserved, *counts), 0)
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0], reverse=True)
        (least, first), (more, second) = groups.pop(), groups.pop()
        for symbol in first + second:
            lengths[symbol] += 1
        groups.append((least + more, first + second))
    # Being the rarest it is among the longest; codes are given out so that it would be the last of them: all ones.
    del lengths[reserved]
    return lengths


def _codes(symbols: list[tuple[int, int]]) -> NDArray[np.uint64]:
    """The canonical code of each category (Annex C.2)."""
    codes = np.zeros(_CATEGORIES, np.uint64)
    code = previous = 0
    for length, symbol in symbols:
        code <<= length - previous
        codes[symbol] = code
        code, previous = code + 1, length
    return codes


def _huffman_table(symbols: list[tuple[int, int]]) -> bytes:
    """The DHT segment (B.2.4.2)."""
    of_length = bytes(sum(length == wanted for length, _ in symbols) for wanted in range(1, _LONGEST + 1))
    listed = bytes(symbol for _, symbol in symbols)
    return b"\xff\xc4" + struct.pack(">HB", 3 + len(of_length) + len(listed), 0) + of_length + listed


def _entropy_coded(
    differences: NDArray[np.int32],
    categories: NDArray[np.intp],
    codes: NDArray[np.uint64],
    code_lengths: NDArray[np.intp],
) -> bytes:
    """The codes and the differences' bits, one after the other, filled up with ones and stuffed (B.1.1.5, F.1.2.3)."""
    # A negative difference is written as the low bits of itself less one (F.1.2.1.1).
    low = np.where(differences < 0, differences - 1, differences).astype(np.int64) & ((1 << categories) - 1)
    words = (codes[categories] << categories.astype(np.uint64)) | low.astype(np.uint64)
    lengths = code_lengths[categories] + categories  # at most 32
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    # Bit j of the stream belongs to the word in which it lies: its place there is counted from the word's end.
    stream = np.ones(-(-total // 8) * 8, np.uint8)
    piece = 1 << 18
    for first in range(0, len(words), piece):
        part = slice(first, first + piece)
        begin = int(ends[part][0] - lengths[part][0])
        shifts = np.repeat(ends[part], lengths[part]) - 1 - np.arange(begin, int(ends[part][-1]))
        stream[begin : int(ends[part][-1])] = (np.repeat(words[part], lengths[part]) >> shifts.astype(np.uint64)) & 1
    return np.packbits(stream).tobytes().replace(b"\xff", b"\xff\x00")
