"""The sheet that a report is printed on, and how large its pictures become. Nothing that draws is imported here.

Lengths are in points (1/72 inch).
"""

from dataclasses import dataclass
from typing import Literal

from reportlab.lib.pagesizes import A4, LETTER

from agcnn_clinic.sections import Reporting

POINTS_PER_INCH = 72
MARGIN = 42.0
TOP = 32.0
FOOT = 48.0
"""The height at the foot of each page that belongs to the footer."""
FILM_WIDTH = 0.372
"""Of the frame's width: the film, and its overlay beside it; the crop has the rest."""
MAX_HEIGHT = 240.0
"""Of the film on the page."""


def paper(page_size: Literal["A4", "Letter"]) -> tuple[float, float]:
    """Width and height of a sheet."""
    width, height = A4 if page_size == "A4" else LETTER
    return float(width), float(height)


@dataclass(frozen=True)
class Frame:
    """The part of a sheet that content may use."""

    left: float
    top: float
    width: float
    bottom: float

    @classmethod
    def of(cls, page_size: Literal["A4", "Letter"]) -> "Frame":
        """The frame of a paper size."""
        width, height = paper(page_size)
        return cls(MARGIN, TOP, width - 2 * MARGIN, height - FOOT)

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width


def print_size(settings: Reporting) -> tuple[int, int]:
    """The pixels, across and down, that a film and its crop have to fit into at the resolution that is asked for."""
    frame = Frame.of(settings.page_size)
    return pixels(FILM_WIDTH * frame.width, settings.picture_dpi), pixels(MAX_HEIGHT, settings.picture_dpi)


def pixels(points: float, dpi: int) -> int:
    """How many pixels a printed length takes at a resolution."""
    return max(round(points / POINTS_PER_INCH * dpi), 1)
