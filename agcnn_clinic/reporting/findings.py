"""The findings of one image: the sentence above, and the table with its bars."""

from dataclasses import dataclass

from agcnn_clinic.reporting.blocks import Block
from agcnn_clinic.reporting.content import FindingRow, ReadImage
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.page import LEADING, Align, Ink, Sheet, Size
from agcnn_clinic.reporting.paper import Frame
from agcnn_clinic.reporting.shaping import NO_BREAK, wrapped
from agcnn_clinic.wording import counted
from agcnn_models.labels import NO_FINDING

ROW = 13.0
_HEAD = 26.0
_BAR = 6.0
_PAD = 9.0
_MOST_DECIMALS = 7
"""Of a probability: with a sign before it, it still stands in its column."""
MOST_LINES = 20
"""Of what is remarked on one image: more than all that there is takes."""
NOT_EXCLUDED = "A label below its threshold is not excluded."
NOT_ASSESSED = "not assessed: this model never learnt it"


def conclusion(image: ReadImage) -> str:
    """What the model says of an image, in a sentence; never that it is normal."""
    if not image.has_thresholds:
        return f"The model has no thresholds: the probabilities stand for themselves. {NOT_EXCLUDED}"
    positives, missing = image.positives, image.not_assessed
    labels = counted(len(image.findings), "label")
    which = "its threshold" if len(positives) <= 1 else "their thresholds"
    said = f"{len(positives)} of {labels} reached {which}" if positives else f"None of the {labels} reached {which}"
    if missing:
        said = f"Of the {labels} that the model assesses {len(positives) or 'none'} reached {which}"
    listed = ", ".join(f"{row.name} {figure(row.probability)}".replace(" ", NO_BREAK) for row in positives)
    told = [f"{said}: {listed}." if positives else f"{said}."]
    if positives and image.no_finding is not None and image.no_finding.positive:
        none = image.no_finding
        told.append(f"{none.name} reached its threshold, too ({figure(none.probability)}): the two contradict.")
    if missing:
        told.append(f"{len(missing)} more {'is' if len(missing) == 1 else 'are'} not assessed.")
    if not positives:
        told.append(NOT_EXCLUDED)
    return " ".join(told)


def verdict(image: ReadImage, frame: Frame) -> Block:
    """Whose image it may be, the model's conclusion and the input's quality, in a panel at the head of the image."""
    inner = frame.width - 2 * _PAD - 74
    # As many lines as it takes: what is cut here stands nowhere else.
    texts = (
        ("Patient", image.other_patient, Weight.SEMIBOLD),
        ("Model", conclusion(image), Weight.SEMIBOLD),
        ("Input quality", " ".join(image.remarks) or "No remarks.", Weight.REGULAR),
    )
    parts = [(label, wrapped(text, Size.BODY, inner, weight), weight) for label, text, weight in texts if text]
    leading = Size.BODY * LEADING
    height = 2 * _PAD + sum(len(lines) for _, lines, _ in parts) * leading + 3 * (len(parts) - 1)

    def draw(sheet: Sheet, top: float) -> None:
        sheet.box(frame.left, top, frame.width, height, fill=Ink.TINT)
        sheet.box(frame.left, top, 3.0, height, fill=Ink.ACCENT)
        y = top + _PAD + Size.BODY
        for label, lines, weight in parts:
            sheet.text(frame.left + _PAD + 3, y, label, Size.BODY, ink=Ink.MUTED)
            sheet.lines(frame.left + _PAD + 74, y, lines, Size.BODY, weight=weight)
            y += len(lines) * leading + 3

    return Block(height + 10, draw)


@dataclass(frozen=True)
class _Columns:
    """Where the columns of the table stand: left edges of the first three, right edges of the figures."""

    mark: float
    label: float
    bar: float
    bar_end: float
    probability: float
    threshold: float
    global_: float
    local: float
    fusion: float
    auc: float

    @classmethod
    def of(cls, frame: Frame) -> "_Columns":
        right = frame.right - 4
        return cls(
            mark=frame.left + 4,
            label=frame.left + 14,
            bar=frame.left + 112,
            bar_end=right - 268,
            probability=right - 214,
            threshold=right - 164,
            global_=right - 118,
            local=right - 82,
            fusion=right - 46,
            auc=right,
        )


