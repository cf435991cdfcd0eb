"""Rows of a clinic for tests: many-sided, but the same for the same seed."""

import hashlib
import random
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.orm import Session

from agcnn_clinic.database.tables import (
    AttendedRegion,
    Finding,
    Inference,
    Instance,
    Model,
    ReceivedFile,
    Report,
    Study,
)
from agcnn_clinic.domain import REASONS, InstanceDescription, MediaType, Outcome, ReasonCode

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding"),
)
BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
"""When the first study of `make_clinic_rows` came; each one came a minute after the one before."""

_NAMES = ("Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Παπαδόπουλος^Νίκος", "O'Neill^Aoife", "<b>&^")
_REASONS = (
    *(ReasonCode.READ,) * 5,
    ReasonCode.SAME_BYTES,
    ReasonCode.WRONG_VIEW,
    ReasonCode.UNREADABLE_PIXELS,
)


def make_model(session: Session, name: str = "starter", version: str = "1.0") -> Model:
    """Add a model."""
    digest = _sha256(f"{name} {version}")
    model = Model(
        name=name,
        version=version,
        weights_sha256=digest,
        manifest={"name": name, "version": version},
        manifest_sha256=_sha256(digest),
        registered_at=BEGIN,
    )
    session.add(model)
    return model


def make_study(session: Session, number: int, *, received_at: datetime | None = None, **described: str) -> Study:
    """Add a study without images; `described` sets its columns."""
    moment = received_at or BEGIN + timedelta(minutes=number)
    study = Study(
        **{
            "key": _sha256(f"study {number}")[:12],
            "study_instance_uid": f"1.2.826.0.1.{number}",
            "patient_id": f"P{number:04}",
            "patient_name": _NAMES[number % len(_NAMES)],
            "patient_sex": "FMO"[number % 3],
            "patient_birth_date": "1961-04-12",
            "study_date": (date(2025, 12, 1) + timedelta(days=number % 60)).isoformat(),
            "study_time": "09:30:00",
            "accession_number": f"A{number:05}",
        }
        | described,
        first_received_at=moment,
        last_received_at=moment,
    )
    session.add(study)
    return study


def make_file(
    session: Session,
    study: Study | None,
    number: int,
    reason: ReasonCode | None = ReasonCode.READ,
    *,
    view_position: str = "PA",
    name: str = "",
) -> ReceivedFile:
    """Add a file under an instance of its own, decided for `reason` (None: pending); no study: no readable header."""
    moment = study.first_received_at if study else BEGIN
    uid = f"1.2.826.0.2.{number}"
    instance = None
    if study is not None:
        instance = Instance(study=study, series_instance_uid=f"1.2.826.0.3.{number}", sop_instance_uid=uid)
        session.add(instance)
    described = InstanceDescription(
        series_instance_uid=f"1.2.826.0.3.{number}",
        sop_instance_uid=uid,
        modality="DX",
        view_position=view_position,
        body_part_examined="CHEST",
        photometric_interpretation="MONOCHROME2",
        rows=2140,
        columns=1760,
        bits_stored=12,
        acquisition_date_time="2026-01-02T08:15:30",
    )
    outcome = Outcome.PENDING if reason is None else REASONS[reason].outcome
    digest = _sha256(f"file {number}")
    file = ReceivedFile(
        instance=instance,
        original_name=name or f"incoming/IM{number:05}.dcm",
        media_type=MediaType.DICOM if study else MediaType.UNKNOWN,
        size=1_000_000 + number,
        sha256=digest,
        stored_path=f"{digest[:2]}/{digest}.dcm",
        quarantine_path=f"{digest[:12]}.dcm" if outcome is Outcome.QUARANTINED else "",
        received_at=moment,
        outcome=outcome,
        reason_code=reason or "",
        reason=REASONS[reason].sentence if reason else "",
        decided_at=None if reason is None else moment + timedelta(seconds=5),
        header=asdict(described) if study else {},
    )
    session.add(file)
    if study is not None and outcome not in (Outcome.PENDING, Outcome.DUPLICATE):
        study.revision = (study.revision or 0) + 1
    return file


def make_inference(
    session: Session,
    file: ReceivedFile,
    model: Model,
    chance: random.Random,
    *,
    created_at: datetime | None = None,
    beside: bool = False,
) -> Inference:
    """Add a reading with its 15 findings; the last label has no threshold."""
    inference = Inference(
        file=file,
        model=model,
        created_at=created_at or file.received_at + timedelta(seconds=5),
        software_version="0.1.0",
        device="cpu",
        thresholds_id="validation-1",
        warnings=["view_unknown"],
        quality={"contrast": 0.8},
        timings={"decode": 0.35, "network": 0.025},
        heat_map=bytes(2 * 49),
        heat_map_rows=7,
        heat_map_columns=7,
        beside=beside,
        findings=[_finding(label, chance) for label in LABELS],
        attended_region=AttendedRegion(
            x_min=310,
            y_min=420.5,
            x_max=1210,
            y_max=1630,
            width_mm=128.7,
            height_mm=172.9,
            spacing_source="PixelSpacing",
        ),
    )
    session.add(inference)
    return inference


def make_report(session: Session, study: Study, version: int = 1) -> Report:
    """Add a report that covers all that the study has now."""
    report = Report(
        study=study,
        version=version,
        study_revision=study.revision or 0,
        created_at=study.last_received_at + timedelta(minutes=1),
        software_version="0.1.0",
        path=f"reports/{study.key}-v{version}.pdf",
        sha256=_sha256(f"{study.key} {version}"),
    )
    session.add(report)
    study.reported_revision = report.study_revision
    return report


def make_clinic_rows(
    session: Session, *, studies: int = 5, images: int = 2, models: int = 1, seed: int = 0
) -> list[Study]:
    """Add studies whose images ended in all ways; of those that were read two of three have a report.

    Args:
        session: one that writes.
        studies: how many.
        images: the most images a study; each has one at least.
        models: how many models read each image that can be read, one after the other.
        seed: of the chances.
    """
    chance = random.Random(seed)
    known = [make_model(session, ("starter", "large")[i % 2], f"1.{i}") for i in range(models)]
    made = []
    for number in range(studies):
        study = make_study(session, number)
        read = False
        for image in range(chance.randint(1, images)):
            reason = chance.choice(_REASONS)
            file = make_file(
                session, study, number * images + image, reason, view_position=chance.choice(("PA", "AP", ""))
            )
            if reason is ReasonCode.READ:
                read = True
                for later, model in enumerate(known):
                    moment = file.received_at + timedelta(seconds=5 + later)
                    make_inference(session, file, model, chance, created_at=moment)
        if read and number % 3:
            make_report(session, study)
        made.append(study)
    session.flush()
    return made


def _finding(label: str, chance: random.Random) -> Finding:
    probability = chance.random() ** 3
    threshold = None if label == LABELS[-1] else 0.4
    return Finding(
        label=label,
        probability=probability,
        probability_global=chance.random(),
        probability_local=chance.random(),
        probability_fusion=chance.random(),
        threshold=threshold,
        positive=None if threshold is None else probability >= threshold,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
