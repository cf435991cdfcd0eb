"""The open database: what survives, who waits for whom, and what an error says."""

import shutil
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Study
from agcnn_clinic.errors import ConfigError, DatabaseError, ExitCode, OnError

pytestmark = pytest.mark.both_databases


def count(session):
    return session.scalar(select(func.count()).select_from(Study))


@pytest.mark.sqlite_only("its PRAGMAs")
def test_connections_are_durable_and_keep_foreign_keys(database):
    """Each connection uses WAL, FULL synchronisation, foreign keys and the timeout that was asked for."""
    with database.connection() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert read == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_write_is_whole_or_nothing(database, factories):
    """A transaction commits at its end, and an error takes all of it back."""
    with database.write() as session:
        factories.make_study(session, 1)

    def fail(session):
        factories.make_study(session, 2)
        session.flush()
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"), database.write() as session:
        fail(session)
    with database.session() as session:
        assert session.scalars(select(Study.patient_id)).all() == ["P0001"]


def test_objects_of_a_write_outlive_it(database, factories):
    """What a transaction made can be read after its commit without another query."""
    with database.write() as session:
        study = factories.make_study(session, 1)
    assert (study.id, study.patient_id) == (1, "P0001")


def test_a_reading_session_cannot_write(database, factories):
    """Neither an object nor a statement gets through a session that was opened for reading."""
    with pytest.raises(DatabaseError, match="cannot be written"), database.session() as session:
        factories.make_clinic_rows(session)
    with pytest.raises(DatabaseError, match="cannot be written"), database.connection() as connection:
        connection.execute(text("DELETE FROM study"))
    with database.write() as session:
        factories.make_study(session, 1)


def test_a_dangling_reference_is_an_integrity_error(database):
    """Foreign keys hold, and the caller sees SQLAlchemy's own IntegrityError, without the values: a log may get it."""
    row = text("INSERT INTO instance VALUES (1, 99, '1.2', :uid)")
    with pytest.raises(IntegrityError) as caught, database.write() as session:
        session.execute(row, {"uid": "1.3.4711"})
    assert "4711" not in str(caught.value)


def test_a_reader_sees_one_state_while_a_writer_works(database, factories):
    """A reader neither waits for a writer in another thread nor sees what is committed after its first query."""
    with database.session() as reader:
        before = count(reader)
        with database.write() as session:
            factories.make_study(session, 1)
            within = count(reader)
        assert (before, within, count(reader)) == (0, 0, 0)
    with database.session() as reader:
        assert count(reader) == 1


def test_writers_wait_for_each_other(database, factories):
    """Four threads with many short transactions lose none of them."""
    failures = []

    def work(first):
        try:
            for number in range(first, first + 15):
                with database.write() as session:
                    factories.make_study(session, number + count(session) * 1000)
        except Exception as error:  # noqa: BLE001 (reported by the assert below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with database.session() as session:
        assert count(session) == 60


def test_a_locked_database_is_a_passing_failure(url, factories):
    """A writer that has waited long enough is told that the database is locked, and may try again later."""
    with open_database(url, busy_timeout_seconds=0.05) as impatient, open_database(url) as other:
        with other.write() as session:
            factories.make_study(session, 1)
            session.flush()
            with (
                pytest.raises(DatabaseUnavailableError, match="locked by another program") as caught,
                impatient.write() as late,
            ):
                factories.make_study(late, 2)
        assert caught.value.on_error is OnError.RETRY
        assert caught.value.exit_code is ExitCode.DATABASE


@pytest.mark.sqlite_only("a file that may not grow")
def test_a_full_disk_is_a_passing_failure(database, factories):
    """A database that may not grow says that the disk is full, and keeps what it had."""

    def fill(session):
        session.execute(text(f"PRAGMA max_page_count = {session.scalar(text('PRAGMA page_count'))}"))
        factories.make_clinic_rows(session, studies=200)

    with pytest.raises(DatabaseUnavailableError, match="full"), database.write() as session:
        fill(session)
    with database.session() as session:
        assert count(session) == 0


