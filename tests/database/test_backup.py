"""Backups: whole, checked, made while others write, and restored by putting them in place."""

import sqlite3
import stat

import pytest
from sqlalchemy import func, select

from agcnn_clinic.database.backup import backup
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Finding
from agcnn_clinic.errors import DatabaseError, UsageError

pytestmark = pytest.mark.sqlite_only("a server has its own tool")


def test_a_backup_is_the_database_in_one_file(filled, tmp_path):
    """A copy opens like the original, holds the same rows, and needs no log beside it; only its owner can read it."""
    target = tmp_path / "copy.sqlite"
    assert backup(filled, target) == target.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sqlite"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    query = select(func.count(), func.sum(Finding.probability))
    with filled.session() as session, open_database(f"sqlite:///{target}") as copy, copy.session() as other:
        assert session.execute(query).one() == other.execute(query).one()


def test_a_backup_does_not_wait_for_a_writer(database, factories, tmp_path):
    """While a transaction is open, the copy holds what was committed before it."""
    with database.write() as session:
        factories.make_study(session, 1)
    with database.write() as session:
        factories.make_study(session, 2)
        session.flush()
        backup(database, tmp_path / "copy.sqlite")
    connection = sqlite3.connect(tmp_path / "copy.sqlite")
    assert connection.execute("SELECT patient_id FROM study").fetchall() == [("P0001",)]
    connection.close()


def test_a_backup_replaces_nothing(database, tmp_path):
    """A file that exists already is kept, and the error says so."""
    target = tmp_path / "copy.sqlite"
    target.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        backup(database, target)
    assert target.read_text() == "precious"


def test_a_backup_that_fails_leaves_nothing(database, tmp_path):
    """Into a folder that does not exist nothing is written, and the error says so."""
    with pytest.raises(DatabaseError, match="cannot be written"):
        backup(database, tmp_path / "none" / "copy.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == []
