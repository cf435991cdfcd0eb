"""From the rows of a study to what its report says. Nothing here depends on a clock.

What is composed for a moment is composed the same later on: files that were decided after the edition's `created_at`
are left out, and the readings are handed in, so that an older version can be made again when newer images have come and
other readings count.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agcnn_clinic.database.outcomes import corrects_the_patient, doubted_since, is_image, takes_the_place_of, told_since
from agcnn_clinic.database.tables import AttendedRegion, Inference, Model, ReceivedFile, Study
from agcnn_clinic.domain import (
    WARNINGS,
    MediaType,
    Outcome,
    ReasonCode,
    StudyDescription,
    Warn,
    remark_sentence,
)
from agcnn_clinic.reporting.content import (
    BranchFigures,
    Edition,
    FindingRow,
    ModelFacts,
    ReadImage,
    Region,
    ReportContent,
    SeenArea,
    UnreadImage,
)
from agcnn_clinic.reporting.readings import Readings
from agcnn_models.labels import NO_FINDING
from agcnn_models.shrinking import centre_margin

_BRANCHES = ("global", "local", "fusion")
_MINUTES = len("08:15")
_NOT_BY_THIS_MODEL = "The clinic's own report prints what another model says of it."


def compose(
    study: Study,
    edition: Edition,
    *,
    readings: Readings,
    archive: Path,
    study_revision: int | None = None,
    model: Model | None = None,
) -> ReportContent:
    """Gather everything that one version of a study's report prints.

    Args:
        study: its row, in a session that sees one state of the database throughout.
        edition: the version to compose; files that were decided after it are left out.
        readings: the reading of each file that is printed.
        archive: the folder that stored paths start at.
        study_revision: the revision that it covers; None for the study's own.
        model: the model that was asked for by name; None for the clinic's own report.
    """
    files = _files(study, edition)
    if model is None:
        # It has a reading of all that was read by then: the others came later, to a clock that had been set back.
        files = [file for file in files if file.outcome != Outcome.ANALYSED or file.id in readings]
    printed = [(file, readings[file.id]) for file in sorted(files, key=_acquisition) if file.id in readings]
    days = {study.study_date, *(_acquired(file)[0] for file, _ in printed)} - {""}
    corrected = {file.instance_id for file in files if corrects_the_patient(file) or _is_doubted(file, edition)}
    images = [
        _image(number, file, reading, archive, corrected=file.instance_id in corrected, of_one_day=len(days) < 2)
        for number, (file, reading) in enumerate(printed, start=1)
    ]
    read = {file.instance_id: file.id for file in files if file.outcome == Outcome.ANALYSED}
    unread = [file for file in files if file.id not in readings and _to_be_mentioned(file, read.get(file.instance_id))]
    return ReportContent(
        study_key=study.key,
        study_revision=study.revision if study_revision is None else study_revision,
        study=StudyDescription(
            study_instance_uid=study.study_instance_uid,
            patient_id=study.patient_id,
            patient_name=study.patient_name,
            patient_sex=study.patient_sex,
            patient_birth_date=study.patient_birth_date,
            study_date=study.study_date,
            study_time=study.study_time,
            accession_number=study.accession_number,
            study_description=study.study_description,
            referring_physician_name=study.referring_physician_name,
            institution_name=study.institution_name,
        ),
        edition=edition,
        images=tuple(images),
        unread=tuple(_unread(file) for file in _without_repetition(unread)),
        requested_model="" if model is None else f"{model.name} {model.version}",
    )


def _files(study: Study, edition: Edition) -> list[ReceivedFile]:
    """The study's files that were decided by then, in order of arrival."""
    files = (file for instance in study.instances for file in instance.files)
    told = (file for file in files if (since := told_since(file)) is not None and since <= edition.created_at)
    return sorted(told, key=lambda file: file.id)


def _is_doubted(file: ReceivedFile, edition: Edition) -> bool:
    """Whether another patient was named for its image by then, by a file of another study."""
    return (since := doubted_since(file)) is not None and since <= edition.created_at


