"""A report's content becomes a PDF: the same bytes for the same content, pictures and settings, at any time."""

import hashlib
from collections.abc import Iterable, Sequence
from io import BytesIO

from reportlab import rl_config
from reportlab.lib.utils import TimeStamp
from reportlab.pdfgen.canvas import Canvas

from agcnn_clinic.prints import Prints
from agcnn_clinic.reporting.blocks import Block, heading, paginate, space
from agcnn_clinic.reporting.content import ReadImage, ReportContent
from agcnn_clinic.reporting.coverage import fields_not_whole, remark
from agcnn_clinic.reporting.findings import table, verdict
from agcnn_clinic.reporting.heads import (
    DISCLAIMER,
    FIRST_HEAD,
    NEXT_HEAD,
    TITLE,
    by_request,
    first_head,
    footer,
    next_head,
    patient_and_study,
)
from agcnn_clinic.reporting.page import Sheet
from agcnn_clinic.reporting.paper import Frame, paper
from agcnn_clinic.reporting.pictures import Plates, least_room, no_pictures, pictures, plates
from agcnn_clinic.reporting.provenance import not_read, provenance, signature
from agcnn_clinic.reporting.several import comparison, of_other_patients, of_several_models, remarked
from agcnn_clinic.sections import Reporting
from agcnn_clinic.wording import counted

PRODUCER = "agcnn-clinic"

rl_config.useA85 = 0  # ReportLab's default makes pictures a quarter larger, for transports of the last century


class _Canvas(Canvas):  # type: ignore[misc]  # ReportLab has no types
    """ReportLab's canvas without the font that it sets at the head of each page: Helvetica, which it does not embed."""

    def _make_preamble(self) -> None:
        self._preamble = "1 0 0 1 0 0 cm"


def render(content: ReportContent, prints: Sequence[Prints | None], settings: Reporting) -> bytes:
    """Make the PDF of a report.

    Args:
        content: what it says.
        prints: of each of its images; None where the report shall say that its pictures cannot be made any more.
        settings: paper, resolution, colour map and institution.
    """
    frame = Frame.of(settings.page_size)
    printed = [
        None if shown is None else plates(image, shown, settings.colour_map)
        for image, shown in zip(content.images, prints, strict=True)
    ]
    room = frame.bottom - frame.top
    pages = paginate(_blocks(content, printed, frame, settings.institution), room - FIRST_HEAD, room - NEXT_HEAD)
    return _draw(content, pages, frame, settings)


def _blocks(content: ReportContent, printed: Sequence[Plates | None], frame: Frame, institution: str) -> list[Block]:
    not_whole = remark(fields_not_whole(content, institution))
    blocks = [*by_request(content, frame), patient_and_study(content, frame, not_whole)]
    several = len(content.images) > 1
    if several:
        blocks += [
            heading("Summary", _counted(content), bookmark="Summary"),
            *of_other_patients(content.images, frame),
            *of_several_models(content, frame),
            *comparison(content.images, printed, frame),
            *remarked(content.images, frame),
            *not_read(content, frame),
        ]
    room = frame.bottom - frame.top - (NEXT_HEAD if several else FIRST_HEAD + _height(blocks))
    together = True
    for image, prints in zip(content.images, printed, strict=True):
        above = [
            heading(image.title, _described(image, content), new_page=several, bookmark=image.name),
            verdict(image, frame),
        ]
        below = table(image, frame)
        shown, together = _shown(image, prints, frame, room - _height(above), _height(below))
        blocks += [*above, shown, *below]
    closing = [] if several else not_read(content, frame)
    if not together:  # the table that had to go to the next page leaves room there
        closing.append(space(10))
    blocks += [*closing, *provenance(content, frame, new_page=not closing)]
    blocks.append(signature(frame))
    return blocks


def _shown(image: ReadImage, prints: Plates | None, frame: Frame, room: float, table: float) -> tuple[Block, bool]:
    """An image's pictures, and whether its table has room below them.

    They are made smaller for the table, but only where it then stands on the same page.
    """
    if prints is None:
        block = no_pictures(frame)
        return block, block.height + table <= room
    together = least_room(prints, frame) + table <= room
    return pictures(image, prints, frame, room - table if together else room), together


def _height(blocks: Iterable[Block]) -> float:
    return sum(block.height for block in blocks)


def _counted(content: ReportContent) -> str:
    read, unread = len(content.images), len(content.unread)
    text = f"{read} images read"
    return f"{text}, {unread} not read: see below" if unread else text


def _described(image: ReadImage, content: ReportContent) -> str:
    parts = [image.modality, image.manufacturer]
    if len(content.images) == 1 and content.unread:
        unread = counted(len(content.unread), "further image")
        parts.insert(0, f"{unread} not read: see \u201cImages not read\u201d")
    if name := content.read_by(image):
        parts.append(f"read by {name}")
    return "  \u00b7  ".join(part for part in parts if part)


def _draw(content: ReportContent, pages: Sequence[Sequence[Block]], frame: Frame, settings: Reporting) -> bytes:
    buffer = BytesIO()
    size = paper(settings.page_size)
    canvas = _Canvas(buffer, pagesize=size, pageCompression=1, invariant=1, lang="en")
    _describe(canvas, content)
    sheet = Sheet(canvas, frame, size[1])
    for number, blocks in enumerate(pages, start=1):
        if number == 1:
            first_head(sheet, content, settings.institution)
        else:
            next_head(sheet, content)
        top = frame.top + (FIRST_HEAD if number == 1 else NEXT_HEAD)
        for block in blocks:
            if block.bookmark:
                sheet.bookmark(block.bookmark)
            block.draw(sheet, frame.bottom - block.height if block.at_foot else top)
            top += block.height
        footer(sheet, content, number, len(pages))
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _describe(canvas: Canvas, content: ReportContent) -> None:
    """What the file says of itself: never patient data, and the report's own time instead of the clock's."""
    canvas.setTitle(f"{TITLE}, study {content.study_key}, version {content.edition.version}")
    canvas.setAuthor(PRODUCER)
    canvas.setSubject(DISCLAIMER)
    canvas.setCreator(f"{PRODUCER} {content.edition.software_version}")
    canvas.setProducer(PRODUCER)
    stamp = TimeStamp(invariant=1)
    when = content.edition.created_at
    stamp.t = when.timestamp()
    stamp.YMDhms = when.utctimetuple()[:6]
    document = canvas._doc  # noqa: SLF001 (ReportLab has no other door for the two)
    document._timeStamp = stamp  # noqa: SLF001
    # The file's identifier is a digest of all that is written, begun with a time that $SOURCE_DATE_EPOCH may set.
    document.signature = hashlib.md5(usedforsecurity=False)
