"""What stands at the head and the foot of the pages, and the table of the patient and the study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agcnn_clinic.reporting.blocks import Block
from agcnn_clinic.reporting.content import ReportContent, age, person_name
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.page import LEADING, Align, Ink, Sheet, Size
from agcnn_clinic.reporting.paper import FOOT, Frame
from agcnn_clinic.reporting.shaping import NO_BREAK, clean, text_width, wrapped

TITLE = "Chest radiograph: machine reading"
DISCLAIMER = "Research use only. Not reviewed by a physician."
FIRST_HEAD = 60.0
"""Height of the head of the first page."""
NEXT_HEAD = 34.0
"""Height of the head of every further page."""
_NONE = "\u2013"


def moment(when: datetime) -> str:
    """A moment as the report prints it, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def first_head(sheet: Sheet, content: ReportContent, institution: str) -> None:
    """The band at the top of the first page: whose report it is, what it is, which version, when made."""
    frame, edition = sheet.frame, content.edition
    sheet.box(frame.left, frame.top, frame.width, 3.0, fill=Ink.ACCENT)
    version = f"Report version {edition.version}"
    right = max(
        sheet.text(frame.right, frame.top + 20, version, Size.BODY, weight=Weight.SEMIBOLD, align=Align.RIGHT),
        sheet.text(
            frame.right, frame.top + 31, moment(edition.created_at), Size.SMALL, ink=Ink.MUTED, align=Align.RIGHT
        ),
        _replaces(sheet, content),
    )
    room = frame.width - right - 20
    name = institution or content.study.institution_name
    sheet.text(frame.left, frame.top + 20, name, Size.BODY, ink=Ink.MUTED, weight=Weight.SEMIBOLD, width=room)
    baseline = frame.top + (42 if name else 34)
    sheet.text(frame.left, baseline, TITLE, Size.TITLE, weight=Weight.SEMIBOLD, width=room)


def by_request(content: ReportContent, frame: Frame) -> list[Block]:
    """The notice above a report that is not the clinic's own; nothing above one that is."""
    if not content.requested_model:
        return []
    text = (
        f"Made by request from the readings of the model {content.requested_model}. This is not the clinic's own "
        "report: that one bears no such notice, and its newest version is the one that counts."
    )
    inner = frame.width - 2 * _PAD - 3
    lines = wrapped(text, Size.BODY, inner, Weight.SEMIBOLD, max_lines=3)
    leading = Size.BODY * LEADING
    height = 2 * _PAD + len(lines) * leading

    def draw(sheet: Sheet, top: float) -> None:
        sheet.box(frame.left, top, frame.width, height, fill=Ink.WHITE, line=Ink.TEXT, thickness=1.0)
        sheet.lines(frame.left + _PAD, top + _PAD + leading - 3, lines, Size.BODY, weight=Weight.SEMIBOLD)

    return [Block(height + 10, draw)]


def _replaces(sheet: Sheet, content: ReportContent) -> float:
    if content.edition.replaces is None:
        return 0.0
    version, when = content.edition.replaces
    text = f"replaces version {version} of {moment(when)}"
    frame = sheet.frame
    return sheet.text(frame.right, frame.top + 41, text, Size.SMALL, ink=Ink.MUTED, align=Align.RIGHT)


def next_head(sheet: Sheet, content: ReportContent) -> None:
    """The line at the top of every further page: whose page this is, should it come apart from the others."""
    frame, study = sheet.frame, content.study
    sheet.box(frame.left, frame.top, frame.width, 1.5, fill=Ink.ACCENT)
    baseline = frame.top + 14
    used = sheet.text(frame.right, baseline, TITLE, Size.SMALL, ink=Ink.MUTED, align=Align.RIGHT)
    name = " / ".join(person_name(study.patient_name)) or "Name not given"
    others = clean(" ".join(f"\u00b7 {part}" for part in (study.patient_id, study.study_date) if part))
    gap = text_width(" ", Size.BODY, Weight.SEMIBOLD)
    room = frame.width - used - 24 - gap
    # The name gives way: the identifier tells apart whom a name does not. Page 1 has both whole.
    for_name = max(room - text_width(others, Size.BODY, Weight.SEMIBOLD), _LEAST_NAME)
    used = sheet.text(frame.left, baseline, name, weight=Weight.SEMIBOLD, width=for_name)
    sheet.text(frame.left + used + gap, baseline, others, weight=Weight.SEMIBOLD, width=room - used)


