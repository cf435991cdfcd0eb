"""The audit trail: it only grows, and whatever is done to it is found."""

import hashlib
import json
import resource
import sqlite3
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from agcnn_clinic.database.audit import (
    BEGINNING,
    About,
    Verified,
    append,
    audit_event,
    verify,
)
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.database.session import open_database
from agcnn_clinic.errors import DatabaseError

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LENGTH = 12
"""Rows of the chain that tests tamper with."""
GUARDS = {
    "sqlite": [f"DROP TRIGGER audit_event_{guard}" for guard in ("no_update", "no_delete", "in_order")],
    "postgresql": ["ALTER TABLE audit_event DISABLE TRIGGER USER"],
}
"""What takes the guards away, as who owns the table can."""

pytestmark = pytest.mark.both_databases


COLUMNS = [column.name for column in audit_event.columns]
REST = ", ".join(COLUMNS[1:])


def grow(database, count: int, *, begin: int = 0) -> None:
    """Add events of all kinds."""
    kinds = list(AuditEvent)
    with database.transaction() as connection:
        for number in range(begin, begin + count):
            about = About([f"study{number % 3}"], [number, number + 1], {"rows": number, "text": "Ünï\n\u202e"})
            append(connection, kinds[number % len(kinds)], about, now=NOON + timedelta(seconds=number))


def verdict_of(database, **options):
    with database.connection() as connection:
        return verify(connection, **options)


@pytest.fixture(scope="module")
def chain(databases, migrated, tmp_path_factory):
    """The URL of a database with a chain of LENGTH events, and its head; only to be copied."""
    url = databases.copy(migrated, tmp_path_factory.mktemp("chain"))
    with open_database(url) as database:
        grow(database, LENGTH - verdict_of(database).count)
        return url, verdict_of(database).head


def tamper(database, *statements):
    """Take the guards away and carry statements out; each is its text and its values."""
    with database.transaction() as connection:
        for guard in GUARDS[connection.dialect.name]:
            connection.exec_driver_sql(guard)
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        for statement, *values in statements:
            assert connection.exec_driver_sql(statement.replace("?", mark), *values).rowcount, statement


@pytest.fixture
def tampered(databases, chain, tmp_path):
    """Carry statements out on a copy of the chain as somebody would who owns the table; then verify it."""

    def verdict(*statements, expect=None):
        url = databases.copy(chain[0], tmp_path)
        with open_database(url) as database:
            tamper(database, *statements)
            found = verdict_of(database, expect=expect)
        databases.drop(url)
        return found

    return verdict


def test_an_empty_hash_is_one_that_no_chain_holds(chain):
    """It is an expectation like any other, and not met."""
    with open_database(chain[0]) as database:
        assert verdict_of(database, expect="").met is False
        assert verdict_of(database).met is None


def test_a_row_can_be_checked_with_nothing_of_ours(chain, select):
    """What the module's first lines say is enough to follow the chain with SQL, json and hashlib alone."""
    rows = [tuple(row.values()) for row in select(chain[0], "SELECT * FROM audit_event ORDER BY id")]
    previous = "0" * 64
    for number, (*content, stored) in enumerate(rows, 1):
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
        previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
        assert (content[0], stored) == (number, previous)
    assert (len(rows), previous) == (LENGTH, chain[1])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET user_name = 'somebody else' WHERE id = 2",
        "DELETE FROM audit_event WHERE id = 2",
        "DELETE FROM audit_event",
        "INSERT INTO audit_event SELECT * FROM audit_event WHERE id = 2 ON CONFLICT (id) DO UPDATE SET host = 'x'",
        f"INSERT INTO audit_event SELECT 99, {REST} FROM audit_event WHERE id = 2",
        f"INSERT INTO audit_event SELECT -1, {REST} FROM audit_event WHERE id = 2",
        f"INSERT INTO audit_event SELECT NULL, {REST} FROM audit_event WHERE id = 2",
    ],
)
def test_the_database_refuses_to_change_what_is_there(database, statement):
    """Neither an update nor a deletion, nor a row that is not the next one, by whatever program."""
    refused(database, statement)


@pytest.mark.sqlite_only("its own words")
def test_sqlite_refuses_to_replace_what_is_there(database):
    """INSERT OR REPLACE deletes without asking the trigger of deletions."""
    refused(database, "INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event WHERE id = 2")


@pytest.mark.postgresql_only
def test_postgresql_refuses_to_empty_the_table(database):
    """TRUNCATE asks no trigger of rows."""
    refused(database, "TRUNCATE audit_event")


