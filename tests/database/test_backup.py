"""Backups: whole, checked, made while others write; and put back in the database's place."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select, text

from agcnn_clinic.database.backup import backup, restore, unused
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
    with pytest.raises(DatabaseError, match="No such file or directory; the folder must be there"):
        backup(database, tmp_path / "none" / "copy.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == []


def test_links_that_lead_to_themselves_are_told_of(filled, tmp_path):
    """Be it the name of the backup, a folder on the way to it, or the clinic's database."""
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    for target in (circle, circle / "copy.sqlite"):
        with pytest.raises(DatabaseError, match="Too many levels of symbolic links"):
            backup(filled, target)
    backup(filled, tmp_path / "copy.sqlite")
    with pytest.raises(DatabaseError, match="Too many levels of symbolic links"):
        restore(tmp_path / "copy.sqlite", circle, MARK)
    assert sorted(path.name for path in tmp_path.iterdir() if "c" in path.name[:2]) == ["circle", "copy.sqlite"]


MARK = "before-20260102T030405"


def patients(file):
    """The patient ids of a database."""
    with closing(sqlite3.connect(file)) as connection:
        return [patient for (patient,) in connection.execute("SELECT patient_id FROM study ORDER BY id")]


@pytest.fixture
def copy(url, factories, tmp_path):
    """A backup with one study of a database that has two by now, the second only in its write-ahead log."""
    file, log = tmp_path / "clinic.sqlite", tmp_path / "clinic.sqlite-wal"
    with open_database(url) as database:
        with database.write() as session:
            factories.make_study(session, 1)
        backup(database, tmp_path / "copy.sqlite")
        with database.write() as session:
            factories.make_study(session, 2)
        # As a killed daemon leaves it; closing the database would put the log into it.
        left = {path: path.read_bytes() for path in (file, log)}
    assert left[log]
    for path, content in left.items():
        path.write_bytes(content)
    return tmp_path / "copy.sqlite"


def test_a_restored_database_is_the_copy_and_the_old_one_is_kept_whole(copy, tmp_path):
    """Both open, each with its own rows; no log of the old one lies beside the new one; the copy stays."""
    revision, kept, logs = restore(copy, tmp_path / "clinic.sqlite", MARK)
    assert logs == ()
    assert patients(tmp_path / "clinic.sqlite") == patients(copy) == ["P0001"]
    assert kept == tmp_path / "clinic-before-20260102T030405.sqlite"
    assert patients(kept) == ["P0001", "P0002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kept.name, "clinic.sqlite", "copy.sqlite"])
    with open_database(f"sqlite:///{tmp_path}/clinic.sqlite") as database:
        assert database.revision() == revision


def test_a_restored_database_keeps_its_mode_and_its_name_may_be_a_link(copy, tmp_path):
    """A group that was let in still is, and the file takes the place of the one that the link leads to."""
    file, name = tmp_path / "clinic.sqlite", tmp_path / "elsewhere" / "clinic.sqlite"
    name.parent.mkdir()
    name.symlink_to(file)
    file.chmod(0o640)
    restore(copy, name, MARK)
    assert (name.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)
    assert patients(file) == ["P0001"]


def test_a_missing_or_damaged_database_is_replaced(copy, tmp_path):
    """Whatever the old file is, the copy takes its place; what was damaged is kept as it was, its log with it."""
    file = tmp_path / "clinic.sqlite"
    file.write_bytes(b"damaged" * 1000)
    (tmp_path / "clinic.sqlite-wal").write_bytes(b"its log")
    _, kept, logs = restore(copy, file, MARK)
    assert patients(file) == ["P0001"]
    assert kept.read_bytes() == b"damaged" * 1000
    assert [log.read_bytes() for log in logs] == [b"its log"]
    file.unlink()
    assert restore(copy, file, unused(MARK, tmp_path))[1:] == (None, ())
    assert patients(file) == ["P0001"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("DROP TABLE alembic_version", "not the database of a clinic"),
        ("UPDATE alembic_version SET version_num = 'future'", "newer version"),
        ("INSERT INTO instance VALUES (1, 99, 'a', 'b')", "contradict"),
        (None, "cannot be restored"),
    ],
)
def test_a_copy_that_is_no_good_changes_nothing(copy, tmp_path, spoil, said):
    """Another program's file, a newer version's, one whose rows contradict each other, one that is damaged."""
    if spoil is None:
        copy.write_bytes(b"SQLite format 3" + bytes(5000))
    else:
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute(spoil)
    with pytest.raises(DatabaseError, match=said):
        restore(copy, tmp_path / "clinic.sqlite", MARK)
    assert patients(tmp_path / "clinic.sqlite") == ["P0001", "P0002"]
    assert not list(tmp_path.glob("*before*"))
    assert not list(tmp_path.glob(".clinic*"))


def test_a_database_in_use_is_not_replaced(copy, tmp_path):
    """While another program has it open, its log cannot be put away, and nothing is changed."""
    with closing(sqlite3.connect(tmp_path / "clinic.sqlite")) as other:
        other.execute("BEGIN")
        other.execute("SELECT COUNT(*) FROM study").fetchone()
        with pytest.raises(DatabaseError, match="Another program"):
            restore(copy, tmp_path / "clinic.sqlite", MARK)
    assert patients(tmp_path / "clinic.sqlite") == ["P0001", "P0002"]
    with pytest.raises(UsageError, match="There is no"):
        restore(tmp_path / "nothing", tmp_path / "clinic.sqlite", MARK)


