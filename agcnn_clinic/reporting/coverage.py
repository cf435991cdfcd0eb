"""Which of a report's texts it cannot print whole: boxes must not stand for a name without a word about it."""

from collections.abc import Iterator, Sequence

from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.reporting.shaping import is_whole


def remark(fields: Sequence[str]) -> str:
    """What the report says of fields that are not printed whole; nothing where there are none."""
    if not fields:
        return ""
    return (
        f"This report cannot print all characters of: {', '.join(fields)}. They are boxes here, or left out; the text "
        "as it was received is in the database."
    )


def fields_not_whole(content: ReportContent, institution: str) -> list[str]:
    """The fields, each once, that hold a character that is printed as a box or left out."""
    return list(dict.fromkeys(field for field, text in _texts(content, institution) if not is_whole(text)))


def _texts(content: ReportContent, institution: str) -> Iterator[tuple[str, str]]:
    """All that a report prints and did not write itself, with what it is called."""
    study = content.study
    yield "patient name", study.patient_name
    yield "patient ID", study.patient_id
    yield "sex", study.patient_sex
    yield "accession number", study.accession_number
    yield "study description", study.study_description
    yield "referring physician", study.referring_physician_name
    yield "institution", institution or study.institution_name
    for image in content.images:
        yield "view", image.view_position
        yield "manufacturer", image.manufacturer
    for unread in content.unread:
        yield "view", unread.view_position
        yield "file name", unread.original_name
        yield "why an image was not read", unread.reason
    for model in content.models:
        yield "model", f"{model.name} {model.version}"
        for text in (
            *(model.backbone, model.training_data, model.pretraining, model.evaluated_on),
            *(model.thresholds_id, model.thresholds_method, model.intended_use),
        ):
            yield "description of the model", text