def refused(database, statement: str) -> None:
    grow(database, 3)
    with (
        pytest.raises((IntegrityError, DatabaseError), match="the audit trail is append-only"),
        database.transaction() as connection,
    ):
        connection.exec_driver_sql(statement)
    assert verdict_of(database).broken == ""


def test_an_event_is_there_exactly_if_its_transaction_was_committed(database, factories):
    """What is rolled back with its rows has left no trace, and the chain goes on."""
    before = verdict_of(database)

    def work_that_fails():
        with database.write() as session:
            factories.make_study(session, 1)
            append(session, AuditEvent.IMPORTED, About(), now=NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work_that_fails()
    assert verdict_of(database) == before
    grow(database, 1)
    assert verdict_of(database).count == before.count + 1


def test_writers_side_by_side_make_one_chain(database):
    """Four threads add events at once; none is lost, and each stands on the one before it."""
    before = verdict_of(database).count
    threads = [threading.Thread(target=lambda: [grow(database, 1) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdict_of(database).count == before + 40
    assert verdict_of(database).broken == ""


def test_an_untouched_chain_holds(tampered, chain):
    """Taking the guards away is no change of a row; the head is the one that was noted, and is found in the chain."""
    verdict = tampered(expect=chain[1].upper())
    assert (verdict.count, verdict.head, verdict.broken, verdict.met) == (LENGTH, chain[1], "", True)


VALUES = st.one_of(st.none(), st.integers(-(2**31), 2**31), st.text(max_size=8), st.binary(max_size=4), st.floats(0, 9))


def _same(one, other) -> bool:
    return one == other and type(one) is type(other)


@pytest.mark.sqlite_only("any type of value in any column")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(1, LENGTH), column=st.sampled_from(COLUMNS), value=VALUES)
@example(row=LENGTH, column="id", value=0)
@example(row=LENGTH, column="id", value=-3)
def test_any_change_of_any_value_is_found(tampered, chain, row, column, value):
    """Whatever value is put in the place of another one, of whatever type: that row is named, or the gap it makes."""
    with closing(sqlite3.connect(chain[0].removeprefix("sqlite:///"))) as connection:
        # As the column's affinity would store it: '5' in a column of integers is 5.
        kind = "INTEGER" if audit_event.c[column].type.python_type is int else "VARCHAR"
        connection.execute(f"CREATE TEMP TABLE stored (value {kind})")
        connection.execute("INSERT INTO stored VALUES (?)", (value,))
        (stored,) = connection.execute("SELECT value FROM stored").fetchone()
        (before,) = connection.execute(f"SELECT {column} FROM audit_event WHERE id = ?", (row,)).fetchone()
        nullable_or_taken = connection.execute("SELECT 1 FROM audit_event WHERE id = ?", (stored,)).fetchone()
    assume(stored is not None and not _same(stored, before))
    assume(column != "id" or (isinstance(stored, int) and not nullable_or_taken))
    verdict = tampered((f"UPDATE audit_event SET {column} = ? WHERE id = ?", (value, row)))
    assert verdict.broken
    if column != "id":
        assert f"Row {row} " in verdict.broken
        assert verdict.count == row - 1


@pytest.mark.parametrize("row", [1, 5, LENGTH])
def test_a_change_with_a_hash_made_anew_is_found_in_the_row_after_it(tampered, chain, row, select):
    """Whoever gives a changed row its right hash must give all later rows theirs; of the last row the head tells."""
    (found,) = select(chain[0], f"SELECT * FROM audit_event WHERE id = {row}")
    *content, _ = found.values()
    before = select(chain[0], f"SELECT sha256 FROM audit_event WHERE id = {row - 1}")
    content[COLUMNS.index("user_name")] = "somebody else"
    text = json.dumps(content, separators=(",", ":"))
    made = hashlib.sha256(f"{before[0]['sha256'] if before else BEGINNING}\n{text}".encode()).hexdigest()
    change = "UPDATE audit_event SET user_name = 'somebody else', sha256 = ? WHERE id = ?"
    verdict = tampered((change, (made, row)), expect=chain[1])
    assert verdict.met is not True
    assert (f"Row {row + 1} " in verdict.broken) == (row < LENGTH)


@pytest.mark.parametrize("row", range(1, LENGTH))
def test_a_row_that_is_taken_out_is_found(tampered, row):
    """The gap is named; closing it by numbering the later rows anew does not help."""
    taken = ("DELETE FROM audit_event WHERE id = ?", (row,))
    assert f"Row {row} of the audit trail is missing" in tampered(taken).broken
    closed = [
        ("UPDATE audit_event SET id = ? WHERE id = ?", (later - 1, later)) for later in range(row + 1, LENGTH + 1)
    ]
    assert f"Row {row} of the audit trail is not as it was written" in tampered(taken, *closed).broken


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 9), (LENGTH - 1, LENGTH)])
def test_rows_that_change_places_are_found(tampered, one, other):
    """The first of the two is named."""
    moves = [(one, -1), (other, one), (-1, other)]
    verdict = tampered(*(("UPDATE audit_event SET id = ? WHERE id = ?", (new, old)) for old, new in moves))
    assert f"Row {one} " in verdict.broken


