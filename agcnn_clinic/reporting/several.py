"""Several images of a study, for the report's first page: beside each other, and what is remarked on each."""

from collections.abc import Sequence
from dataclasses import replace

from agcnn_clinic.reporting.blocks import Block, fact, heading, space
from agcnn_clinic.reporting.content import ReadImage, ReportContent
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.findings import MOST_LINES, NOT_EXCLUDED, ROW, figure
from agcnn_clinic.reporting.page import LEADING, Align, Ink, Sheet, Size, fit
from agcnn_clinic.reporting.paper import Frame
from agcnn_clinic.reporting.pictures import CAPTION, Plates, caption, thumbnail
from agcnn_clinic.reporting.shaping import NO_BREAK, text_width, wrapped
from agcnn_models.labels import NO_FINDING

_ACROSS = 5
"""Images beside each other in the comparison."""
_THUMBNAIL = 92.0
"""The most that a film in the comparison is high."""
_TITLE_LINES = 3
"""Of an image's title under its thumbnail, however long the view is that its header states."""


def comparison(images: Sequence[ReadImage], plates: Sequence[Plates | None], frame: Frame) -> list[Block]:
    """All images of a study beside each other: small films, under each the probability of every label; and a legend."""
    blocks = []
    for start in range(0, len(images), _ACROSS):
        part = images[start : start + _ACROSS]
        blocks.append(_compare(part, plates[start : start + _ACROSS], frame, _order(images)))
    blocks[-1] = replace(blocks[-1], with_next=True)
    return [*blocks, _legend(frame, boxes=any(pictures is not None for pictures in plates))]


def _legend(frame: Frame, *, boxes: bool) -> Block:
    """What the numbers of the comparison are, and the boxes where there are any; the rest is on the images' pages."""
    told = "Box: the region that the model attended to. " if boxes else ""
    text = (
        f"Numbers: the probability of each label. {told}{NOT_EXCLUDED} "
        "The pages that follow have the thresholds, and what each branch says."
    )
    lines = wrapped(text, Size.SMALL, frame.width)

    def draw(sheet: Sheet, top: float) -> None:
        sheet.lines(frame.left, top + Size.SMALL, lines, Size.SMALL, ink=Ink.MUTED)

    return Block(len(lines) * Size.SMALL * LEADING + 6, draw)


def of_other_patients(images: Sequence[ReadImage], frame: Frame) -> list[Block]:
    """Which of several images may be another patient's. It stands above what is said of the images."""
    doubts = [
        fact(image.name, image.other_patient, frame, weight=Weight.SEMIBOLD) for image in images if image.other_patient
    ]
    return [*doubts, space(8)] if doubts else []


def of_several_models(content: ReportContent, frame: Frame) -> list[Block]:
    """Which model read which of several images, above their comparison; nothing where one read all.

    So it is where images came before and after `models use`. Each model has thresholds and a calibration of its own.
    """
    images_of: dict[str, list[str]] = {}
    for image in content.images:
        if name := content.read_by(image):
            images_of.setdefault(name, []).append(str(image.number))
    if not images_of:
        return []
    told = "; ".join(
        f"{name} read image{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for name, numbers in images_of.items()
    )
    text = f"{told}. Probabilities and marks of different models cannot be compared."
    return [fact("Models", text, frame, weight=Weight.SEMIBOLD, max_lines=MOST_LINES), space(8)]


def remarked(images: Sequence[ReadImage], frame: Frame) -> list[Block]:
    """The remarks on the quality of each of several images."""
    remarks = [
        fact(image.name, " ".join(image.remarks), frame, max_lines=MOST_LINES) for image in images if image.remarks
    ]
    return [heading("Input quality"), *remarks, space(10)] if remarks else []


