"""A clinic that has read two DICOM films of one study and a PNG, and has reported on both."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
from sqlalchemy import select as select_rows
from sqlalchemy import update

from agcnn_clinic.cli.clinic import run_until_idle
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import Report, ReportReading, Study
from agcnn_clinic.dicom.composite import sop_common
from agcnn_clinic.sections import Sending as Settings
from agcnn_clinic.sending.archive import Archive
from agcnn_clinic.sending.loop import Sending
from agcnn_clinic.sending.objects import Kind, SentObject, Structure, as_file, when_asked

sys.path.append(str(Path(__file__).parent))  # for the module `certificates`

NAME = "Fujimori^Sachiko=藤森^幸子=ふじもり^さちこ"
STUDY_UID = "1.2.826.0.1.3680043.8.498.77"


@dataclass
class Clinic:
    """A clinic with reports, of which each test has a copy."""

    config: Config
    database: Database
    elapsed: float = 0.0

    def sending(self, structure: Structure = when_asked) -> Sending:
        """Its sending loop, whose clock is `elapsed`."""
        return Sending(self.database, self.config, structure, elapsed=lambda: self.elapsed)

    def report_id(self, *, dicom: bool) -> int:
        """The report of the study that came as DICOM, or of the one that came as a PNG."""
        uid = Study.study_instance_uid == STUDY_UID
        with self.database.session() as session:
            return session.scalars(select_rows(Report.id).join(Report.study).where(uid if dicom else ~uid)).one()

    def key(self, *, dicom: bool) -> str:
        """The key of that report's study."""
        with self.database.session() as session:
            return session.get_one(Report, self.report_id(dicom=dicom)).study.key

    def later_version(self, report_id: int, version: int, *, to_send: bool) -> int:
        """The row of a later version of a report, of the same readings, which begins to exist by this."""
        with self.database.write() as session:
            row = session.get_one(Report, report_id)
            later = Report(
                study_id=row.study_id,
                version=version,
                study_revision=row.study_revision,
                created_at=datetime.now(UTC),
                software_version=row.software_version,
                path=row.path,
                sha256=row.sha256,
                to_send=to_send,
                readings=[ReportReading(inference_id=reading.inference_id) for reading in row.readings],
            )
            session.add(later)
            session.flush()
            return later.id

    def all_are_sent(self) -> None:
        """From now on an archive has every report."""
        with self.database.write() as session:
            session.execute(update(Report).values(to_send=False, sent_at=datetime.now(UTC)))

    def rows(self) -> list[tuple[bool, bool]]:
        """Of each report whether it waits, and whether it was sent."""
        with self.database.session() as session:
            reports = session.scalars(select_rows(Report).order_by(Report.id)).all()
            return [(report.to_send, report.sent_at is not None) for report in reports]


@pytest.fixture(scope="session")
def read_clinic(tmp_path_factory, new_clinic, small_bundle, film, write_dicom) -> Path:
    """The folder of such a clinic; only to be copied."""
    folder = tmp_path_factory.mktemp("sending") / "clinic"
    new_clinic(folder)
    file = folder / "config.toml"
    text = file.read_text()
    for old, new in (
        ('model = "starter"', f'model = "{small_bundle}"'),
        ("settle_seconds = 2.0", "settle_seconds = 0.0"),
        ("decode_workers = 0", "decode_workers = 1"),
        ('to = ""', 'to = "PACS@127.0.0.1:1"'),
    ):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    config = load_config(file)
    for number, view in enumerate(("PA", "AP"), start=1):
        write_dicom(
            config.inbox / f"{number}.dcm",
            (np.roll(film, 9 * number, axis=1) * 4000).astype(np.uint16),
            StudyInstanceUID=STUDY_UID,
            PatientName=NAME,
            PatientID="P-50977",
            PatientSex="F",
            PatientBirthDate="19411102",
            AccessionNumber="A-1",
            SpecificCharacterSet="ISO_IR 192",
            ViewPosition=view,
        )
    Image.fromarray((film * 255).astype(np.uint8)).save(config.inbox / "alone.png")
    assert not run_until_idle(config, []), "the archive of the settings is not there, and process says so"
    return folder


@pytest.fixture
def clinic(read_clinic, copy_of_clinic, tmp_path, archive) -> Any:
    """A copy of it, whose two reports wait to be sent to `archive`."""
    copy_of_clinic(read_clinic, tmp_path / "clinic")
    file = tmp_path / "clinic" / "config.toml"
    file.write_text(file.read_text().replace("PACS@127.0.0.1:1", archive.address))
    config = load_config(file)
    with open_database(config.database_url) as database:
        yield Clinic(config, database)


@pytest.fixture
def named() -> Callable[..., Archive]:
    """The archive at an address, as a clinic with the settings that are given speaks to it."""

    def named(address: str, **settings: Any) -> Archive:
        return Archive.configured(Config(sending=Settings(**{"to": address, "timeout_seconds": 5} | settings)))

    return named


@pytest.fixture
def a_pdf() -> Callable[..., SentObject]:
    """As small an object as there is, of a UID."""

    def a_pdf(uid: str = "2.25.1") -> SentObject:
        dataset = Dataset()
        sop_common(dataset, EncapsulatedPDFStorage, uid, ExplicitVRLittleEndian)
        dataset.Modality, dataset.PatientName = "DOC", "Berg^Anna"
        return SentObject(Kind.PDF, as_file(dataset))

    return a_pdf
