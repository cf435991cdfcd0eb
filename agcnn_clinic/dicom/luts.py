"""The grey scale pipeline (PS3.3 C.11.1 and C.11.2) as functions of a one-dimensional array of values.

pydicom's own are not used here: `apply_modality_lut` refuses tables of 10 to 15 bits and reads 8-bit entries packed
into words as 16-bit ones, neither mends a first mapped value written with the wrong sign, and `apply_windowing`
inverts the picture where Rescale Slope is negative. The tests hold these against pydicom's where pydicom's are right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.text import numbers, text
from agcnn_clinic.dicom.text import values as values_of
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1).

    Attributes:
        first: the input that the first entry belongs to; smaller inputs get it too.
        entries: uint16 [n]; inputs beyond the last get the last.
        bits: of an entry: by the descriptor, or as many as the entries need where it cannot be meant (`_depth`).
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def shown(self, values: Values) -> Values:
        """Return the values as a VOI LUT shows them, in [0, 1]."""
        greys: Values = np.minimum(self(values) / (2**self.bits - 1), 1.0)
        return greys

    def __call__(self, values: Values) -> Values:
        """Return the entry of each value."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        entries: Values = self.entries[index].astype(np.float64)
        return entries


def lookup_table(item: Dataset, *, inputs: tuple[float, float], little_endian: bool) -> LookupTable:
    """Read an item of a Modality LUT or VOI LUT Sequence.

    Args:
        item: with LUT Descriptor (0028,3002) and LUT Data (0028,3006).
        inputs: the smallest and the largest value that may be looked up, whether or not the image has them.
        little_endian: the byte order of the file, for data written as words.

    Raises:
        ImageError: UNREADABLE_PIXELS where the two contradict each other.
    """
    descriptor = [int(one) for one in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3 or item.get("LUTData") is None:
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "a lookup table is not described")
    # The number of entries is unsigned in any VR, and 0 stands for 65536.
    count = descriptor[0] % 2**16 or 2**16
    first = _first_mapped(descriptor[1], count, inputs)
    entries = _entries(item, count, descriptor[2], little_endian=little_endian)
    return LookupTable(first, entries, _depth(descriptor[2], int(entries.max())))


def _depth(announced: int, largest: int) -> int:
    """Return the bits of a table's entries: which of their values is white.

    The descriptor says it (PS3.3 C.11.2.1.1), and a table need not come near white. But some senders announce 16 bits
    and fill 12: taken by its word, such a table would print a black film. So one that leaves all but the darkest
    quarter empty, or needs more bits than are announced, has as many as it needs. 4096 of 12 bits is rounded 4095.
    """
    needed = max(int(largest - 1).bit_length(), 1)
    return announced if announced - 1 <= needed <= announced else needed


def _first_mapped(read: int, count: int, inputs: tuple[float, float]) -> int:
    """Return the first input that is mapped: the same 16 bits are read as 65000 and as -536.

    It has the sign that the inputs can have (PS3.3 C.11.1.1 and C.11.2.1.1). But writers err in its VR, and where the
    VR is implicit the parser knows of the stored values' sign alone. So where it was read with the other sign, that
    reading counts with which the table covers more of the inputs.
    """
    low, high = inputs
    meant = read
    if low < 0 and read > 2**15 - 1:
        meant = read - 2**16
    elif low >= 0 and read < 0:
        meant = read + 2**16

    def covered(first: int) -> float:
        return max(min(first + count - 1, high) - max(first, low) + 1, 0)

    return max(meant, read, key=covered)  # of two equals the first


def _entries(item: Dataset, count: int, bits: int, *, little_endian: bool) -> NDArray[np.uint16]:
    data = item["LUTData"].value
    if isinstance(data, bytes):
        raw = data
        order = "<" if little_endian else ">"
    else:
        several = data if hasattr(data, "__iter__") else [data]
        raw = np.asarray([int(one) for one in several], dtype=np.int64).astype(np.uint16).astype("<u2").tobytes()
        order = "<"
    if len(raw) >= 2 * count:
        return np.frombuffer(raw, f"{order}u2", count).astype(np.uint16)
    if bits <= 8:
        # Two entries a word (PS3.3 C.11.1.1.1), the first in its low byte.
        if order == ">":
            raw = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2").astype("<u2").tobytes()
        if len(raw) >= count:
            return np.frombuffer(raw, np.uint8, count).astype(np.uint16)
    raise ImageError(ReasonCode.UNREADABLE_PIXELS, "a lookup table is shorter than its descriptor says")


@dataclass(frozen=True)
class Window:
    """A window of the VOI LUT Module (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: str = "LINEAR"

    def shown(self, values: Values) -> Values:
        """Return the values as the window shows them, in [0, 1]."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4.0 * (values - self.centre) / self.width, -700.0, 700.0)
            return 1.0 / (1.0 + np.exp(exponent))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1.0:
            return (values > self.centre - 0.5).astype(np.float64)
        return np.clip((values - (self.centre - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


def window(dataset: Dataset) -> Window | None:
    """Return the first usable window of a header, None where there is none: one has a centre, and a width above 0.

    A LINEAR window narrower than 1 is what some writers make of LINEAR_EXACT (PS3.3 C.11.2.1.2.1 forbids it).
    """
    pairs = zip(values_of(dataset, "WindowCenter"), values_of(dataset, "WindowWidth"), strict=False)
    usable = (pair for pair in map(_window_numbers, pairs) if pair is not None)
    centre, width = next(usable, (0.0, 0.0))
    if not width:
        return None
    function = text(dataset, "VOILUTFunction").upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR" if width >= 1 else "LINEAR_EXACT"
    return Window(centre, width, function)


def _window_numbers(pair: tuple[str, str]) -> tuple[float, float] | None:
    """Return centre and width as numbers, None where one of them is none or no window can be so narrow."""
    try:
        centre, width = map(float, pair)
    except ValueError:
        return None
    return (centre, width) if np.isfinite([centre, width]).all() and width > 0 else None


def rescale(dataset: Dataset, values: Values) -> Values:
    """Apply Rescale Slope and Intercept (PS3.3 C.11.1.1.2), as far as they are numbers; with a slope of 0 neither."""
    slopes, intercepts = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    slope = slopes[0] if slopes else 1.0
    intercept = intercepts[0] if intercepts else 0.0
    return values if slope == 0 else values * slope + intercept
