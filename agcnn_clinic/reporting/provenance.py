"""The closing pages: what was not read, how the report was made, how good the model is, and room for a signature."""

from agcnn_clinic.domain import Outcome
from agcnn_clinic.reporting.blocks import LABEL_WIDTH, Block, fact, heading, paragraph, space
from agcnn_clinic.reporting.content import BranchFigures, ModelFacts, ReadImage, ReportContent, UnreadImage, computed_on
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.heads import moment
from agcnn_clinic.reporting.page import LEADING, Align, Ink, Sheet, Size
from agcnn_clinic.reporting.paper import Frame
from agcnn_clinic.reporting.shaping import wrapped
from agcnn_clinic.wording import counted

LIMITS = (
    "A neural network read these images. It knows the listed labels as its training films were labelled, and nothing "
    "else; it does not see earlier films, the history or other views. Its probabilities hold for patients and "
    "machines like those it was trained on. A heat map shows where the network responded, not where a disease is; each "
    "is scaled to its own film, so that the heat of two films cannot be compared."
)
_OUTCOMES = {
    Outcome.ANALYSED: "not read by this model",
    Outcome.REFUSED: "not suited for the model",
    Outcome.QUARANTINED: "set aside",
}


def not_read(content: ReportContent, frame: Frame) -> list[Block]:
    """The images of the study that were not read, each with the reason; nothing where all were."""
    if not content.unread:
        return []
    count = len(content.unread)
    aside = f"{counted(count, 'image')}; the findings say nothing about {'them' if count > 1 else 'it'}"
    return [space(8), heading("Images not read", aside), *(_unread(image, frame) for image in content.unread), space(8)]


def _unread(image: UnreadImage, frame: Frame) -> Block:
    left_width = 190.0
    size = Size.SMALL + 0.6
    leading = size * LEADING
    view = f" ({image.view_position})" if image.view_position else ""
    name = wrapped(image.original_name + view, size, left_width - 22, Weight.SEMIBOLD, max_lines=2)
    uid = wrapped(image.sop_instance_uid, Size.LABEL, left_width - 22, max_lines=2)
    outcome = _OUTCOMES.get(image.outcome, str(image.outcome))
    reason = wrapped(f"{outcome.capitalize()}. {image.reason}", size, frame.width - left_width, max_lines=5)
    height = max(len(name) * leading + len(uid) * Size.LABEL * LEADING, len(reason) * leading) + 8

    def draw(sheet: Sheet, top: float) -> None:
        # A cross beside the name: this picture is not in the findings.
        x, y = frame.left + 4, top + 5
        sheet.line(x - 2.5, y - 2.5, x + 2.5, y + 2.5, ink=Ink.TEXT, thickness=1.1)
        sheet.line(x - 2.5, y + 2.5, x + 2.5, y - 2.5, ink=Ink.TEXT, thickness=1.1)
        baseline = top + size
        sheet.lines(frame.left + 14, baseline, name, size, weight=Weight.SEMIBOLD)
        sheet.lines(frame.left + 14, baseline + len(name) * leading, uid, Size.LABEL, ink=Ink.MUTED)
        sheet.lines(frame.left + left_width, baseline, reason, size)
        sheet.rule(top + height - 5)

    return Block(height, draw)


def provenance(content: ReportContent, frame: Frame, *, new_page: bool) -> list[Block]:
    """Everything that the findings came from."""
    title = "How this report was made"
    blocks = [heading(title, new_page=new_page, bookmark=title)]
    for model in content.models:
        blocks += [*_model(model, content.model_name(model), frame), space(8)]
    edition = content.edition
    covers = f"version {edition.version}, made {moment(edition.created_at)} by agcnn-clinic {edition.software_version}"
    if content.requested_model:
        covers += f", by request with the model {content.requested_model}"
    blocks += [
        heading("What it was made from"),
        *(_source(image, content.read_by(image), frame) for image in content.images),
        fact("Study Instance UID", content.study.study_instance_uid, frame),
        fact("Report", f"{covers}; revision {content.study_revision} of study {content.study_key}", frame),
        space(8),
        heading("What to keep in mind"),
        paragraph(LIMITS, frame),
    ]
    return blocks


def _model(model: ModelFacts, name: str, frame: Frame) -> list[Block]:
    backbone = f" (AG-CNN on {model.backbone})" if model.backbone else ""
    counts = f"Training part: {model.training_counts}." if model.training_counts else ""
    training = " ".join(part for part in (model.training_data, counts) if part)
    if model.pretraining not in ("", "none"):
        training += f" Pretraining: {model.pretraining}"
    thresholds = model.thresholds_id + (f": {model.thresholds_method}" if model.thresholds_method else "")
    blocks = [
        fact("Model", f"{name}{backbone}, weights {model.weights_sha256[:12]}", frame),
        fact("Weights, SHA-256", model.weights_sha256, frame),
        fact("Intended use", model.intended_use, frame),
        fact("Trained on", training, frame, max_lines=8),
        fact("Thresholds", thresholds, frame),
    ]
    if model.branches:
        blocks += [space(4), _measured(model, frame)]
    return blocks


