"""Pages from blocks: pieces of content of a known height, laid one below the other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.page import LEADING, Ink, Sheet, Size
from agcnn_clinic.reporting.paper import Frame
from agcnn_clinic.reporting.shaping import wrapped

Draw = Callable[[Sheet, float], None]
"""Draws a block on a sheet, its top at the given height."""

_ROUNDING = 0.01
LABEL_WIDTH = 108.0
"""Of the label of a fact: what belongs to it begins behind."""


@dataclass(frozen=True)
class Block:
    """A piece of content that is never broken over two pages.

    Attributes:
        height: how much of the page it takes, in points, the space below it included.
        draw: draws it.
        new_page: it begins a page.
        with_next: it never stands last on a page, as a heading must not.
        bookmark: the entry that it gets in the document's outline.
        at_foot: it stands at the foot of its page, whatever is above it.
    """

    height: float
    draw: Draw
    new_page: bool = False
    with_next: bool = False
    bookmark: str = ""
    at_foot: bool = False


def paginate(blocks: Sequence[Block], first_height: float, height: float) -> list[list[Block]]:
    """Lay blocks out on pages, the first of which has less room for them; a block too high has a page alone."""
    pages: list[list[Block]] = [[]]
    room = first_height
    for group in _groups(blocks):
        needed = sum(block.height for block in group)
        if pages[-1] and (group[0].new_page or needed > room + _ROUNDING):
            pages.append([])
            room = height
        pages[-1] += group
        room -= needed
    return pages


def _groups(blocks: Iterable[Block]) -> list[list[Block]]:
    groups: list[list[Block]] = []
    joined = False
    for block in blocks:
        if joined and not block.new_page:
            groups[-1].append(block)
        else:
            groups.append([block])
        joined = block.with_next
    return groups


def space(height: float) -> Block:
    """Nothing, of some height."""
    return Block(height, lambda _sheet, _top: None, with_next=True)


def heading(text: str, aside: str = "", *, new_page: bool = False, bookmark: str = "") -> Block:
    """A section's title over a rule, with a remark at the right."""

    def draw(sheet: Sheet, top: float) -> None:
        baseline = top + Size.HEADING
        used = sheet.text(sheet.frame.left, baseline, text, Size.HEADING, weight=Weight.SEMIBOLD, ink=Ink.ACCENT)
        if aside:
            room = sheet.frame.width - used - 14
            sheet.text(sheet.frame.left + used + 10, baseline, aside, Size.BODY, ink=Ink.MUTED, width=room)
        sheet.rule(top + 15.5)

    return Block(22.0, draw, new_page=new_page, with_next=True, bookmark=bookmark)


def paragraph(text: str, frame: Frame) -> Block:
    """Running text across the frame."""
    size = Size.SMALL + 0.6
    lines = wrapped(text, size, frame.width)

    def draw(sheet: Sheet, top: float) -> None:
        sheet.lines(sheet.frame.left, top + size, lines, size)

    return Block(len(lines) * size * LEADING + 4.0, draw)


def fact(label: str, value: str, frame: Frame, *, max_lines: int = 4, weight: Weight = Weight.REGULAR) -> Block:
    """A label at the left, and what belongs to it at the right, over several lines where it is long."""
    size = Size.SMALL + 0.6
    lines = wrapped(value, size, frame.width - LABEL_WIDTH, weight, max_lines=max_lines) or ["\u2013"]

    def draw(sheet: Sheet, top: float) -> None:
        baseline = top + size
        sheet.text(sheet.frame.left, baseline, label, size, ink=Ink.MUTED, width=LABEL_WIDTH - 8)
        sheet.lines(sheet.frame.left + LABEL_WIDTH, baseline, lines, size, weight=weight)

    return Block(len(lines) * size * LEADING + 3.0, draw)
