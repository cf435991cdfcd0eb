"""What stands at the head and the foot of the pages, and the table of the patient and the study."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agcnn_clinic.reporting.blocks import LEADING, Block
from agcnn_clinic.reporting.content import ReportContent, age, person_name
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.page import Align, Ink, Sheet, Size
from agcnn_clinic.reporting.paper import FOOT, Frame
from agcnn_clinic.reporting.shaping import wrapped

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
        for number, line in enumerate(lines, start=1):
            sheet.text(frame.left + _PAD, top + _PAD + number * leading - 3, line, Size.BODY, weight=Weight.SEMIBOLD)

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
    names = person_name(study.patient_name)
    parts = [" / ".join(names) or "Name not given", study.patient_id, study.study_date]
    sheet.text(
        frame.left,
        baseline,
        "  \u00b7  ".join(part for part in parts if part),
        Size.BODY,
        weight=Weight.SEMIBOLD,
        width=frame.width - used - 24,
    )


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
    label: str
    value: str
    share: float


def patient_and_study(content: ReportContent, frame: Frame) -> Block:
    """Who was examined, and when and why: the name in each of its writings, then a grid of labelled fields."""
    study = content.study
    names = person_name(study.patient_name) or ["Name not given"]
    years = age(study.patient_birth_date, study.study_date)
    birth = study.patient_birth_date + (f" ({years} y)" if years is not None else "")
    rows = [
        [
            _Field("Patient ID", study.patient_id, 0.27),
            _Field("Born", birth, 0.21),
            _Field("Sex", _SEXES.get(study.patient_sex, study.patient_sex), 0.14),
            _Field("Study date", " ".join(part for part in (study.study_date, study.study_time[:5]) if part), 0.19),
            _Field("Accession number", study.accession_number, 0.19),
        ],
        [
            _Field("Study description", study.study_description, 0.48),
            _Field("Referring physician", ", ".join(person_name(study.referring_physician_name)), 0.52),
        ],
    ]
    inner = frame.width - 2 * _PAD
    name_lines = wrapped(names[0], Size.NAME, inner, Weight.SEMIBOLD, max_lines=2)
    other_lines = wrapped(" / ".join(names[1:]), Size.HEADING, inner, max_lines=2)
    name_height = len(name_lines) * Size.NAME * LEADING + len(other_lines) * Size.HEADING * LEADING
    height = _PAD + name_height + len(rows) * _ROW + _PAD / 2 + 2

    def draw(sheet: Sheet, top: float) -> None:
        sheet.box(frame.left, top, frame.width, height, fill=Ink.PANEL)
        left, y = frame.left + _PAD, top + _PAD + Size.NAME - 2
        for line in name_lines:
            sheet.text(left, y, line, Size.NAME, weight=Weight.SEMIBOLD)
            y += Size.NAME * LEADING
        for line in other_lines:
            sheet.text(left, y, line, Size.HEADING)
            y += Size.HEADING * LEADING
        _grid(sheet, rows, left, top + _PAD + name_height, inner)

    return Block(height + 12, draw)


def _grid(sheet: Sheet, rows: Sequence[Sequence[_Field]], left: float, top: float, width: float) -> None:
    for number, row in enumerate(rows):
        x, y = left, top + number * _ROW
        for field in row:
            room = field.share * width - 10
            sheet.text(x, y + Size.LABEL + 2, field.label, Size.LABEL, ink=Ink.MUTED, width=room)
            sheet.text(x, y + Size.LABEL + 13, field.value or _NONE, Size.BODY, width=room)
            x += field.share * width


_PAD = 10.0
_ROW = 25.0
_SEXES = {"M": "male", "F": "female", "O": "other"}