def table(image: ReadImage, frame: Frame) -> list[Block]:
    """The labels by falling probability, `No Finding` set apart, and what the columns mean."""
    columns = _Columns.of(frame)
    apart = 4.0
    rows: list[FindingRow | str] = [*image.findings, *image.not_assessed]
    last = _last(image)
    height = _HEAD + (len(rows) + len(last)) * ROW + (apart if last else 0.0) + 5
    measured = bool(image.model.auc_of_label)

    def draw(sheet: Sheet, top: float) -> None:
        _table_head(sheet, columns, top, calibrated=image.model.calibrated, measured=measured)
        y = top + _HEAD
        for number, row in enumerate([*rows, *last]):
            if number == len(rows):
                sheet.rule(y + apart / 2)
                y += apart
            if isinstance(row, FindingRow):
                _row(sheet, columns, y, row, image.model.auc_of_label.get(row.label))
            else:
                _not_assessed(sheet, columns, y, row)
            y += ROW
        sheet.rule(y + 1, ink=Ink.TEXT)

    return [Block(height, draw, with_next=True), _legend(image, frame)]


def _last(image: ReadImage) -> list[FindingRow | str]:
    """What stands apart below the others: No Finding, which a model may not assess either."""
    if image.no_finding is not None:
        return [image.no_finding]
    return [NO_FINDING] if NO_FINDING in image.model.not_assessed else []


def _not_assessed(sheet: Sheet, columns: _Columns, top: float, label: str) -> None:
    """A label of which the model says nothing: no bar and no number, for none would mean anything."""
    baseline = top + ROW - 3.9
    sheet.text(columns.label, baseline, label.replace("_", " "), Size.BODY, ink=Ink.MUTED)
    sheet.text(columns.bar, baseline, NOT_ASSESSED, Size.SMALL + 0.6, ink=Ink.MUTED)


def _table_head(sheet: Sheet, columns: _Columns, top: float, *, calibrated: bool, measured: bool) -> None:
    y = top + _HEAD - 6
    muted = Ink.MUTED
    sheet.text(columns.label, y, "Label", Size.SMALL, ink=muted)
    for value, x in ((0, columns.bar), (0.5, (columns.bar + columns.bar_end) / 2), (1, columns.bar_end)):
        sheet.text(x, y, f"{value:g}", Size.LABEL, ink=muted, align=Align.CENTRE)
    kind = "calibrated" if calibrated else "uncalibrated"
    sheet.text(columns.probability, y - 9, kind, Size.LABEL, ink=muted, align=Align.RIGHT)
    sheet.text(columns.probability, y, "Probability", Size.SMALL, weight=Weight.SEMIBOLD, align=Align.RIGHT)
    for text, x in (
        ("Threshold", columns.threshold),
        ("Global", columns.global_),
        ("Local", columns.local),
        ("Fusion", columns.fusion),
    ):
        sheet.text(x, y, text, Size.SMALL, ink=muted, align=Align.RIGHT)
    middle = (columns.global_ - 22 + columns.fusion) / 2
    sheet.text(middle, y - 9, "output of each branch", Size.LABEL, ink=muted, align=Align.CENTRE)
    if measured:
        sheet.text(columns.auc, y - 9, "measured", Size.LABEL, ink=muted, align=Align.RIGHT)
        sheet.text(columns.auc, y, "AUC", Size.SMALL, ink=muted, align=Align.RIGHT)
    sheet.rule(top + _HEAD - 1, ink=Ink.TEXT)


