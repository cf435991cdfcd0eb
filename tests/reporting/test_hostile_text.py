"""Hostile text in every field that is printed: a report stays a report, and holds nothing but what was meant."""

from dataclasses import fields, is_dataclass, replace
from io import BytesIO

import pypdf
import pytest
from pypdf.generic import NameObject

from agcnn_clinic.domain import ReasonCode, StudyDescription
from agcnn_clinic.reporting import content as contents
from agcnn_clinic.reporting.content import ModelFacts, ReadImage, ReportContent, UnreadImage
from agcnn_clinic.reporting.coverage import fields_not_whole
from agcnn_clinic.reporting.page import MAX_BOOKMARK

TEXTS = {
    "markup": '<b>&amp;</b><img src="/etc/passwd"/><a href="file:///etc/passwd">x</a><para><font size=99>',
    "pdf": ") Tj ET Q endstream endobj 1 0 obj << /S /JavaScript /JS (app.alert(1)) >> BT (",
    "bidi": "\u202eevil\u2066\u2067\u2068lanimircon\u2069\u200b\u200f\ufeff\u061c",
    "controls": "A\x00B\x07C\x1b[2J\x9bD\r\n\x0cE\x7f\u2028F\ud800",
    "enormous": "Wolfeschlegel " * 4700,
    "one enormous word": "W" * 65_536,
    "a tower": "Z" + "\u0301" * 5000,
    "unassigned": "\U000e0041\U0010ffff\ue000\ufffe" * 40,
}
ACTIVE = {
    *("/JavaScript", "/JS", "/Launch", "/URI", "/GoToR", "/EmbeddedFile", "/Filespec", "/OpenAction", "/AA"),
    *("/SubmitForm", "/AcroForm", "/XFA", "/RichMedia"),
}
FORBIDDEN = {*map(chr, range(9)), *"\x0b\x0c\x1b\x7f\x9b\u202e\u2066\u2067\u200b\ufeff"}
NOT_FREE_TEXT = {
    # A code, a number or a moment, or our own word.
    *("study_instance_uid", "patient_birth_date", "study_date", "study_time", "sop_instance_uid", "modality"),
    *("acquired", "when", "other_patient", "device", "software_version", "training_counts"),
    *("study_key", "label", "branch", "spacing_source"),
}
NOT_PRINTED = {
    *((ReadImage, name) for name in ("original_name", "thresholds_id", "series_instance_uid", "sop_class_uid")),
    (ReportContent, "requested_model"),  # printed, and told of as its images' model
}
PRINTED_AS_CODE = {"media_type", "outcome", "weights_sha256", "manifest_sha256"}


def _with(value, text):
    """The same, with this text in each of its fields that hold text."""
    changed = {
        field.name: text
        for field in fields(value)
        if isinstance(getattr(value, field.name), str) and field.name not in PRINTED_AS_CODE
    }
    assert len(changed) >= 4
    return replace(value, **changed)


@pytest.fixture
def content(clinic, composed):
    """The content of a report of one image, and one that was not read."""
    study = clinic.add_study(patient_name="Berg^Anna", institution_name="Clinic")
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.WRONG_VIEW, name="lateral.dcm")
    return composed(study)


def _everywhere(content, text):
    """The same report with this text in every field of the study, the images, the model and what was not read."""
    image = content.images[0]
    model = _with(image.model, text)
    image = replace(_with(image, text), model=model, remarks=(text, text))
    assert isinstance(model, ModelFacts)
    assert isinstance(content.unread[0], UnreadImage)
    return replace(
        content,
        study=StudyDescription(**dict.fromkeys((field.name for field in fields(StudyDescription)), text)),
        images=(image,),
        unread=tuple(_with(unread, text) for unread in content.unread),
    )


@pytest.mark.parametrize("what", TEXTS)
def test_no_text_changes_what_a_report_is_made_of(content, picture, settings, what, render) -> None:
    """As many pages as it may have, the same pictures, no link, no script, no file of the disk."""
    plain = pypdf.PdfReader(BytesIO(render(content, picture, settings)))
    data = render(_everywhere(content, TEXTS[what]), picture, settings)
    reader = pypdf.PdfReader(BytesIO(data), strict=True)
    assert len(reader.pages) <= len(plain.pages) + 2
    assert sum(len(page.images) for page in reader.pages) == sum(len(page.images) for page in plain.pages)
    assert all("/Annots" not in page for page in reader.pages)
    assert len(reader.outline) == len(plain.outline)
    assert all(len(entry.title) <= MAX_BOOKMARK for entry in reader.outline)
    names = {name for number in range(1, len(reader.xref[0]) + 1) for name in _names(reader.get_object(number))}
    assert "/Page" in names
    assert not names & ACTIVE
    assert b"root:x:0" not in data


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_printed_can_be_printed(content, picture, settings, text_of, what, render) -> None:
    """No control, no override of direction and no half character comes out of the page; the warning stays on each."""
    for page in text_of(render(_everywhere(content, TEXTS[what]), picture, settings)):
        assert not set(page) & FORBIDDEN
        assert "Not reviewed by a physician" in page
        assert len(page) < 12_000


def _changed(value, text):
    """The value with this text in the place of each of its texts in turn, at any depth: whose text it was, its name."""
    for field in fields(value):
        name, inner = field.name, getattr(value, field.name)
        if isinstance(inner, str):
            yield type(value), name, replace(value, **{name: text})
        elif is_dataclass(inner):
            for kind, within, one in _changed(inner, text):
                yield kind, within, replace(value, **{name: one})
        elif isinstance(inner, tuple):
            for place, part in enumerate(inner):
                for kind, within, one in _changed(part, text) if is_dataclass(part) else ():
                    yield kind, within, replace(value, **{name: (*inner[:place], one, *inner[place + 1 :])})


def test_every_free_text_that_is_printed_is_told_where_it_is_not_whole(content) -> None:
    """A box never stands for a character without a word about the field, whichever it is."""
    assert fields_not_whole(content, "") == []
    changed = list(_changed(content, "\u05d0"))
    parts = {
        part for part in vars(contents).values() if is_dataclass(part) and str in {one.type for one in fields(part)}
    }
    assert parts == {kind for kind, _, _ in changed}
    told = {
        (kind.__name__, name): fields_not_whole(one, "")
        for kind, name, one in changed
        if name not in PRINTED_AS_CODE | NOT_FREE_TEXT and (kind, name) not in NOT_PRINTED
    }
    assert len(told) >= 19
    assert [field for field, remarked in told.items() if len(remarked) != 1] == []


def _names(value):
    """All names in an object of the document, keys and values: what a viewer may act upon."""
    if isinstance(value, NameObject):
        yield str(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield str(key)
            yield from _names(one)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)
