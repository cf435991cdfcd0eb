"""The whole numbers of a film: how many pixels have each, and what a table shows them as.

NumPy counts by and looks up with numbers as wide as an address, so that it would make 32 MB of a film of 4 megapixels
first, and pass them through memory each time. By strips that a core's cache holds both take half as long.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agcnn_clinic.picture import Levels, levels_at, quantised

STRIP = 2**17
"""Pixels of a strip: a megabyte of indices."""


class Tally(NamedTuple):
    """Whole numbers, and how often each occurs.

    Attributes:
        values: of any shape.
        lowest: the smallest of them; 0 where there is none.
        counts: intp [n], how often `lowest` and the n - 1 numbers after it occur; the last one does, where one does.
    """

    values: NDArray[np.integer]
    lowest: int
    counts: NDArray[np.intp]

    def numbers(self) -> NDArray[np.intp]:
        """Return the number that each count is of."""
        return np.arange(self.lowest, self.lowest + len(self.counts))

    def shown(self, greys: NDArray[np.float32]) -> tuple[NDArray[np.float32], Levels]:
        """Return the values as a table shows them, and their levels.

        Args:
            greys: float32 [n] in [0, 1], what each of `numbers` is shown as.
        """
        pixels, of_pixels = (np.empty(self.values.shape, kind) for kind in (np.float32, np.uint16))
        level = quantised(greys)
        for strip, places in _places(self.values, self.lowest):
            # All places lie in the table; "raise" would look for one that does not, and write into a copy first.
            greys.take(places, out=pixels[strip], mode="clip")
            level.take(places, out=of_pixels[strip], mode="clip")
        return pixels, Levels(of_pixels, levels_at(level, self.counts))


def tally(values: NDArray[np.integer]) -> Tally:
    """Count whole numbers: at most 65536 different ones, or it takes long."""
    if not values.size:
        return Tally(values, 0, np.zeros(1, np.intp))
    lowest, highest = int(values.min()), int(values.max())
    counts = np.zeros(highest - lowest + 1, np.intp)
    for _, places in _places(values, lowest):
        counts += np.bincount(places.ravel(), minlength=len(counts))
    return Tally(values, lowest, counts)


def _places(values: NDArray[np.integer], lowest: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Give out strips of the values, and how far each lies above the lowest."""
    rows = max(STRIP // values[0].size, 1)
    for start in range(0, len(values), rows):
        strip = slice(start, start + rows)
        yield strip, np.subtract(values[strip], lowest, dtype=np.intp)