def test_the_log_of_a_database_that_is_gone_does_not_go_into_the_restored_one(copy, tmp_path):
    """A killed daemon leaves it, and somebody moves the file away before they restore; it is kept for that one."""
    file, log = tmp_path / "clinic.sqlite", tmp_path / "clinic.sqlite-wal"
    lost, content = file.rename(tmp_path / "lost"), log.read_bytes()
    kept_log = tmp_path / f"clinic-{MARK}.sqlite-wal"
    assert restore(copy, file, MARK)[1:] == (None, (kept_log,))
    assert patients(file) == ["P0001"]
    assert kept_log.read_bytes() == content
    kept_log.rename(f"{lost}-wal")
    assert patients(lost) == ["P0001", "P0002"]


def test_what_is_set_aside_gets_a_name_that_nothing_has(tmp_path):
    """Neither a database nor a report that was set aside in the same second is replaced, nor one with a number."""
    (tmp_path / "reports").mkdir()
    folders = (tmp_path, tmp_path / "reports", tmp_path / "not there")
    assert unused(MARK, *folders) == MARK
    (tmp_path / f"clinic-{MARK}.sqlite").touch()
    assert unused(MARK, *folders) == f"{MARK}-2"
    (tmp_path / "reports" / f"k-v1-{MARK}-2.pdf").touch()
    assert unused(MARK, *folders) == f"{MARK}-3"


LATE = """
import os, sys
from sqlalchemy import text
from agcnn_clinic.database.session import open_database
database = open_database(sys.argv[1], busy_timeout_seconds=0.1)
with database.transaction() as connection:
    connection.execute(text("UPDATE study SET patient_id = 'LATE'"))
os._exit(0)  # it has not closed it when the database is replaced
"""


def test_nobody_gets_at_the_old_database_before_the_new_one_has_its_name(copy, url, tmp_path, monkeypatch):
    """What a command writes that opens it just then goes nowhere: from a new log it would go into the new one."""
    ends, link = [], os.link

    def opened_meanwhile(old, kept):
        link(old, kept)
        ends.append(subprocess.run([sys.executable, "-c", LATE, url], capture_output=True, text=True, check=False))

    monkeypatch.setattr(os, "link", opened_meanwhile)
    kept = restore(copy, tmp_path / "clinic.sqlite", MARK).kept
    assert patients(tmp_path / "clinic.sqlite") == ["P0001"]
    assert patients(kept) == ["P0001", "P0002"]
    assert "The database is locked by another program" in ends[0].stderr


def put_into(file: Path, copy: Path) -> None:
    """`cp COPY FILE`, once all that was committed is in the file itself, as it is every few megabytes."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(copy, file)


def test_what_works_on_a_database_ends_when_a_backup_is_copied_into_its_file(url, factories, tmp_path):
    """The file keeps its inode, and SQLite would go on, with both of them mixed; no transaction begins or ends well."""
    file = Path(url.removeprefix("sqlite:///"))
    with open_database(url) as database:
        database.hold()
        backup(database, tmp_path / "copy")

        def write_and_lose(session) -> None:
            factories.make_study(session, 2)
            session.flush()
            shutil.copyfile(tmp_path / "copy", file)

        lost = pytest.raises(DatabaseError, match=r"copied into the database .* while it was open")
        with lost, database.write() as session:
            write_and_lose(session)
        for begun in (database.write, database.transaction, database.session, database.connection):
            with pytest.raises(DatabaseError, match="copied into the database"), begun() as connection:
                connection.execute(text("SELECT 1"))


def test_a_disk_that_fails_for_a_moment_as_the_file_is_looked_at_is_left_to_sqlite(url, monkeypatch):
    """An OSError from there would be no failure of the database's, which is tried again, and end the daemon."""

    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_database(url) as database:
        database.hold()
        monkeypatch.setattr(os, "pread", failing)
        with database.transaction() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_database_that_goes_before_it_is_held_is_told_of_in_a_sentence(url):
    """Between its opening and the work on it, as where somebody moves it away just then."""
    file = Path(url.removeprefix("sqlite:///"))
    with open_database(url) as database:
        file.rename(file.with_name("elsewhere"))
        with pytest.raises(DatabaseError, match="was replaced or removed"):
            database.hold()


def test_a_database_that_was_held_is_closed_whole(url):
    """No descriptor of its file stays behind, which would count against a program that opens one after another."""
    file = url.removeprefix("sqlite:///")

    def opened():
        return [one.path for one in psutil.Process().open_files()].count(file)

    with open_database(url) as database:
        before = opened()
        database.hold()
        assert opened() == before + 1
    assert opened() == 0


@pytest.mark.parametrize("log_left", [True, False])
def test_a_backup_that_was_copied_there_before_is_worked_on(url, factories, tmp_path, log_left):
    """Also where the log of a killed process lies beside it: SQLite goes on with that, and converts nothing."""
    file = Path(url.removeprefix("sqlite:///"))
    with open_database(url) as database:
        backup(database, tmp_path / "copy")
    put_into(file, tmp_path / "copy")
    if log_left:
        file.with_name(f"{file.name}-wal").write_bytes(b"left")  # an empty one is none to SQLite
    with open_database(url) as database:
        database.hold()
        for number in (1, 2):
            with database.write() as session:
                factories.make_study(session, number)
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open_database(url) as database, database.connection() as connection:
        assert connection.execute(text("SELECT count(*) FROM study")).scalar() == 2