@pytest.mark.parametrize("place", [1, 5, LENGTH])
def test_a_row_that_is_put_in_is_found(tampered, place):
    """A copy of a row, with the later ones moved on to make room."""
    moved = [("UPDATE audit_event SET id = ? WHERE id = ?", (row + 1, row)) for row in range(LENGTH, place - 1, -1)]
    rest = ", ".join(COLUMNS[1:])
    put = (f"INSERT INTO audit_event SELECT {place}, {rest} FROM audit_event WHERE id = ?", (place + 1,))
    assert tampered(*moved, put).broken


@pytest.mark.parametrize("kept", range(LENGTH))
def test_rows_cut_off_the_end_are_found_with_a_hash_that_was_kept(tampered, chain, kept):
    """What is left is whole by itself; the head that was noted before is no longer in it."""
    cut = ("DELETE FROM audit_event WHERE id > ?", (kept,))
    verdict = tampered(cut, expect=chain[1])
    assert (verdict.count, verdict.broken, verdict.met) == (kept, "", False)
    assert verdict.head != chain[1]
    assert kept or verdict.head == BEGINNING


def test_a_chain_that_was_written_anew_is_found_with_a_hash_that_was_kept(database):
    """Somebody who knows how the chain is made leaves a whole one, but not one with the hash that was noted."""
    grow(database, 5)
    noted = verdict_of(database).head
    tamper(database, ("DELETE FROM audit_event",))
    grow(database, 8, begin=1)
    verdict = verdict_of(database, expect=noted)
    assert (verdict.broken, verdict.met) == ("", False)


def test_a_hash_that_was_kept_is_found_however_far_the_trail_has_grown(database):
    """Every earlier head stays in the chain."""
    heads = [verdict_of(database).head]
    for number in range(3):
        grow(database, 1, begin=number)
        heads.append(verdict_of(database).head)
    assert [verdict_of(database, expect=head).met for head in heads[1:]] == [True] * 3


def test_the_newest_part_can_be_checked_alone(tampered, database):
    """`last` begins at a row that is taken as it stands, and finds what is wrong after it."""
    grow(database, 20)
    total = verdict_of(database).count
    assert verdict_of(database, last=5) == Verified(5, verdict_of(database).head)
    assert verdict_of(database, last=10 * total).count == total
    tamper(database, ("UPDATE audit_event SET host = 'x' WHERE id = ?", (total - 7,)))
    assert verdict_of(database, last=5).broken == ""
    assert f"Row {total - 7} " in verdict_of(database, last=10).broken


@pytest.mark.slow
@pytest.mark.sqlite_only("filled through its file")
def test_a_million_events_are_followed_in_little_memory(url, capsys):
    """The chain is read row by row, however long it is."""
    file, count, head = url.removeprefix("sqlite:///"), 1_000_000, BEGINNING

    def rows():
        nonlocal head
        for number in range(1, count + 1):
            about = ["2026-03-02T12:00:00.000000Z", "analysed", "110103", "", "U", 0, "clinic", 1000, "", 4711, "host"]
            content = [number, *about, "0.1.0", '["abcdefghijkl"]', f"[{number}]", '{"model":"starter"}']
            packed = json.dumps(content, separators=(",", ":"))
            head = hashlib.sha256(f"{head}\n{packed}".encode()).hexdigest()
            yield [*content, head]

    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TRIGGER audit_event_no_delete")
        connection.execute("DELETE FROM audit_event")
        connection.executemany(f"INSERT INTO audit_event VALUES ({', '.join('?' * 17)})", rows())
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with open_database(url) as database:
        assert verdict_of(database) == Verified(count, head)
    seconds = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100
    with capsys.disabled():
        sys.stdout.write(f"\n{count} events followed in {seconds:.1f} s of one core, {grown:.0f} MB more memory\n")
