"""Readings become rows: inferences, their findings, the attended regions."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from agcnn_clinic import __version__
from agcnn_clinic.analysis.films import Result
from agcnn_clinic.analysis.infer import Reader
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.database.many import add_rows
from agcnn_clinic.database.tables import AttendedRegion, Finding, Inference, Model
from agcnn_models.manifest import Manifest, digest


def register_model(session: Session, manifest: Manifest, now: datetime) -> int:
    """The id of the model's row, added when this manifest has not been seen before."""
    manifest_sha256 = digest(manifest)
    model = session.scalars(select(Model).where(Model.manifest_sha256 == manifest_sha256)).first()
    if model is None:
        model = Model(
            name=manifest.name,
            version=manifest.version,
            weights_sha256=manifest.weights.sha256,
            manifest=manifest.model_dump(mode="json"),
            manifest_sha256=manifest_sha256,
            registered_at=now,
        )
        session.add(model)
        session.flush()
    return model.id


def record(
    session: Session,
    results: Sequence[Result],
    reader: Reader,
    *,
    model_id: int,
    now: datetime,
    beside: bool = False,
) -> None:
    """Add the inferences of films that were read, with all that belongs to them, in the caller's transaction.

    Rows are written as plain values: as objects of the session they would take three times as long.

    Args:
        session: to write to.
        results: what came of the films; nothing is added for one without a reading.
        reader: what read them.
        model_id: that model's row.
        now: the inferences' time.
        beside: whether another reading of each image counts.
    """
    read = [
        (result, developed, reading)
        for result in results
        if (developed := result.developed) is not None and (reading := result.reading) is not None
    ]
    if not read:
        return
    inferences = [
        {
            "file_id": result.film.file_id,
            "model_id": model_id,
            "created_at": now,
            "software_version": __version__,
            "device": reader.computed_on,
            "thresholds_id": reader.manifest.thresholds.set_id,
            "warnings": [*result.film.remarks, *map(str, developed.warnings)],
            "quality": developed.quality,
            "timings": {"decode": round(developed.seconds, 4), "network": round(result.network_seconds, 4)},
            "beside": beside,
            "heat_map": np.ascontiguousarray(reading.heat_map).tobytes(),
            "heat_map_rows": reading.heat_map.shape[0],
            "heat_map_columns": reading.heat_map.shape[1],
        }
        for result, developed, reading in read
    ]
    of_inferences = list(zip(add_rows(session, Inference, inferences), read, strict=True))
    findings = [
        {"inference_id": inference_id, **vars(label), "positive": label.positive}
        for inference_id, (_, _, reading) in of_inferences
        for label in reading.labels
    ]
    session.execute(insert(Finding), findings)
    regions = [
        {
            "inference_id": inference_id,
            **asdict(source_region(reading.region, developed.geometry)),
            "spacing_source": developed.geometry.spacing_source,
        }
        for inference_id, (_, developed, reading) in of_inferences
    ]
    session.execute(insert(AttendedRegion), regions)
