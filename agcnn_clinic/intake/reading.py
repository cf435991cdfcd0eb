"""What child processes read of files that come in; they load nothing of the database for it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import Header, StudyDescription
from agcnn_clinic.png import read_png_header


def dicom_headers(paths: list[Path]) -> list[Header]:
    """The headers of DICOM files; fails as a whole where one of them cannot be read.

    Raises:
        ImageError, StorageError: as `read_dicom_header`.
    """
    return [read_dicom_header(path) for path in paths]


def png_header(path: Path, sha256: str, registration: dict[str, Any]) -> Header:
    """Describe a PNG, which brings no UIDs: its image is its content, of the study that a study.toml says it is of."""
    study: StudyDescription = registration["study"]
    instance = read_png_header(path, sha256, series_instance_uid=_derived("series", study))
    if registration["source"]:
        # Dropped again with the patient corrected, it must not be found under the other one.
        instance = replace(instance, sop_instance_uid=_derived("instance", study, sha256))
    return Header(study, replace(instance, view_position=registration["view_position"]))


def _derived(level: str, study: StudyDescription, *content: str) -> str:
    text = "\n".join([level, study.study_instance_uid, *content])
    return derived_uid(hashlib.sha256(text.encode()).hexdigest())
