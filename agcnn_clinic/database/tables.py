"""The tables of the clinic, as SQLAlchemy models. alembic/versions/ holds how they came to be.

    study 1--* instance 1--* received_file 1--* inference 1--* finding
      1                                            *  1--1 attended_region
      |--* report *--* inference                   model        finding 1--* review

Beside them stands `audit_event` (see `audit`), which points to none of them: it must outlive what it tells of. So do
`worker 1--* claim`, which say who has what in hand, and hold nothing that is worth a backup.

A `received_file` is one file that entered the inbox, and has exactly one outcome. An `instance` is a SOP Instance,
of which several files may come (revisions); at most one of them is analysed by a given model.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from agcnn_clinic.database.audit import audit_event
from agcnn_clinic.database.values import Text, UtcDateTime
from agcnn_clinic.domain import MediaType, Outcome, Verdict

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, so that migrations can speak of them on every database."""


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own shape)
        str: Text,
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


for _column in audit_event.to_metadata(Base.metadata).columns:
    _column.comment = None  # they are for the manual; a database that keeps comments was never given them


def _one_of(column: str, values: type[Outcome | MediaType | Verdict]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class Study(Base):
    """A DICOM Study as its first image described it (PS3.3 C.7.1.1, C.7.2.1). Later headers never overwrite it."""

    __tablename__ = "study"
    __table_args__ = (
        # Those that may want a report: what the reporting loop asks for again and again.
        Index(
            "ix_study_unreported",
            "last_received_at",
            "id",
            sqlite_where=text("reported_revision < revision"),
            postgresql_where=text("reported_revision < revision"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    """The short id that `studies` prints, made from the UID; also the stem of its report's file name."""
    study_instance_uid: Mapped[str] = mapped_column(unique=True)
    patient_id: Mapped[str] = mapped_column(default="", index=True)
    patient_name: Mapped[str] = mapped_column(default="")
    patient_sex: Mapped[str] = mapped_column(default="")
    patient_birth_date: Mapped[str] = mapped_column(default="")
    study_date: Mapped[str] = mapped_column(default="", index=True)
    study_time: Mapped[str] = mapped_column(default="")
    accession_number: Mapped[str] = mapped_column(default="", index=True)
    study_description: Mapped[str] = mapped_column(default="")
    referring_physician_name: Mapped[str] = mapped_column(default="")
    institution_name: Mapped[str] = mapped_column(default="")
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime] = mapped_column(index=True)
    revision: Mapped[int] = mapped_column(default=0)
    """Counts the outcomes that change what a report would say; a report stores the revision it covers."""
    reported_revision: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """The revision that the clinic's own newest report covers, or with which there was nothing to report on."""

    instances: Mapped[list["Instance"]] = relationship(back_populates="study")
    reports: Mapped[list["Report"]] = relationship(back_populates="study", order_by="Report.version")


class Instance(Base):
    """A SOP Instance (PS3.3 C.12.1), as the first file under its UID described it."""

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    series_instance_uid: Mapped[str]
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)

    study: Mapped[Study] = relationship(back_populates="instances")
    files: Mapped[list["ReceivedFile"]] = relationship(back_populates="instance", order_by="ReceivedFile.id")


class ReceivedFile(Base):
    """One file that entered the inbox: where it is kept, and its one outcome."""

    __tablename__ = "received_file"
    __table_args__ = (
        _one_of("outcome", Outcome),
        _one_of("media_type", MediaType),
        Index("ix_received_file_outcome_id", "outcome", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int | None] = mapped_column(ForeignKey("instance.id"), index=True)
    """None for a file without a readable header."""
    original_name: Mapped[str]
    """Its path below the inbox, for a person to recognise it; invalid bytes are escaped."""
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(index=True)
    """Of the file's bytes. Not unique: a file may come twice, and each arrival is a row."""
    arrival: Mapped[str | None] = mapped_column(unique=True)
    """Says which file of the inbox this row was made from, so that a crash between the row and the removal from the
    inbox does not make a second row. None for a file that stays where it was (`process PATH`)."""
    stored_path: Mapped[str]
    """Where its bytes are kept: below the archive folder. Several arrivals of the same bytes share one."""
    quarantine_path: Mapped[str] = mapped_column(default="")
    """Where a person finds it when it is quarantined: below the quarantine folder, beside its reason."""
    received_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(default=Outcome.PENDING)
    reason_code: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Machine-readable: differing attributes, limits and values found; of a file that was taken back out of quarantine
    what reports say of it (`outcomes.told_since`); since when it is in doubt whose it is (`outcomes.doubted_since`). No
    patient data."""
    decided_at: Mapped[datetime | None]
    header: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`domain.InstanceDescription` of this very file, and `remarks`: the names of those `domain.Warn` that came of
    how it fits into its study. Where that is OTHER_PATIENT, `names` has the ID and the name of the patient that it
    states itself."""
    picture_sha256: Mapped[str] = mapped_column(default="")
    """Of the normalised picture: the same picture under another header has the same one."""
    attempts: Mapped[int] = mapped_column(default=0)
    """How many processes began on it and did not end well: one that keeps killing them is not tried for ever."""
    container_id: Mapped[int | None] = mapped_column(ForeignKey("received_file.id"), index=True)
    """The row of the archive (.zip) that it came in; None for a file that came by itself."""
    removed_at: Mapped[datetime | None]
    """When retention let go of its bytes; None while the archive keeps them."""

    instance: Mapped[Instance | None] = relationship(back_populates="files")
    inferences: Mapped[list["Inference"]] = relationship(back_populates="file", order_by="Inference.id")


class Model(Base):
    """A model that has read at least one image, with its manifest as it was then."""

    __tablename__ = "model"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    weights_sha256: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    manifest_sha256: Mapped[str] = mapped_column(unique=True)
    """Of the whole manifest: other thresholds over the same weights are another model."""
    registered_at: Mapped[datetime]


class Inference(Base):
    """One model over one image."""

    __tablename__ = "inference"
    __table_args__ = (UniqueConstraint("file_id", "model_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("received_file.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    software_version: Mapped[str]
    device: Mapped[str]
    thresholds_id: Mapped[str] = mapped_column(default="")
    warnings: Mapped[list[str]] = mapped_column(default=list)
    quality: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the gate measured: contrast, clipped fraction, size, spacing."""
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Seconds: `decode`, in the child process, and `network`, the batch's share."""
    heat_map: Mapped[bytes] = mapped_column(LargeBinary)
    """float16, row-major, in [0, 1], `heat_map_rows` x `heat_map_columns`: Eq. 3 on its native grid, rescaled."""
    heat_map_rows: Mapped[int]
    heat_map_columns: Mapped[int]
    beside: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Another reading of the image counts, and this one is for comparison: neither in the clinic's own reports nor in
    summaries. Of the readings of an image one counts, and only `readings.let_count` changes which."""

    file: Mapped[ReceivedFile] = relationship(back_populates="inferences")
    model: Mapped[Model] = relationship()
    findings: Mapped[list["Finding"]] = relationship(back_populates="inference", order_by="Finding.id")
    attended_region: Mapped["AttendedRegion"] = relationship(back_populates="inference")


class Finding(Base):
    """One label of one inference: a row for each that the model assesses."""

    __tablename__ = "finding"
    __table_args__ = (
        UniqueConstraint("inference_id", "label"),
        # In the order in which `findings --label` shows them, with what it asks of them.
        Index("ix_finding_label_inference_id", "label", "inference_id", "probability", "positive"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    inference_id: Mapped[int] = mapped_column(ForeignKey("inference.id"))
    label: Mapped[str]
    probability: Mapped[float]
    """The fusion branch's, calibrated where the model has a calibration."""
    probability_global: Mapped[float]
    probability_local: Mapped[float]
    probability_fusion: Mapped[float]
    threshold: Mapped[float | None]
    """On `probability`; None where the model has none for this label."""
    positive: Mapped[bool | None]
    """probability >= threshold; None without a threshold."""

    inference: Mapped[Inference] = relationship(back_populates="findings")


class Review(Base):
    """What a physician said of one label of one image, looking at one reading. Beside its finding, never over it.

    Rows are added and never changed: the newest of an image and a label counts, the older ones are its history.
    """

    __tablename__ = "review"
    __table_args__ = (_one_of("verdict", Verdict), Index("ix_review_inference_id_label", "inference_id", "label"))

    id: Mapped[int] = mapped_column(primary_key=True)
    verdict: Mapped[str]
    reviewer: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    reviewed_at: Mapped[datetime]
    inference_id: Mapped[int] = mapped_column(ForeignKey("inference.id"))
    """What the physician was looking at: the image and the model, which never change."""
    label: Mapped[str]
    """Whether or not the model assesses it: where it does, the finding is the reading's of this label."""

    inference: Mapped[Inference] = relationship()


class AttendedRegion(Base):
    """The box that the local branch looked at, by its edges in source pixels: pixel i is from i to i + 1."""

    __tablename__ = "attended_region"

    id: Mapped[int] = mapped_column(primary_key=True)
    inference_id: Mapped[int] = mapped_column(ForeignKey("inference.id"), unique=True)
    x_min: Mapped[float]
    y_min: Mapped[float]
    x_max: Mapped[float]
    y_max: Mapped[float]
    width_mm: Mapped[float | None]
    height_mm: Mapped[float | None]
    spacing_source: Mapped[str] = mapped_column(default="")

    inference: Mapped[Inference] = relationship(back_populates="attended_region")


class Report(Base):
    """One version of a study's PDF. An older version is kept when a late image makes a new one."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("study_id", "version"),
        # Those that wait to be sent: what the sending loop asks for again and again.
        Index("ix_report_to_send", "id", sqlite_where=text("to_send"), postgresql_where=text("to_send")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    version: Mapped[int]
    study_revision: Mapped[int]
    created_at: Mapped[datetime]
    """The time that is printed in it: made again from the same rows, the PDF is the same byte for byte."""
    software_version: Mapped[str]
    path: Mapped[str]
    """Relative to the clinic's root, or absolute where `folders.reports` lies elsewhere."""
    sha256: Mapped[str]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    """The model that was asked for by name; None for the clinic's own report, of the readings that count."""
    removed_at: Mapped[datetime | None]
    """When retention let go of the PDF; None while it is kept."""
    to_send: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It waits to be sent to the archive that `sending.to` names."""
    sent_at: Mapped[datetime | None]
    """When an archive last took it; None where none did."""

    study: Mapped[Study] = relationship(back_populates="reports")
    model: Mapped[Model | None] = relationship()
    readings: Mapped[list["ReportReading"]] = relationship(order_by="ReportReading.inference_id")


class Worker(Base):
    """A process that works on a clinic which it shares with others; see `leases`. SQLite's clinics have none."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Made by the process for itself: process ids come again, and machines may have one name."""
    host: Mapped[str]
    process_id: Mapped[int]
    began_at: Mapped[datetime]
    lease_until: Mapped[datetime] = mapped_column(index=True)
    """By the server's clock, as `began_at`. Whoever finds it past may remove the row."""


class Claim(Base):
    """A piece of work that a worker has in hand; it goes with the worker."""

    __tablename__ = "claim"

    work: Mapped[str] = mapped_column(primary_key=True)
    """A value of `claims.Work`."""
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    worker_id: Mapped[str] = mapped_column(ForeignKey("worker.id", ondelete="CASCADE"), index=True)


class ReportReading(Base):
    """A reading that a report prints: made again, the report prints the same one, whichever counts by then."""

    __tablename__ = "report_reading"

    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    inference_id: Mapped[int] = mapped_column(ForeignKey("inference.id"), primary_key=True)
