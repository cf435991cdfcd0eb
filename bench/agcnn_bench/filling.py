"""Rows of a clinic with years behind it: one film a study, read and reported, but for the last few."""

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from agcnn_clinic.database.session import Database
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
from agcnn_clinic.domain import MediaType, Outcome, ReasonCode
from agcnn_models.labels import LABELS

AT_ONCE = 5_000
"""Studies a transaction."""
LAST_DAY = date(2026, 1, 12)
UNREPORTED = 40
"""The newest studies, whose report is due."""
NEVER_READ = 50
"""Of so many studies one has no film that was read: it stays without a report for ever."""
_A_DAY = 250
"""Studies."""

Row = dict[str, Any]


def fill(database: Database, studies: int) -> None:
    """Fill an empty database by bulk inserts; study `n` is the same whenever it is made."""
    with database.write() as session:
        session.execute(insert(Model), [_model()])
    for first in range(1, studies + 1, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, studies + 1))
        # Made before the transaction begins, so that what is timed inside it is the database.
        rows = {table: [row for n in numbers for row in make(n, studies)] for table, make in _TABLES.items()}
        with database.write() as session:
            for table, made in rows.items():
                if made:
                    session.connection().execute(insert(table), made)


def moment_of(number: int, studies: int) -> datetime:
    """When study `number` of so many came; the last one came on the last day."""
    day, place = divmod(studies - number, _A_DAY)
    newest = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 16, tzinfo=UTC)
    return newest - timedelta(days=day, minutes=2 * place)


def _read(number: int) -> bool:
    return number % NEVER_READ != 0


def _reported(number: int, studies: int) -> bool:
    return _read(number) and number <= studies - UNREPORTED


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _model() -> Row:
    return {
        "id": 1,
        "name": "starter",
        "version": "2.0.0",
        "weights_sha256": _digest("weights"),
        "manifest": {"name": "starter"},
        "manifest_sha256": _digest("manifest"),
        "registered_at": datetime(2010, 1, 1, tzinfo=UTC),
    }


def _study(number: int, studies: int) -> Iterator[Row]:
    moment = moment_of(number, studies)
    patient = number * 7919 % max(studies // 3, 1)  # three studies a patient, spread over the years
    yield {
        "id": number,
        "key": _digest(f"study {number}")[:12],
        "study_instance_uid": f"1.2.826.0.1.3680043.2.{number}",
        "patient_id": f"P{patient:07}",
        "patient_name": f"Patient{patient:07}^Bench",
        "patient_sex": "FMO"[patient % 3],
        "patient_birth_date": f"19{patient % 80 + 10}-04-12",
        "study_date": moment.date().isoformat(),
        "study_time": "08:00:00",
        "accession_number": f"A{number:07}",
        "study_description": "Chest PA",
        "referring_physician_name": "",
        "institution_name": "",
        "first_received_at": moment,
        "last_received_at": moment,
        "revision": 1,
        # The reporting loop has looked at those of which nothing was read, too.
        "reported_revision": int(number <= studies - UNREPORTED),
    }


def _instance(number: int, studies: int) -> Iterator[Row]:
    del studies
    uid = f"1.2.826.0.1.3680043.{{}}.{number}"
    yield {
        "id": number,
        "study_id": number,
        "series_instance_uid": uid.format(3),
        "sop_instance_uid": uid.format(4),
    }


def _file(number: int, studies: int) -> Iterator[Row]:
    moment, read = moment_of(number, studies), _read(number)
    digest = _digest(f"file {number}")
    yield {
        "id": number,
        "instance_id": number,
        "original_name": f"2026/IM{number:07}.dcm",
        "media_type": MediaType.DICOM,
        "size": 8_389_000,
        "sha256": digest,
        "arrival": _digest(f"arrival {number}"),
        "stored_path": f"{digest[:2]}/{digest}.dcm",
        "quarantine_path": "",
        "received_at": moment,
        "outcome": Outcome.ANALYSED if read else Outcome.REFUSED,
        "reason_code": ReasonCode.READ if read else ReasonCode.WRONG_VIEW,
        "reason": "",
        "details": {},
        "decided_at": moment + timedelta(seconds=3),
        "header": {
            "modality": "DX",
            "view_position": ("PA", "AP")[number % 2],
            "body_part_examined": "CHEST",
            "rows": 2048,
            "columns": 2048,
            "bits_stored": 12,
        },
        "picture_sha256": _digest(f"picture {number}"),
        "attempts": 1,
    }


def _inference(number: int, studies: int) -> Iterator[Row]:
    if _read(number):
        yield {
            "id": number,
            "file_id": number,
            "model_id": 1,
            "created_at": moment_of(number, studies) + timedelta(seconds=3),
            "software_version": "0.1.0",
            "device": "cpu",
            "thresholds_id": "starter-2.0.0-youden",
            "warnings": [],
            "quality": {"contrast": 0.8, "black": 0.01, "white": 0.0, "rows": 2048, "columns": 2048},
            "timings": {"decode": 0.1, "network": 0.05},
            "heat_map": bytes(2 * 25),
            "heat_map_rows": 5,
            "heat_map_columns": 5,
            "beside": False,
        }


def _findings(number: int, studies: int) -> Iterator[Row]:
    del studies
    if not _read(number):
        return
    chance = random.Random(number)  # noqa: S311 (no secret)
    for label in LABELS:
        probability = chance.random() ** 3
        yield {
            "inference_id": number,
            "label": label,
            "probability": probability,
            "probability_global": chance.random(),
            "probability_local": chance.random(),
            "probability_fusion": chance.random(),
            "threshold": 0.4,
            "positive": probability >= 0.4,
        }


def _region(number: int, studies: int) -> Iterator[Row]:
    del studies
    if _read(number):
        yield {
            "inference_id": number,
            "x_min": 310.0,
            "y_min": 420.5,
            "x_max": 1210.0,
            "y_max": 1630.0,
            "width_mm": 128.7,
            "height_mm": 172.9,
            "spacing_source": "ImagerPixelSpacing",
        }


def _report(number: int, studies: int) -> Iterator[Row]:
    if _reported(number, studies):
        key = _digest(f"study {number}")[:12]
        yield {
            "study_id": number,
            "version": 1,
            "study_revision": 1,
            "created_at": moment_of(number, studies) + timedelta(seconds=60),
            "software_version": "0.1.0",
            "path": f"reports/{key}-v1.pdf",
            "sha256": _digest(key),
        }


_TABLES = {
    Study: _study,
    Instance: _instance,
    ReceivedFile: _file,
    Inference: _inference,
    Finding: _findings,
    AttendedRegion: _region,
    Report: _report,
}
"""In the order in which they refer to each other."""