def _acquired(file: ReceivedFile) -> tuple[str, str]:
    """The day and the time at which an image was acquired; what its header does not say is empty."""
    day, _, time = _text(file.header, "acquisition_date_time").partition("T")
    return day, time


def _acquisition(file: ReceivedFile) -> tuple[bool, str, bool, str]:
    """What images are ordered by: those taken earlier first, after them those of which that is not known.

    Files of which it says the same stay in order of arrival.
    """
    day, time = _acquired(file)
    return not day, day, not time, time


def _to_be_mentioned(file: ReceivedFile, read_instead: int | None) -> bool:
    """Whether a reader of the report must know that this file was not read.

    Not where it is no image, nor where its picture was read: as a duplicate (of which the image itself tells where it
    names another patient), or as a later file of the same SOP Instance that took its place.
    """
    if not is_image(file) or file.outcome not in (Outcome.ANALYSED, Outcome.REFUSED, Outcome.QUARANTINED):
        return False
    replaced = read_instead is not None and read_instead > file.id
    return not replaced or file.reason_code == ReasonCode.UID_CONFLICT


def _without_repetition(files: list[ReceivedFile]) -> list[ReceivedFile]:
    """Of an image that came again and was not read either only the newest file: what became of it now."""
    told: defaultdict[int | None, list[ReceivedFile]] = defaultdict(list)
    for file in reversed(files):
        newer = told[file.instance_id]
        if not any(takes_the_place_of(one, file) for one in newer):
            newer.append(file)
    return sorted((file for of_image in told.values() for file in of_image), key=lambda file: file.id)


def _unread(file: ReceivedFile) -> UnreadImage:
    reason = _NOT_BY_THIS_MODEL if file.outcome == Outcome.ANALYSED else file.reason
    remarks = [remark_sentence(remark) for remark in file.header.get("remarks", ())]
    return UnreadImage(
        original_name=file.original_name,
        sop_instance_uid=file.instance.sop_instance_uid if file.instance is not None else "",
        view_position=_text(file.header, "view_position"),
        outcome=Outcome(file.outcome),
        reason=" ".join([reason, *remarks]),
    )


def _image(
    number: int, file: ReceivedFile, inference: Inference, archive: Path, *, corrected: bool, of_one_day: bool
) -> ReadImage:
    rows = [
        FindingRow(
            label=finding.label,
            probability=finding.probability,
            probability_global=finding.probability_global,
            probability_local=finding.probability_local,
            probability_fusion=finding.probability_fusion,
            threshold=finding.threshold,
            positive=finding.positive,
        )
        for finding in inference.findings
    ]
    day, time = _acquired(file)
    pathologies = sorted((row for row in rows if row.label != NO_FINDING), key=lambda row: -row.probability)
    return ReadImage(
        inference_id=inference.id,
        number=number,
        path=archive / file.stored_path,
        media_type=MediaType(file.media_type),
        removed_at=file.removed_at,
        original_name=file.original_name,
        series_instance_uid=file.instance.series_instance_uid if file.instance is not None else "",
        sop_class_uid=_text(file.header, "sop_class_uid"),
        sop_instance_uid=file.instance.sop_instance_uid if file.instance is not None else "",
        modality=_text(file.header, "modality"),
        view_position=_text(file.header, "view_position"),
        acquired=" ".join(part for part in (day, time) if part),
        when=" ".join(part for part in ("" if of_one_day else day, time[:_MINUTES]) if part),
        manufacturer=" ".join(
            part for key in ("manufacturer", "manufacturer_model_name") if (part := _text(file.header, key))
        ),
        rows=int(_number(file.header, "rows") or 0),
        columns=int(_number(file.header, "columns") or 0),
        bits_stored=int(_number(file.header, "bits_stored") or 0),
        other_patient=_other_patient(inference, corrected=corrected),
        remarks=tuple(remark_sentence(warning) for warning in inference.warnings if warning != Warn.OTHER_PATIENT),
        findings=tuple(pathologies),
        no_finding=next((row for row in rows if row.label == NO_FINDING), None),
        region=_region(inference.attended_region),
        heat_map=np.frombuffer(inference.heat_map, np.float16)
        .reshape(inference.heat_map_rows, inference.heat_map_columns)
        .astype(np.float32),
        model=_model(inference.model),
        device=inference.device,
        read_at=inference.created_at,
        software_version=inference.software_version,
        thresholds_id=inference.thresholds_id,
    )