def _measured(model: ModelFacts, frame: Frame) -> Block:
    """The mean AUC of each branch on a line from 0.5 (chance) to 1, with its 95 % interval."""
    size = Size.SMALL + 0.6
    told = wrapped(model.evaluated_on, size, frame.width - LABEL_WIDTH, max_lines=4)
    leading, row = size * LEADING, 13.0
    height = len(told) * leading + (len(model.branches) + 1) * row + 8

    def draw(sheet: Sheet, top: float) -> None:
        left = frame.left + LABEL_WIDTH
        axis, length = left + 196, frame.width - LABEL_WIDTH - 206
        sheet.text(frame.left, top + size, "Measured on", size, ink=Ink.MUTED)
        sheet.lines(left, top + size, told, size)
        y = top + len(told) * leading + 4
        sheet.text(frame.left, y + size, model.mean_auc, size, ink=Ink.MUTED)
        sheet.text(left + 172, y + size, "95 % interval", Size.LABEL, ink=Ink.MUTED, align=Align.RIGHT)
        for value, text in ((0.5, "0.5, chance"), (0.75, "0.75"), (1.0, "1")):
            x = axis + _along(value) * length
            sheet.text(x, y + size, text, Size.LABEL, ink=Ink.MUTED, align=Align.CENTRE)
        for number, figures in enumerate(model.branches, start=1):
            _branch(sheet, figures, left, y + number * row, axis, length)

    return Block(height, draw)


def _branch(sheet: Sheet, figures: BranchFigures, left: float, top: float, axis: float, length: float) -> None:
    size = Size.SMALL + 0.6
    baseline, middle = top + size, top + size / 2 + 1.4
    weight = Weight.SEMIBOLD if figures.branch == "fusion" else Weight.REGULAR
    sheet.text(left, baseline, f"{figures.branch} branch", size, weight=weight)
    sheet.text(left + 96, baseline, f"{figures.mean_auc:.3f}", size, weight=weight, align=Align.RIGHT)
    sheet.line(axis, middle, axis + length, middle, ink=Ink.RULE, thickness=0.5)
    for value in (0.5, 0.75, 1.0):
        x = axis + _along(value) * length
        sheet.line(x, middle - 2, x, middle + 2, ink=Ink.RULE, thickness=0.5)
    if figures.low is not None and figures.high is not None:
        interval = f"{figures.low:.3f} to {figures.high:.3f}"
        sheet.text(left + 172, baseline, interval, size, ink=Ink.MUTED, align=Align.RIGHT)
        x0, x1 = (axis + _along(value) * length for value in (figures.low, figures.high))
        sheet.line(x0, middle, x1, middle, ink=Ink.ACCENT, thickness=2.6)
    x = axis + _along(figures.mean_auc) * length
    sheet.line(x, middle - 4, x, middle + 4, ink=Ink.TEXT, thickness=1.3)


def _along(auc: float) -> float:
    return min(max((auc - 0.5) / 0.5, 0.0), 1.0)


def _source(image: ReadImage, read_by: str, frame: Frame) -> Block:
    kind = " ".join(part for part in (image.modality, image.view_position) if part)
    made_by = f", {image.manufacturer}" if image.manufacturer else ""
    acquired = f", acquired {image.acquired}" if image.acquired else ""
    model = f" with {read_by}" if read_by else ""
    read = f"read {moment(image.read_at)} on {computed_on(image.device)}{model}"
    read += f" by agcnn-clinic {image.software_version}"
    text = f"SOP Instance UID {image.sop_instance_uid}. {kind or 'Kind not stated'}{made_by}{acquired}; {read}."
    return fact(f"Image {image.number}", text, frame)


def signature(frame: Frame) -> Block:
    """Lines for a physician who has read the images."""
    height = 66.0

    def draw(sheet: Sheet, top: float) -> None:
        sheet.text(frame.left, top + Size.BODY + 2, "Read by a physician", Size.BODY, weight=Weight.SEMIBOLD)
        y = top + 48
        x = frame.left
        for label, share in (("Name", 0.38), ("Signature", 0.38), ("Date", 0.24)):
            end = x + (frame.width - 28) * share
            sheet.line(x, y, end, y, ink=Ink.TEXT, thickness=0.6)
            sheet.text(x, y + 10, label, Size.LABEL, ink=Ink.MUTED)
            x = end + 14

    return Block(height, draw, at_foot=True)