def test_a_missing_database_is_not_made(tmp_path):
    """Opening a path without a file says what to do and leaves nothing behind."""
    with pytest.raises(DatabaseError, match="agcnn-clinic init"):
        open_database(f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert not any(tmp_path.iterdir())


@pytest.mark.sqlite_only("its file")
def test_a_database_that_vanishes_is_not_made_anew(url):
    """A file that is removed under an open database is an error, not an empty new database."""
    file = Path(url.removeprefix("sqlite:///"))
    with open_database(url) as database:
        database.close()
        for left in file.parent.glob("clinic.sqlite*"):
            left.unlink()
        with pytest.raises(DatabaseError, match="cannot be opened"), database.session() as session:
            count(session)
    assert not file.exists()


@pytest.mark.sqlite_only("its file")
@pytest.mark.parametrize("removed", [True, False], ids=["removed", "replaced"])
def test_nothing_is_written_to_a_file_that_has_lost_its_name(url, factories, tmp_path, removed):
    """Neither is a transaction begun on it, nor does one that was on its way count as committed."""
    file = Path(url.removeprefix("sqlite:///"))
    other = shutil.copy(file, tmp_path / "backup")

    def lose() -> None:
        file.unlink()
        if not removed:
            Path(other).rename(file)

    def write_and_lose(session) -> None:
        factories.make_study(session, 1)
        lose()

    with open_database(url) as database:
        with pytest.raises(DatabaseError, match="was replaced or removed"), database.write() as session:
            write_and_lose(session)
        for begun in (database.write, database.transaction, database.session, database.connection):
            with pytest.raises(DatabaseError, match="was replaced or removed"), begun() as connection:
                connection.execute(text("SELECT 1"))
    assert file.exists() is not removed


@pytest.mark.sqlite_only("its file")
def test_another_file_is_not_looked_into_while_the_one_before_is_open(url, tmp_path):
    """Its connection would cut the log's index, which another thread has mapped: the process would die of SIGBUS."""
    file = Path(url.removeprefix("sqlite:///"))
    index, other = file.with_name(file.name + "-shm"), shutil.copy(file, tmp_path / "backup")
    with open_database(url) as database, database.session() as reading:
        before = count(reading), index.stat().st_size, index.stat().st_mtime_ns
        Path(other).rename(file)
        with pytest.raises(DatabaseError, match="was replaced or removed"), database.session() as late:
            count(late)
        assert (count(reading), index.stat().st_size, index.stat().st_mtime_ns) == before
        assert before[1] > 0


def test_a_file_of_another_kind_is_told_apart(tmp_path):
    """A file that is no database is named as such, in one sentence."""
    file = tmp_path / "clinic.sqlite"
    file.write_bytes(b"PNG, perhaps" * 500)
    with pytest.raises(DatabaseError, match="not a SQLite database"):
        open_database(f"sqlite:///{file}")


@pytest.mark.sqlite_only("its file")
def test_a_damaged_database_is_told_apart(url, factories):
    """Pages overwritten with noise are reported as damage, with the advice to restore a backup."""
    file = Path(url.removeprefix("sqlite:///"))
    with open_database(url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=50)
    plain = sqlite3.connect(file)
    plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    plain.close()
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    file.write_bytes(content)
    with (
        open_database(url, check_revision=False) as database,
        pytest.raises(DatabaseError, match="damaged"),
        database.connection() as connection,
    ):
        connection.execute(text("SELECT * FROM finding_list"))


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("0000", "newer version"), ("f00d", "newer version"), (None, "agcnn-clinic db upgrade")],
)
def test_another_revision_is_refused(url, execute, revision, advice):
    """A database that is behind or ahead of the software is not opened, and the error says what to do."""
    drop, change = "DROP TABLE alembic_version", f"UPDATE alembic_version SET version_num = '{revision}'"
    execute(url, drop if revision is None else change)
    with pytest.raises(DatabaseError, match=advice):
        open_database(url)
    with open_database(url, check_revision=False) as database:
        assert database.revision() == revision


def test_the_revision_is_read(database):
    """A database at head states HEAD."""
    assert database.revision() == HEAD


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=ro&uri=true", "sqlite:////tmp/x?timeout=5"]
)
def test_only_a_plain_file_is_taken(url):
    """SQLite in memory and URLs with options of their own are refused."""
    with pytest.raises(DatabaseError, match="must name a file"):
        open_database(url)


def test_a_wrong_address_is_not_repeated():
    """An address that cannot be parsed may hold a password, so the error does not show it."""
    with pytest.raises(ConfigError) as caught:
        open_database("secret-password")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nodatabase://me:secret@host/clinic", "mysql+pymysql://me:secret@host/clinic"])
def test_a_kind_of_database_that_is_not_known_is_refused(url):
    """Only SQLite and PostgreSQL are taken, and the sentence says how to write them."""
    with pytest.raises(ConfigError, match="postgresql://USER") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_another_driver_is_refused():
    """A driver that the clinic does not use is no way to its database, whether it is installed or not."""
    with pytest.raises(ConfigError, match='begin it with "postgresql://"'):
        open_database("postgresql+psycopg2://me@host/clinic")


def test_a_missing_driver_is_a_matter_of_configuration(monkeypatch):
    """Without psycopg a PostgreSQL address is a ConfigError that names the extra to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"agcnn-clinic\[postgresql\]"):
        open_database("postgresql://me@host/clinic")


@pytest.mark.sqlite_only("names of files")
def test_odd_file_names_are_taken_as_they_are(migrated, tmp_path):
    """Spaces, percent and question marks and letters of any script in a folder's name are no part of a URL."""
    folder = tmp_path / "Klinik 100%20 #é?x=1"
    folder.mkdir()
    shutil.copy(migrated.removeprefix("sqlite:///"), folder / "c.sqlite")
    with (
        open_database(f"sqlite:///{folder / 'c.sqlite'}", check_revision=False) as database,
        database.session() as session,
    ):
        assert count(session) == 0