def _row(sheet: Sheet, columns: _Columns, top: float, row: FindingRow, auc: float | None) -> None:
    """One label. A positive one differs by a mark, by bold type and by its ground, so that no colour is needed."""
    positive = bool(row.positive)
    weight = Weight.SEMIBOLD if positive else Weight.REGULAR
    baseline, middle = top + ROW - 3.9, top + ROW / 2
    if positive:
        sheet.box(sheet.frame.left, top, sheet.frame.width, ROW, fill=Ink.TINT)
        sheet.mark(columns.mark, middle, 6.0)
    small = Size.SMALL + 0.6
    probability, threshold = _told_apart(row)
    room = columns.bar - columns.label - 8
    sheet.text(columns.label, baseline, row.name, Size.BODY, weight=weight, width=room)
    length = columns.bar_end - columns.bar
    sheet.box(columns.bar, middle - _BAR / 2, length, _BAR, fill=Ink.WHITE, line=Ink.RULE, thickness=0.4)
    filled = length * min(max(row.probability, 0.0), 1.0)
    sheet.box(columns.bar, middle - _BAR / 2, filled, _BAR, fill=Ink.ACCENT if positive else Ink.BAR)
    if row.threshold is not None:
        x = columns.bar + length * min(max(row.threshold, 0.0), 1.0)
        sheet.line(x, middle - _BAR / 2 - 1.8, x, middle + _BAR / 2 + 1.8, ink=Ink.WHITE, thickness=2.2)
        sheet.line(x, middle - _BAR / 2 - 1.8, x, middle + _BAR / 2 + 1.8, ink=Ink.BLACK, thickness=1.0)
    sheet.text(columns.probability, baseline, probability, Size.BODY, weight=weight, align=Align.RIGHT)
    sheet.text(columns.threshold, baseline, threshold, small, ink=Ink.MUTED, align=Align.RIGHT)
    figures = (
        (row.probability_global, columns.global_),
        (row.probability_local, columns.local),
        (row.probability_fusion, columns.fusion),
        (auc, columns.auc),
    )
    for value, x in figures:
        if value is not None:
            sheet.text(x, baseline, figure(value), small, ink=Ink.MUTED, align=Align.RIGHT)


def _legend(image: ReadImage, frame: Frame) -> Block:
    mark = 14.0 if image.has_thresholds else 0.0
    meaning = "at or above its threshold, the upright line. " if image.has_thresholds else ""
    scale = "after calibration" if image.model.calibrated else "as it stands"
    text = f"{meaning}Probability: output of the fusion branch, {scale}. {NOT_EXCLUDED}{_without(image)}"
    lines = wrapped(text, Size.SMALL, frame.width - mark, max_lines=MOST_LINES)

    def draw(sheet: Sheet, top: float) -> None:
        if mark:
            sheet.mark(frame.left + 4, top + 5, 5.0)
        sheet.lines(frame.left + mark, top + Size.SMALL + 0.5, lines, Size.SMALL, ink=Ink.MUTED)

    return Block(len(lines) * Size.SMALL * LEADING + 6, draw)


def _without(image: ReadImage) -> str:
    """Which labels lack what the others have, in sentences that begin with a space."""
    rows = [*image.findings, *([image.no_finding] if image.no_finding is not None else [])]
    uncalibrated = [row.name for row in rows if row.label in image.model.uncalibrated]
    unmarked = [row.name for row in rows if row.threshold is None] if image.has_thresholds else []
    told = ""
    if uncalibrated:
        told += f" Not calibrated, but as it stands: {', '.join(uncalibrated)}."
    if unmarked:
        told += f" Without a threshold, so never marked: {', '.join(unmarked)}."
    return told


def figure(value: float) -> str:
    """A probability as it is printed where nothing else has to be told from it."""
    return f"{value:.2f}"


def _told_apart(row: FindingRow) -> tuple[str, str]:
    """Probability and threshold with two decimals, or with as many as show on which side of it the probability lies.

    Where no room is left for so many a sign shows it.
    """
    if row.threshold is None or row.probability == row.threshold:
        return figure(row.probability), "" if row.threshold is None else figure(row.threshold)
    for decimals in range(2, _MOST_DECIMALS + 1):
        probability, threshold = f"{row.probability:.{decimals}f}", f"{row.threshold:.{decimals}f}"
        if probability != threshold:
            return probability, threshold
    return ("<" if row.probability < row.threshold else ">") + probability, threshold
