"""A reading becomes rows: the inference, its findings, the attended region."""

from dataclasses import asdict
from datetime import datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from agcnn_clinic import __version__
from agcnn_clinic.analysis.films import Result
from agcnn_clinic.analysis.infer import Reader
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.database.tables import AttendedRegion, Finding, Inference, Model, ReceivedFile
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
    file: ReceivedFile,
    result: Result,
    reader: Reader,
    *,
    model_id: int,
    now: datetime,
    beside: bool = False,
) -> None:
    """Add the inference of a film that was read, with all that belongs to it, in the caller's transaction.

    Args:
        session: to write to.
        file: the film's row.
        result: its result; nothing is added where it has no reading.
        reader: what read it.
        model_id: that model's row.
        now: the inference's time.
        beside: whether another reading of the image counts.
    """
    developed, reading = result.developed, result.reading
    if developed is None or reading is None:
        return
    geometry = developed.geometry
    inference = Inference(
        file=file,
        model_id=model_id,
        created_at=now,
        software_version=__version__,
        device=reader.computed_on,
        thresholds_id=reader.manifest.thresholds.set_id,
        warnings=[str(warning) for warning in developed.warnings],
        quality=developed.quality,
        timings={"decode": round(developed.seconds, 4), "network": round(result.network_seconds, 4)},
        beside=beside,
        heat_map=np.ascontiguousarray(reading.heat_map).tobytes(),
        heat_map_rows=reading.heat_map.shape[0],
        heat_map_columns=reading.heat_map.shape[1],
        findings=[
            Finding(
                label=label.label,
                probability=label.probability,
                probability_global=label.probability_global,
                probability_local=label.probability_local,
                probability_fusion=label.probability_fusion,
                threshold=label.threshold,
                positive=label.positive,
            )
            for label in reading.labels
        ],
        attended_region=AttendedRegion(
            **asdict(source_region(reading.region, geometry)), spacing_source=geometry.spacing_source
        ),
    )
    session.add(inference)
