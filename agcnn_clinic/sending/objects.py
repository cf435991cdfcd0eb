"""A report as DICOM objects: its PDF as it was delivered, and its findings for programs to read.

Both follow from the report, with their UIDs: sent twice, as after a power cut, they are the same objects.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.dicom.codes import IMAGE_CLASSES
from agcnn_clinic.dicom.composite import patient_and_study
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.moments import iso
from agcnn_clinic.reporting.content import ReadImage, ReportContent

MANUFACTURER = "agcnn-clinic"
_SEXES = ("M", "F", "O")
"""The values of Patient's Sex (0010,0040) that the standard knows."""


class Kind(StrEnum):
    """What is sent of a report."""

    PDF = "pdf"
    """The PDF, as it was delivered: Encapsulated PDF."""
    SR = "sr"
    """Findings and attended regions: Comprehensive 3D SR."""


class Before(NamedTuple):
    """A report of the same study that goes out before: its version, and when it was made."""

    version: int
    created_at: datetime


class SentObject(NamedTuple):
    """A DICOM object that is sent of a report."""

    kind: Kind
    file: bytes
    """As it is sent, Explicit VR Little Endian, after its file meta information."""


Structure = Callable[[ReportContent, Before | None], Callable[[], bytes]]
"""Begins to make a report's SR. What it gives waits for it, and gives it as a file; or raises, where there is none."""


class Identity(NamedTuple):
    """The UIDs of one object; each report's has a series of its own."""

    series_instance_uid: str
    sop_instance_uid: str


def identity(kind: Kind, content: ReportContent, report: Before | None = None) -> Identity:
    """The UIDs of a report's object, or of that of a report before it."""
    return Identity(_uid(f"series {kind}", content, report), _uid(f"object {kind}", content, report))


def part_uid(content: ReportContent, part: str) -> str:
    """The UID of a part of a report."""
    return _uid(f"part {part}", content)


def _uid(what: str, content: ReportContent, report: Before | None = None) -> str:
    version, created_at = report or Before(content.edition.version, content.edition.created_at)
    said = f"{what} of report {version} of {content.study.study_instance_uid}, made at {iso(created_at)}"
    return derived_uid(hashlib.sha256(said.encode()).hexdigest())


def structured(content: ReportContent, before: Before | None) -> bytes:
    """Make a report's SR, as a file; a module-level function, so that a child process can do so.

    Args:
        content: what the report says.
        before: the report that it replaces, where that is sent.
    """
    # highdicom takes half a second to load.
    from agcnn_clinic.sending.structured_report import structured_report  # noqa: PLC0415

    with quiet():
        return as_file(structured_report(content, before))


def when_asked(content: ReportContent, before: Before | None) -> Callable[[], bytes]:
    """Make a report's SR here, as soon as it is asked for."""
    return partial(structured, content, before)


def as_file(dataset: Dataset) -> bytes:
    """A data set with its file meta information as a file (PS3.10)."""
    file = DicomBytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def referable(content: ReportContent) -> list[ReadImage]:
    """The images that an object of the study can refer to: as images of the standard's classes, each in its series."""
    return [
        image
        for image in content.images
        if not image.other_patient and image.series_instance_uid and image.sop_class_uid in IMAGE_CLASSES
    ]


def source(image: ReadImage, content: ReportContent) -> Dataset:
    """What is said of an image where it is referred to, with its patient and study."""
    dataset = Dataset()
    of_study(dataset, content)
    dataset.SeriesInstanceUID = image.series_instance_uid
    dataset.SOPClassUID = image.sop_class_uid
    dataset.SOPInstanceUID = image.sop_instance_uid
    return dataset


def of_study(dataset: Dataset, content: ReportContent) -> None:
    """Put an object where its report belongs: the values are those that came with the images."""
    sex = content.study.patient_sex
    patient_and_study(dataset, replace(content.study, patient_sex=sex if sex in _SEXES else ""))


def made_by(content: ReportContent) -> str:
    """What made the findings: the models' names and versions, as far as an LO takes them (PS3.5 6.2)."""
    return ", ".join(content.model_name(model) for model in content.models)[:64]