def footer(sheet: Sheet, content: ReportContent, number: int, total: int) -> None:
    """The foot of every page: the warning that goes with each sheet, its number, and the study that it belongs to."""
    frame = sheet.frame
    top = frame.bottom + FOOT - 36
    sheet.rule(top)
    sheet.text(frame.left, top + 12, DISCLAIMER, Size.BODY, weight=Weight.SEMIBOLD)
    sheet.text(frame.right, top + 12, f"Page {number} of {total}", Size.BODY, align=Align.RIGHT)
    asked = ", by request" if content.requested_model else ""
    key = f"Study {content.study_key}, report version {content.edition.version}{asked}"
    sheet.text(frame.left + frame.width * 0.68, top + 12, key, Size.SMALL, ink=Ink.MUTED, align=Align.CENTRE)


@dataclass(frozen=True)
class _Field:
    """A label over its value, in a share of the grid's width.

    An identifier is broken wherever a line is full, so that it takes no more lines than it must.
    """

    label: str
    value: str
    share: float
    identifier: bool = False

    def lines(self, width: float) -> list[str]:
        value = clean(self.value)
        if self.identifier:
            value = value.replace(" ", NO_BREAK)
        return wrapped(value, Size.BODY, self.share * width - 10, max_lines=_MOST_LINES) or [_NONE]


def patient_and_study(content: ReportContent, frame: Frame, remark: str) -> Block:
    """Who was examined, and when and why: the name in each of its writings, a grid of labelled fields, and a remark.

    All of it is whole, however long DICOM lets it be: two patients may differ in the last character only.
    """
    study = content.study
    names = person_name(study.patient_name) or ["Name not given"]
    years = age(study.patient_birth_date, study.study_date)
    birth = study.patient_birth_date + (f" ({years} y)" if years is not None else "")
    rows = [
        [
            _Field("Patient ID", study.patient_id, 0.27, identifier=True),
            _Field("Born", birth, 0.21),
            _Field("Sex", _SEXES.get(study.patient_sex, study.patient_sex), 0.14),
            _Field("Study date", " ".join(part for part in (study.study_date, study.study_time[:5]) if part), 0.19),
            _Field("Accession number", study.accession_number, 0.19, identifier=True),
        ],
        [
            _Field("Study description", study.study_description, 0.48),
            _Field("Referring physician", ", ".join(person_name(study.referring_physician_name)), 0.52),
        ],
    ]
    inner = frame.width - 2 * _PAD
    name_lines = wrapped(names[0], Size.NAME, inner, Weight.SEMIBOLD, max_lines=_MOST_LINES)
    other_lines = wrapped(" / ".join(names[1:]), Size.HEADING, inner, max_lines=_MOST_LINES)
    name_height = len(name_lines) * Size.NAME * LEADING + len(other_lines) * Size.HEADING * LEADING
    grid, grid_height = _grid(rows, inner)
    remark_lines = wrapped(remark, Size.SMALL, inner, Weight.SEMIBOLD)
    remark_height = len(remark_lines) * Size.SMALL * LEADING + (_PAD / 2 if remark_lines else 0)
    height = _PAD + name_height + grid_height + remark_height + _PAD / 2 + 2

    def draw(sheet: Sheet, top: float) -> None:
        sheet.box(frame.left, top, frame.width, height, fill=Ink.PANEL)
        left, y = frame.left + _PAD, top + _PAD + Size.NAME - 2
        sheet.lines(left, y, name_lines, Size.NAME, weight=Weight.SEMIBOLD)
        sheet.lines(left, y + len(name_lines) * Size.NAME * LEADING, other_lines, Size.HEADING)
        grid(sheet, left, top + _PAD + name_height)
        y = top + _PAD + name_height + grid_height + _PAD / 2
        sheet.lines(left, y + Size.SMALL, remark_lines, Size.SMALL, weight=Weight.SEMIBOLD)

    return Block(height + 12, draw)


def _grid(rows: Sequence[Sequence[_Field]], width: float) -> tuple[Callable[[Sheet, float, float], None], float]:
    """What draws a grid of fields by its top left corner, and its height: each row is as high as its longest field."""
    leading = Size.BODY * LEADING
    laid_out = [[(field, field.lines(width)) for field in row] for row in rows]
    heights = [_ROW + (max(len(lines) for _, lines in row) - 1) * leading for row in laid_out]

    def draw(sheet: Sheet, left: float, top: float) -> None:
        for row, height in zip(laid_out, heights, strict=True):
            x = left
            for field, lines in row:
                sheet.text(x, top + Size.LABEL + 2, field.label, Size.LABEL, ink=Ink.MUTED)
                sheet.lines(x, top + Size.LABEL + 13, lines)
                x += field.share * width
            top += height

    return draw, sum(heights)


_PAD = 10.0
_ROW = 25.0
_MOST_LINES = 8
"""Of a field or a name: enough for the 64 characters that DICOM lets an LO or a group of a PN have, however wide."""
_LEAST_NAME = 60.0
"""The width that a name keeps at the head of a further page, however long the identifier is."""
_SEXES = {"M": "male", "F": "female", "O": "other"}
