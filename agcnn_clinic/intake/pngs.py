"""What the PNGs of a group are said to be: whose, of which study, in which view."""

import hashlib
import json

from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import MediaType, ReasonCode, StudyDescription
from agcnn_clinic.errors import ImageError
from agcnn_clinic.intake.items import Item
from agcnn_clinic.intake.study_toml import StudyToml, read_study_toml
from agcnn_clinic.sandbox.pool import Sandbox


def describe_pngs(items: list[Item], sandbox: Sandbox) -> None:
    """Give the PNGs of a group their study: from study.toml, else derived from their content."""
    pngs = [item for item in items if item.media_type is MediaType.PNG and item.error is None]
    tomls = [item for item in items if item.media_type is MediaType.STUDY_TOML]
    if not pngs:
        for item in tomls:
            # Without its PNGs it describes nothing; it is kept for a person to look at.
            item.media_type = MediaType.UNKNOWN
            item.error = ImageError(ReasonCode.STUDY_TOML, "no PNG lies beside it")
        return
    study_toml, views = StudyToml(), dict[str, str]()
    for item in tomls:
        try:
            study_toml = sandbox.run(read_study_toml, item.staged.path)
            # Also those that are no PNGs, or were to be ones: that a file is broken says nothing of the others.
            views = study_toml.views_of({*item.group.folder_names, *(other.found.base for other in items)})
        except ImageError as error:
            item.media_type, item.error = MediaType.UNKNOWN, error
            for png in pngs:
                png.error = error
            return
    content = "\n".join(sorted(item.staged.sha256 for item in pngs))
    identity = study_toml.identity(content) if tomls else content
    study = study_toml.describe(derived_uid(hashlib.sha256(f"study\n{identity}".encode()).hexdigest()))
    for item in pngs:
        view = views.get(item.found.base, "")
        source = {"study_toml": tomls[0].staged.sha256, "described": _digest(study, view)} if tomls else {}
        item.registration = {"study": study, "view_position": view, "source": source}


def _digest(study: StudyDescription, view_position: str) -> str:
    """Of all that a study.toml says of one PNG: the same PNG, described otherwise, is not the same file again."""
    return hashlib.sha256(json.dumps([vars(study), view_position], sort_keys=True).encode()).hexdigest()
