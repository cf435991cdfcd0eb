"""A clinic with real files in archive, quarantine and reports, and a clock that is handed in."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.claims import ALONE, Claims
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import Instance, ReceivedFile, Report, Study
from agcnn_clinic.domain import REASONS, SUFFIXES, MediaType, Outcome, ReasonCode
from agcnn_clinic.intake.accept import Intake, accept
from agcnn_clinic.intake.discover import found
from agcnn_clinic.intake.items import Group
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.loop import Upkeep
from agcnn_clinic.upkeep.plan import Disk

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@dataclass
class Ward:
    """A clinic, and ways to put things into it."""

    config: Config
    database: Database
    storage: Storage
    now: datetime = NOW
    disk: Disk = field(default_factory=lambda: Disk(1, 1000, 1000))
    _number: int = field(default=0)

    def upkeep(self, **retention: Any) -> Upkeep:
        """The upkeep under these settings of [retention]."""
        settings = self.config.retention.model_copy(update=retention)
        config = self.config.model_copy(update={"retention": settings})
        return Upkeep(self.database, self.storage, config, lambda: self.now, lambda _: self.disk)

    def study(self, *, days_ago: float = 100) -> int:
        """A study that came so long ago; its id."""
        self._number += 1
        came = self.now - timedelta(days=days_ago)
        with self.database.write() as session:
            study = Study(
                key=f"{self._number:012}",
                study_instance_uid=f"2.25.{self._number}",
                patient_id="CANARY-ID",
                first_received_at=came,
                last_received_at=came,
                revision=0,
            )
            session.add(study)
            session.flush()
            return study.id

    def file(
        self,
        study_id: int | None,
        reason: ReasonCode | None = ReasonCode.READ,
        *,
        content: bytes | None = None,
        days_ago: float = 100,
        media_type: MediaType = MediaType.DICOM,
        container_id: int | None = None,
    ) -> int:
        """A file with its bytes in the archive, and in quarantine where it belongs there; its id."""
        self._number += 1
        content = b"%d" % self._number if content is None else content
        digest = hashlib.sha256(content).hexdigest()
        stored = f"{digest[:2]}/{digest}{SUFFIXES[media_type]}"
        path = self.config.archive / stored
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        outcome = Outcome.PENDING if reason is None else REASONS[reason].outcome
        came = self.now - timedelta(days=days_ago)
        quarantine_path = ""
        if outcome is Outcome.QUARANTINED:
            quarantine_path = self.storage.quarantine(stored, {"reason_code": reason})
        with self.database.write() as session:
            instance = None
            if study_id is not None:
                instance = Instance(
                    study_id=study_id, series_instance_uid="1", sop_instance_uid=f"2.25.7.{self._number}"
                )
            file = ReceivedFile(
                instance=instance,
                original_name="CANARY.dcm",
                media_type=media_type,
                size=len(content),
                sha256=digest,
                stored_path=stored,
                quarantine_path=quarantine_path,
                received_at=came,
                outcome=outcome,
                reason_code=reason or "",
                decided_at=None if reason is None else came,
                container_id=container_id,
            )
            session.add(file)
            if study_id is not None and outcome not in (Outcome.PENDING, Outcome.DUPLICATE):
                session.get_one(Study, study_id).revision += 1
            session.flush()
            return file.id

    def report(self, study_id: int, *, days_ago: float = 99, model_id: int | None = None) -> int:
        """A delivered report that covers what the study holds now, or one by request with a model; its id."""
        with self.database.write() as session:
            study = session.get_one(Study, study_id)
            version = len(study.reports) + 1
            path = self.config.reports / f"{study.key}-v{version}.pdf"
            path.write_bytes(b"%PDF " + b"x" * 95)
            report = Report(
                study=study,
                version=version,
                study_revision=study.revision,
                created_at=self.now - timedelta(days=days_ago),
                software_version="1",
                path=str(path.relative_to(self.config.root)),
                sha256="0",
                model_id=model_id,
            )
            session.add(report)
            if model_id is None:
                study.reported_revision = study.revision
            session.flush()
            return report.id

    def reported_study(self, *, days_ago: float = 100) -> tuple[int, int, int]:
        """A study with one image that was read and reported: ids of study, file and report."""
        study = self.study(days_ago=days_ago)
        file = self.file(study, days_ago=days_ago)
        return study, file, self.report(study, days_ago=days_ago)

    def row(self, file_id: int) -> ReceivedFile:
        with self.database.session() as session:
            return session.get_one(ReceivedFile, file_id)

    def report_row(self, report_id: int) -> Report:
        with self.database.session() as session:
            return session.get_one(Report, report_id)

    def has(self, file_id: int) -> bool:
        """Whether a file's bytes are in the archive; fails where its row says otherwise."""
        row = self.row(file_id)
        there = (self.config.archive / row.stored_path).exists()
        assert there == (row.removed_at is None)
        return there

    def has_report(self, report_id: int) -> bool:
        """Whether a report's PDF is there; fails where its row says otherwise."""
        row = self.report_row(report_id)
        there = (self.config.root / row.path).exists()
        assert there == (row.removed_at is None)
        return there


@pytest.fixture
def ward(tmp_path, empty_clinic, copy_of_clinic):
    """A clinic without anything in it."""
    copy_of_clinic(empty_clinic, tmp_path / "clinic")
    config = load_config(tmp_path / "clinic" / "config.toml")
    storage = Storage(config)
    storage.prepare()
    with open_database(config.database_url) as database:
        yield Ward(config, database, storage)


@pytest.fixture
def intake(ward):
    """The intake of that clinic."""
    with Sandbox(1, seconds=60, memory_mb=4096) as sandbox:
        yield Intake(ward.storage, ward.database, sandbox, 1_000_000, ward.config.inbox)


@pytest.fixture
def take(ward, intake):
    """Take one file from the inbox, as of a moment: `take(path, when)`."""

    def take(path: Path, when: datetime, claims: Claims = ALONE) -> None:
        group = Group((found(path),), remove=True)
        list(accept(replace(intake, claims=claims), [[group]], lambda: when))

    return take
