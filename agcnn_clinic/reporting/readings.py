"""Which reading of each image a report prints: those that count, those of one model, or those it printed before."""

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, joinedload, selectinload

from agcnn_clinic.database.tables import Inference, Instance, ReceivedFile, ReportReading

Readings = Mapping[int, Inference]
"""File id -> the reading of it, with its findings, its attended region and its model loaded."""


def counting_readings(session: Session, study_ids: Collection[int]) -> Readings:
    """The readings of studies that count: what the clinic's own reports print."""
    return _readings(session, study_ids, ~Inference.beside)


def readings_of_model(session: Session, study_ids: Collection[int], model_id: int) -> Readings:
    """A model's readings of studies, whether they count or not."""
    return _readings(session, study_ids, Inference.model_id == model_id)


def readings_of_report(session: Session, study_id: int, report_id: int) -> Readings:
    """The readings that a report printed when it was made."""
    printed = select(ReportReading.inference_id).where(ReportReading.report_id == report_id)
    return _readings(session, [study_id], Inference.id.in_(printed))


def _readings(session: Session, study_ids: Collection[int], which: ColumnElement[bool]) -> Readings:
    statement = (
        select(Inference)
        .join(Inference.file)
        .join(ReceivedFile.instance)
        .where(Instance.study_id.in_(study_ids), which)
        .order_by(Inference.id)
        .options(
            # By itself: its manifest is long, and would come with each of its readings.
            selectinload(Inference.model),
            joinedload(Inference.attended_region),
            selectinload(Inference.findings),
        )
    )
    return {inference.file_id: inference for inference in session.scalars(statement)}