def _region(region: AttendedRegion) -> Region:
    return Region(
        x_min=region.x_min,
        y_min=region.y_min,
        x_max=region.x_max,
        y_max=region.y_max,
        width_mm=region.width_mm,
        height_mm=region.height_mm,
        spacing_source=region.spacing_source,
    )


def _other_patient(inference: Inference, *, corrected: bool) -> str:
    if Warn.OTHER_PATIENT in inference.warnings:
        return WARNINGS[Warn.OTHER_PATIENT]
    return WARNINGS[Warn.OTHER_PATIENT_LATER] if corrected else ""


def _model(model: Model) -> ModelFacts:
    """A model's row and its manifest; a manifest of another make may lack any part."""
    manifest = model.manifest
    branches = _part(manifest, "metrics", "branches")
    figures = []
    for branch in _BRANCHES:
        part = _part(branches, branch)
        if (mean_auc := _number(part, "mean_auc")) is not None:
            figures.append(BranchFigures(branch, mean_auc, _number(part, "ci_low"), _number(part, "ci_high")))
    auc = _part(branches, "fusion", "auc")
    calibration = _part(manifest, "calibration")
    calibrated = _text(calibration, "method") not in ("", "none")
    not_assessed = _labels(manifest, "not_assessed")
    fitted = _part(calibration, "coefficients")
    assessed = [label for label in _labels(manifest, "labels") if label not in not_assessed]
    return ModelFacts(
        name=model.name,
        version=model.version,
        weights_sha256=model.weights_sha256,
        manifest_sha256=model.manifest_sha256,
        backbone=_text(manifest, "backbone"),
        seen=_seen(_part(manifest, "preprocessing")),
        film_side=int(_number(_part(manifest, "preprocessing"), "resize") or 0) or None,
        calibrated=calibrated,
        uncalibrated=tuple(label for label in assessed if calibrated and fitted and label not in fitted),
        not_assessed=not_assessed,
        thresholds_id=_text(_part(manifest, "thresholds"), "set_id"),
        thresholds_method=_text(_part(manifest, "thresholds"), "method"),
        training_data=_text(_part(manifest, "training"), "data"),
        training_counts=_counts(_part(manifest, "training")),
        pretraining=_text(_part(manifest, "training"), "pretraining"),
        evaluated_on=_text(_part(manifest, "metrics"), "evaluated_on"),
        branches=tuple(figures),
        auc_of_label={label: value for label in auc if (value := _number(auc, label)) is not None},
        intended_use=_text(manifest, "intended_use"),
    )


def _seen(preprocessing: Mapping[str, Any]) -> SeenArea:
    """The centre crop of the resized square, as fractions of a side; all of it where the manifest does not say."""
    resize, crop = _number(preprocessing, "resize"), _number(preprocessing, "crop")
    if not resize or not crop or crop > resize:
        return SeenArea(0.0, 1.0)
    margin = centre_margin(int(resize), int(crop))
    return SeenArea(margin / resize, (margin + crop) / resize)


def _counts(training: Mapping[str, Any]) -> str:
    films, patients = _number(training, "films_train"), _number(training, "patients_train")
    if films is None or patients is None:
        return ""
    return f"{films:,.0f} films of {patients:,.0f} patients"


def _part(content: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        inner = content.get(name)
        content = inner if isinstance(inner, Mapping) else {}
    return content


def _labels(content: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = content.get(name)
    return tuple(label for label in found if isinstance(label, str)) if isinstance(found, list | tuple) else ()


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _number(content: Mapping[str, Any], name: str) -> float | None:
    value = content.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
