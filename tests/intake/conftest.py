"""A clinic's intake over real files, a real database and real child processes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.intake.accept import Intake, accept
from agcnn_clinic.intake.discover import Walk
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.intake.items import Group
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage

sys.path.append(str(Path(__file__).parent))  # for the modules `drops` and `zips`

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def sandbox():
    """One child process for all tests of this folder."""
    with Sandbox(1, seconds=60, memory_mb=4096) as sandbox:
        yield sandbox


@dataclass(frozen=True)
class Desk:
    """Where files are taken in."""

    config: Config
    database: Database
    storage: Storage
    intake: Intake
    new_inbox: Callable[..., Inbox]

    def rows(self) -> list[ReceivedFile]:
        """All received files, in order."""
        with self.database.session() as session:
            files = list(session.scalars(select(ReceivedFile).order_by(ReceivedFile.id)))
            for file in files:
                assert file.instance is None or file.instance.study is not None  # loads them
            return files

    def take_in_one_batch(self, now: datetime = NOW) -> None:
        """Take what lies in the inbox, in the order of names, a group for each file."""
        files = sorted(Walk(self.config.inbox, ()), key=lambda file: file.name)
        list(accept(self.intake, [[Group((file,), remove=True) for file in files]], lambda: now))

    def taken_in_one_batch(self) -> list[ReceivedFile]:
        """As `take_in_one_batch`; gives all rows."""
        self.take_in_one_batch()
        return self.rows()

    def waiting(self) -> list[str]:
        """What is still in the inbox, by name; its folders stay for a while, whether anything is in them or not."""
        return [found.name for found in Walk(self.config.inbox, ())]

    def left_half_copied(self) -> list[Path]:
        """Temporary files of the archive, the quarantine and the reports."""
        folders = (self.config.archive / ".incoming", self.config.quarantine, self.config.reports)
        return [path for folder in folders for path in folder.iterdir() if path.name.endswith(".part")]

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Outcome and reason code by name."""
        return {row.original_name: (row.outcome, row.reason_code) for row in self.rows()}


@pytest.fixture
def desk(tmp_path: Path, sandbox, empty_clinic, copy_of_clinic):
    """An empty clinic that takes files at once."""
    copy_of_clinic(empty_clinic, tmp_path / "clinic")
    file = tmp_path / "clinic" / "config.toml"
    text = file.read_text().replace("settle_seconds = 2.0", "settle_seconds = 0.0")
    # These tests fill small disks; what keeps intake from doing so has tests of its own.
    text = text.replace("max_file_mb = 1024", "max_file_mb = 1").replace("min_free_mb = 2048", "min_free_mb = 0")
    file.write_text(text)
    config = load_config(file)
    storage = Storage(config)
    storage.prepare()
    with open_database(config.database_url) as database:
        intake = Intake(storage, database, sandbox, config.intake.max_file_mb * 1_000_000, config.inbox)
        yield Desk(config, database, storage, intake, partial(Inbox, config, intake))


@pytest.fixture
def film_of(desk, write_dicom, tmp_path):
    """Write a film into the inbox: `film_of(name, study, instance, seed)`; its bytes follow from all but the name."""

    def write(name: str, study: int, instance: int, seed: int = 0, **attributes: str) -> None:
        pixels = np.random.default_rng(seed).integers(0, 4095, (8, 8), dtype=np.uint16)
        uids = {"StudyInstanceUID": f"1.2.{study}", "SOPInstanceUID": f"1.2.{study}.{instance}"}
        write_dicom(tmp_path / "film.dcm", pixels, **uids | attributes).replace(desk.config.inbox / name)

    return write
