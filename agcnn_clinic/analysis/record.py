"""A reading becomes rows: the inference, its findings, the attended region."""

import hashlib
import json
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from agcnn_clinic import __version__
from agcnn_clinic.analysis.infer import Reading
from agcnn_clinic.analysis.normalise import Normalised
from agcnn_clinic.database.tables import AttendedRegion, Finding, Inference, Model, ReceivedFile
from agcnn_models.manifest import Manifest


def manifest_sha256(manifest: Manifest) -> str:
    """The hash that tells models apart: other thresholds over the same weights are another model."""
    return hashlib.sha256(json.dumps(manifest.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def register_model(session: Session, manifest: Manifest, now: datetime) -> int:
    """The id of the model's row, added when this manifest has not been seen before."""
    content = manifest.model_dump(mode="json")
    digest = manifest_sha256(manifest)
    model = session.scalars(select(Model).where(Model.manifest_sha256 == digest)).first()
    if model is None:
        model = Model(
            name=manifest.name,
            version=manifest.version,
            weights_sha256=manifest.weights.sha256,
            manifest=content,
            manifest_sha256=digest,
            registered_at=now,
        )
        session.add(model)
        session.flush()
    return model.id


def record(
    session: Session,
    file: ReceivedFile,
    normalised: Normalised,
    reading: Reading,
    *,
    model_id: int,
    thresholds_id: str,
    device: str,
    timings: dict[str, Any],
    now: datetime,
) -> Inference:
    """Add an inference with all that belongs to it, in the caller's transaction."""
    geometry, region = normalised.picture.geometry, reading.region
    spacing = geometry.spacing_mm
    inference = Inference(
        file=file,
        model_id=model_id,
        created_at=now,
        software_version=__version__,
        device=device,
        thresholds_id=thresholds_id,
        warnings=[str(warning) for warning in normalised.warnings],
        quality=normalised.quality,
        timings=timings,
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
            x_min=region.x_min * geometry.scale_x,
            y_min=region.y_min * geometry.scale_y,
            x_max=region.x_max * geometry.scale_x,
            y_max=region.y_max * geometry.scale_y,
            width_mm=None if spacing is None else (region.x_max - region.x_min) * spacing,
            height_mm=None if spacing is None else (region.y_max - region.y_min) * spacing,
            spacing_source=geometry.spacing_source,
        ),
    )
    session.add(inference)
    return inference
