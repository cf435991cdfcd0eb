"""A sheet of paper to draw on: its sizes, its few colours and type sizes, and text that never runs out of its field.

Lengths are in points (1/72 inch). Positions are measured from the top left corner of the sheet, downwards.
"""

from collections.abc import Iterable
from enum import Enum, StrEnum
from io import BytesIO

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from agcnn_clinic.reporting.embedding import Typesetter
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.overlay import Plate
from agcnn_clinic.reporting.paper import Frame
from agcnn_clinic.reporting.shaping import clean, fitted, shape, text_width

LEADING = 1.36
"""Distance of baselines, in type sizes."""
MAX_BOOKMARK = 80
"""Characters of an entry in the document's outline."""


class Ink(Enum):
    """The colours of a report: one accent, and greys that stay apart on a black-and-white printer."""

    TEXT = "#16191D"
    MUTED = "#59636E"
    RULE = "#C5CBD3"
    PANEL = "#F2F4F7"
    TINT = "#E3EBF1"
    ACCENT = "#0F4C6B"
    BAR = "#9AA7B4"
    WHITE = "#FFFFFF"
    BLACK = "#000000"


class Align(StrEnum):
    """Which part of a text stands at the given x."""

    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"


class Size:
    """The type sizes, in points."""

    TITLE = 18.0
    NAME = 12.5
    HEADING = 10.5
    BODY = 8.5
    SMALL = 7.2
    LABEL = 6.6


class Sheet:
    """The page being drawn."""

    def __init__(self, canvas: Canvas, frame: Frame, height: float) -> None:
        self._canvas = canvas
        self._typesetter = Typesetter(canvas)
        self._height = height
        self.frame = frame

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = Size.BODY,
        *,
        weight: Weight = Weight.REGULAR,
        ink: Ink = Ink.TEXT,
        align: Align = Align.LEFT,
        width: float | None = None,
    ) -> float:
        """Write one line with its baseline at y, shortened where it is wider than `width`; returns its width."""
        text = clean(text) if width is None else fitted(text, size, width, weight)
        extent = text_width(text, size, weight)
        if align is Align.RIGHT:
            x -= extent
        elif align is Align.CENTRE:
            x -= extent / 2
        if text:
            self._canvas.setFillColor(_colour(ink))
            self._typesetter.draw(shape(text, weight), x, self._height - y, size)
        return extent

    def lines(
        self,
        x: float,
        y: float,
        lines: Iterable[str],
        size: float = Size.BODY,
        *,
        weight: Weight = Weight.REGULAR,
        ink: Ink = Ink.TEXT,
    ) -> None:
        """Write lines one below the other, the first with its baseline at y."""
        for number, line in enumerate(lines):
            self.text(x, y + number * size * LEADING, line, size, weight=weight, ink=ink)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Ink | None = None,
        line: Ink | None = None,
        thickness: float = 0.5,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Draw a rectangle by its top left corner."""
        if fill is not None:
            self._canvas.setFillColor(_colour(fill))
        if line is not None:
            self._canvas.setStrokeColor(_colour(line))
            self._canvas.setLineWidth(thickness)
            self._canvas.setDash(*([list(dash)] if dash else []))
        self._canvas.rect(
            x, self._height - y - height, width, height, stroke=int(line is not None), fill=int(fill is not None)
        )
        if dash:
            self._canvas.setDash()

    def rule(self, y: float, *, ink: Ink = Ink.RULE) -> None:
        """Draw a horizontal line across the frame."""
        self.line(self.frame.left, y, self.frame.right, y, ink=ink, thickness=0.5)

    def line(self, x0: float, y0: float, x1: float, y1: float, *, ink: Ink, thickness: float) -> None:
        """Draw a line."""
        self._canvas.setStrokeColor(_colour(ink))
        self._canvas.setLineWidth(thickness)
        self._canvas.line(x0, self._height - y0, x1, self._height - y1)

    def mark(self, x: float, y: float, size: float) -> None:
        """Draw the mark of what is positive: it points to the right, its left edge at x, its middle at y.

        It is text, so that whoever copies the page or has it read aloud has it, too.
        """
        self._canvas.setFillColor(_colour(Ink.ACCENT))
        self._typesetter.mark(x, self._height - y - size / 2, size)

    def picture(self, plate: Plate, x: float, y: float, width: float, height: float) -> None:
        """Place a picture by its top left corner."""
        self._canvas.drawImage(ImageReader(BytesIO(plate.jpeg)), x, self._height - y - height, width, height)

    def bookmark(self, title: str) -> None:
        """Give the page an entry in the outline of the document. `title` must not hold patient data."""
        key = f"page{self._canvas.getPageNumber()}"
        self._canvas.bookmarkPage(key)
        self._canvas.addOutlineEntry(clean(title)[:MAX_BOOKMARK], key, level=0)


def fit(width: float, height: float, into_width: float, into_height: float) -> tuple[float, float]:
    """The largest size of the same shape that fits into the given one."""
    factor = min(into_width / width, into_height / height)
    return width * factor, height * factor


def _colour(ink: Ink) -> Color:
    return HexColor(ink.value)
