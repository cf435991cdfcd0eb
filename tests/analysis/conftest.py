"""A clinic at work in one process, and a second model beside its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from agcnn_clinic.analysis.infer import Reader, load_reader
from agcnn_clinic.analysis.loop import Analysis
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage


@dataclass
class Seconds:
    """Seconds that pass when a test says so."""

    passed: float = 0.0

    def __call__(self) -> float:
        return self.passed


@dataclass(frozen=True)
class Room:
    """A clinic with an intake that takes at once and an analysis of two films a batch."""

    config: Config
    database: Database
    storage: Storage
    inbox: Inbox
    analysis: Analysis
    elapsed: Seconds

    def files(self) -> dict[str, ReceivedFile]:
        """The received files by name."""
        with self.database.session() as session:
            return {file.original_name: file for file in session.scalars(select(ReceivedFile))}

    def all(self, table: type[Any]) -> list[Any]:
        """All rows of a table, in order."""
        with self.database.session() as session:
            return list(session.scalars(select(table).order_by(table.id)))


@pytest.fixture(scope="module")
def reader(small_bundle) -> Reader:
    """The small model, loaded once."""
    return load_reader(small_bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def sandbox():
    """One child process for all tests of a file."""
    with Sandbox(1, seconds=60, memory_mb=4096) as sandbox:
        yield sandbox


@pytest.fixture
def room(tmp_path, reader, sandbox, new_clinic):
    """An empty clinic."""
    config = new_clinic(tmp_path / "clinic")
    storage = Storage(config)
    storage.prepare()
    with open_database(config.database_url) as database:
        inbox = Inbox(config, Intake(storage, database, sandbox, 10**9, config.inbox))
        elapsed = Seconds()
        analysis = Analysis(database, storage, sandbox, reader, config.gate, batch_size=2, elapsed=elapsed)
        yield Room(config, database, storage, inbox, analysis, elapsed)


@pytest.fixture
def send(room, write_film) -> Callable[..., None]:
    """Drop one film for each seed and take it in."""

    def send(*seeds: int) -> None:
        for seed in seeds:
            path = room.config.root / f"{seed}.dcm"
            write_film(path, draw(seed, (256, 256)).pixels)
            room.inbox.take([path])

    return send


@pytest.fixture(scope="module")
def other_reader(other_bundle) -> Reader:
    """The other model, loaded once."""
    return load_reader(other_bundle, device="cpu", threads=1)