def _order(images: Sequence[ReadImage]) -> list[str]:
    """The labels by their highest probability in any image, those that no model assesses, `No Finding` last."""
    highest: dict[str, float] = {}
    for image in images:
        for row in image.findings:
            highest[row.label] = max(highest.get(row.label, 0.0), row.probability)
    missing = dict.fromkeys(label for image in images for label in image.not_assessed if label not in highest)
    last = [NO_FINDING] if any(image.no_finding or NO_FINDING in image.model.not_assessed for image in images) else []
    return [*sorted(highest, key=lambda label: -highest[label]), *missing, *last]


def _compare(
    images: Sequence[ReadImage], plates: Sequence[Plates | None], frame: Frame, labels: Sequence[str]
) -> Block:
    label_width = 112.0
    column = min((frame.width - label_width) / len(images), 132.0)
    captions = [
        [(line, Weight.REGULAR) for line in _title_lines(image, column - 6)]
        + ([("another patient?", Weight.SEMIBOLD)] if image.other_patient else [])
        for image in images
    ]
    # No higher than the highest film becomes in its column: five beside each other leave no gap above them.
    side = max((fit(one.width, one.height, column - 10, _THUMBNAIL)[1] for one in plates if one), default=_THUMBNAIL)
    head = side + 26 + (max(map(len, captions)) - 1) * CAPTION
    height = head + len(labels) * ROW + 4

    def draw(sheet: Sheet, top: float) -> None:
        for position, pictures in enumerate(plates):
            left = frame.left + label_width + position * column
            middle = left + column / 2
            thumbnail(sheet, pictures, left + 5, top, column - 10, side)
            for number, (line, weight) in enumerate(captions[position]):
                caption(sheet, line, middle, top + side + 12 + number * CAPTION, column - 6, weight)
        sheet.mark(frame.left + 4, top + side + 9.5, 5.0)
        told = "at or above its threshold"
        sheet.text(frame.left + 14, top + side + 12, told, Size.SMALL, ink=Ink.MUTED)
        sheet.rule(top + head - 6, ink=Ink.TEXT)
        for number, label in enumerate(labels):
            _compare_row(sheet, images, label, frame.left, label_width, column, top + head - 5 + number * ROW)
        sheet.rule(top + head - 4 + len(labels) * ROW, ink=Ink.TEXT)

    return Block(height, draw)


def _compare_row(
    sheet: Sheet,
    images: Sequence[ReadImage],
    label: str,
    left: float,
    label_width: float,
    column: float,
    top: float,
) -> None:
    found = [
        next((row for row in (*image.findings, image.no_finding) if row is not None and row.label == label), None)
        for image in images
    ]
    baseline = top + ROW - 3.9
    any_positive = any(row.positive for row in found if row is not None)
    if any_positive:
        sheet.box(left, top, sheet.frame.width, ROW, fill=Ink.TINT)
    weight = Weight.SEMIBOLD if any_positive else Weight.REGULAR
    name = label.replace("_", " ")
    sheet.text(left + 14, baseline, name, Size.BODY, weight=weight, width=label_width - 18)
    for position, row in enumerate(found):
        middle = left + label_width + (position + 0.5) * column
        if row is None:
            if label in images[position].model.not_assessed:
                sheet.text(middle, baseline, "not assessed", Size.SMALL, ink=Ink.MUTED, align=Align.CENTRE)
            continue
        positive = bool(row.positive)
        weight = Weight.SEMIBOLD if positive else Weight.REGULAR
        ink = Ink.TEXT if positive else Ink.MUTED
        number = figure(row.probability)
        if positive:
            sheet.mark(middle - text_width(number, Size.BODY, weight) / 2 - 10, top + ROW / 2, 6.0)
        sheet.text(middle, baseline, number, Size.BODY, weight=weight, ink=ink, align=Align.CENTRE)


def _title_lines(image: ReadImage, width: float) -> list[str]:
    parts = (part.replace(" ", NO_BREAK) for part in (image.name, image.when) if part)
    return wrapped(", ".join(parts), Size.SMALL, width, max_lines=_TITLE_LINES)
