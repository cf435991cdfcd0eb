"""A database on a server: its turns and promises, and what is said when it refuses, fails or goes away."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, func, inspect, select, text
from sqlalchemy.exc import IntegrityError

from agcnn_clinic.database import migrate, trail
from agcnn_clinic.database.audit import verify
from agcnn_clinic.database.backup import backup
from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.queries import find_study
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Base, ReceivedFile, Study
from agcnn_clinic.database.values import Text
from agcnn_clinic.errors import DatabaseError, OnError

PASSWORD = "canary-secret"


@pytest.fixture(scope="module")
def head(server):
    """The URL of an empty database at head; only to be copied."""
    url = server.new()
    migrate.upgrade(url)
    return url


@pytest.fixture
def url(server, head):
    """The URL of a database of its own."""
    url = server.copy(head, Path())
    yield url
    server.drop(url)


@pytest.fixture
def database(url):
    """An open, empty database."""
    with open_database(url, busy_timeout_seconds=5) as database:
        yield database


def count(session):
    return session.scalar(select(func.count()).select_from(Study))


def setting(session, name):
    return session.scalar(text("SELECT current_setting(:name)"), {"name": name})


def waiting(server, url):
    """How many connections wait for their turn to write."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event = 'advisory'"
    return server.admin.execute(query, [server.name_of(url)]).fetchone()[0]


def cut(server, url):
    """End all connections to a database, as a restart of the server does."""
    server.admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [server.name_of(url)]
    )


def test_a_writer_sees_what_the_one_before_it_committed(server, url, database, factories):
    """Who looks for a study and adds it where there is none cannot be overtaken by another who does the same."""
    seen, ended = [], threading.Event()

    def look_and_add():
        try:
            with open_database(url) as other, other.write() as session:
                seen.append(count(session))
        finally:
            ended.set()

    with database.write() as session:
        before = count(session)
        thread = threading.Thread(target=look_and_add)
        thread.start()
        while not (waiting(server, url) or ended.wait(0.01)):
            pass
        factories.make_study(session, 1)
    thread.join()
    assert (before, seen) == (0, [1])


def test_readers_wait_for_no_writer_and_see_no_half_of_it(database, factories):
    """While a writer is at work a reader reads, and sees nothing of what is not committed."""
    with database.write() as session:
        factories.make_study(session, 1)
        session.flush()
        with database.session() as reader:
            assert count(reader) == 0


def test_connections_are_durable_and_set_up_for_the_clinic(server, database):
    """A server that is set to answer before its disk has the commit is overruled; waiting for a turn has an end."""
    assert server.admin.execute("SHOW synchronous_commit").fetchone() == ("off",)
    with database.write() as session:
        assert setting(session, "synchronous_commit") == "on"
        assert setting(session, "lock_timeout") == "5s"
        assert setting(session, "application_name") == "agcnn-clinic"
        assert setting(session, "jit") == "off"


def test_both_ends_give_up_a_machine_that_takes_nothing(database):
    """What is sent to one that has vanished would be sent again for a quarter of an hour, and no other server tried."""
    with database.connection() as connection:
        asked_of_libpq = connection.connection.dbapi_connection.info.get_parameters()
        asked_of_the_server = "SELECT source FROM pg_settings WHERE name = 'tcp_user_timeout'"
        assert asked_of_libpq["tcp_user_timeout"] == "60000"
        assert connection.exec_driver_sql(asked_of_the_server).scalar() == "session"


def test_a_connection_that_was_lost_while_idle_is_not_missed(server, url, database, factories):
    """After a restart of the server the next transaction simply has a new connection."""
    with database.write() as session:
        factories.make_study(session, 1)
    cut(server, url)
    with database.session() as session:
        assert count(session) == 1


def test_a_connection_that_is_lost_in_the_middle_may_come_back(server, url, database, factories):
    """The transaction is taken back, the error is one to try again after, and then the work is done."""

    def work(session):
        factories.make_study(session, 1)
        session.flush()
        cut(server, url)
        factories.make_study(session, 2)
        session.flush()

    with pytest.raises(DatabaseUnavailableError, match="gone away") as caught, database.write() as session:
        work(session)
    assert caught.value.on_error is OnError.RETRY
    with database.write() as session:
        assert count(session) == 0
        factories.make_study(session, 1)


def test_a_standby_is_waited_for_until_it_is_the_primary(server, url, database, factories):
    """A fail-over: what writes is told to try again, also a migration, and the same open database then goes on."""
    with server.as_standby():
        for attempt in (database.write, database.transaction, lambda: migrate.migration_connection(url)):
            with pytest.raises(DatabaseUnavailableError, match="cannot be written, as a standby"), attempt() as begun:
                begun.execute(text("SELECT 1"))
        with database.session() as session:
            assert count(session) == 0
    with database.write() as session:
        factories.make_study(session, 1)


def test_a_turn_that_was_waited_for_in_vain_leaves_no_trace(url, factories):
    """The connection that gave up waiting serves the next transaction."""
    with open_database(url, busy_timeout_seconds=0.05) as impatient, open_database(url) as other:
        with other.write() as session:
            factories.make_study(session, 1)
            session.flush()
            with pytest.raises(DatabaseUnavailableError, match="locked by another"), impatient.write() as late:
                count(late)
        with impatient.write() as session:
            factories.make_study(session, 2)
            assert count(session) == 2


@pytest.fixture
def refused(server, head):
    """Addresses at which no connection is to be had."""
    name = server.name_of(head)
    server.admin.execute(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'locked') THEN "
        "CREATE ROLE locked LOGIN PASSWORD 'another'; END IF; END $$"
    )
    return {
        "password": f"postgresql://locked:{PASSWORD}@/{name}?host={server.folder}",
        "database": f"postgresql://clinic:{PASSWORD}@/missing?host={server.folder}",
        "role": f"postgresql://nobody_here:{PASSWORD}@/{name}?host={server.folder}",
        "socket": f"postgresql://clinic:{PASSWORD}@/{name}?host={server.folder}/none",
        "port": f"postgresql://clinic:{PASSWORD}@127.0.0.1:1/{name}",
        "host": f"postgresql://clinic:half@{PASSWORD}@host.invalid/{name}",
    }


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("password", r"refuses the connection \(password authentication failed for user \"locked\"\)"),
        ("database", r"refuses the connection \(database \"missing\" does not exist\)"),
        ("role", r"refuses the connection \(role \"nobody_here\" does not exist\)"),
        ("socket", "cannot be reached"),
        ("port", "cannot be reached"),
        ("host", "cannot be reached"),
    ],
)
def test_what_stands_in_the_way_is_said_without_the_password(refused, way, sentence):
    """One sentence says what to look at, as `init` and `watch` print it; no part of a password is in it."""
    for attempt in (open_database, migrate.upgrade):
        with pytest.raises(DatabaseUnavailableError, match=sentence) as caught:
            attempt(refused[way])
        assert "canary" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "sentence", "on_error"),
    [
        ("53100", "disk that holds the database is full", OnError.RETRY),
        ("53200", "not enough memory", OnError.RETRY),
        ("58030", "input/output error", OnError.RETRY),
        ("57014", "cancelled a statement", OnError.RETRY),
        ("57P03", "cannot be reached or has gone away", OnError.RETRY),
        ("40001", "came between", OnError.RETRY),
        ("40P01", "came between", OnError.RETRY),
        ("25006", "cannot be written, as a standby", OnError.RETRY),
        ("25P04", "cannot be reached or has gone away", OnError.RETRY),
        ("42501", "lacks a right", OnError.STOP),
        ("XX001", "damaged; stop the daemon", OnError.STOP),
        ("42P01", "The database reports: words of the server.", OnError.STOP),
    ],
)
def test_what_a_server_reports_becomes_a_sentence(database, state, sentence, on_error):
    """By its SQLSTATE, raised by the server itself; the lines behind the first, which may quote a row, are dropped."""
    raised = f"RAISE EXCEPTION 'words of the server' USING ERRCODE = '{state}', DETAIL = 'Failing row: Canary^Patient'"
    with pytest.raises(DatabaseError, match=sentence) as caught, database.write() as session:
        session.execute(text(f"DO $$ BEGIN {raised}; END $$"))
    assert caught.value.on_error is on_error
    assert "Canary" not in str(caught.value)


def test_an_error_shows_no_parameters(database, factories):
    """Not even an error that nobody expects repeats what was to be stored, as the server's DETAIL would."""
    with database.write() as session:
        factories.make_study(session, 1)
    with pytest.raises(IntegrityError) as caught, database.write() as session:
        factories.make_study(session, 1, patient_name="Canary^Patient")
    assert "uq_study" in str(caught.value)
    for told in (str(caught.value), str(caught.value.orig)):
        assert not any(value in told for value in ("Canary", "1.2.826", "DETAIL"))


def test_a_database_without_room_for_every_name_is_refused(server):
    """Another encoding than UTF-8 is told at the first connection, before there is a table."""
    url = server.new(options="TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'")
    with pytest.raises(DatabaseError, match="LATIN1"):
        migrate.upgrade(url)
    server.drop(url)


def test_all_text_has_the_order_of_bytes(database):
    """No index of the clinic depends on the language of the server: an update of its system would break it."""
    with database.connection() as connection:
        found = inspect(connection)
        for table in Base.metadata.tables.values():
            order = {
                column["name"]: getattr(column["type"], "collation", None) for column in found.get_columns(table.name)
            }
            ours = [column.name for column in table.columns if isinstance(column.type, Text)]
            assert {order[name] for name in ours} <= {"C"}, table.name


def test_a_beginning_is_found_by_index(database, factories):
    """Looking for the beginning of a name asks the two indexes for a range."""
    with database.write() as session:
        key = factories.make_study(session, 1).key
    statements = []
    with database.session() as session:
        engine = session.get_bind()

        def record(connection, cursor, statement, parameters, context, executemany):
            statements.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", record)
        find_study(session, key[:5])
        event.remove(engine, "before_cursor_execute", record)
        # The table is so small that reading all of it would be quicker.
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_indexscan = off"))
        beginning = [(query, values) for query, values in statements if "LIKE" in query]
        for query, values in beginning:
            plan = "\n".join(row[0] for row in session.connection().exec_driver_sql(f"EXPLAIN {query}", values))
            for column in ("study_instance_uid", "key"):
                assert f"Index Cond: ((({column})::text >= " in plan
    assert beginning


def test_the_migrations_can_be_printed_and_run_by_an_administrator(server, capsys):
    """`alembic upgrade head --sql` prints what makes a database that the clinic takes for its own."""
    import psycopg
    from alembic.config import main

    url, ini = server.new(), Path(__file__).resolve().parents[2] / "alembic.ini"
    main(["-c", str(ini), "-x", f"url={url}", "upgrade", "head", "--sql"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(capsys.readouterr().out)
    with open_database(url) as database:
        assert database.revision() == HEAD
    server.drop(url)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT * FROM finding_list ORDER BY inference_id DESC, finding_id LIMIT 9",
            "Index Scan Backward using pk_inference",
        ),
        ("SELECT * FROM study_summary ORDER BY study_id DESC LIMIT 9", "Index Scan Backward using pk_study"),
    ],
)
def test_the_newest_rows_are_not_sorted_out_of_all(database, factories, query, index):
    """The first rows of `findings` and `studies` come from an index; a view with an order of its own would sort all."""
    with database.write() as session:
        factories.make_clinic_rows(session, studies=300)
    with database.write() as session:
        session.execute(text("ANALYZE"))
        plan = "\n".join(row[0] for row in session.connection().exec_driver_sql(f"EXPLAIN {query}"))
    assert index in plan


def test_a_backup_is_the_servers_own_matter(database, tmp_path):
    """`db backup` makes no file, and names the tool that does."""
    with pytest.raises(DatabaseError, match="pg_dump"):
        backup(database, tmp_path / "copy")
    assert not any(tmp_path.iterdir())


@pytest.mark.postgresql_only
def test_a_dump_takes_the_trail_and_its_guards_along(url, server, factories, tmp_path):
    """What docs/DATABASE.md says of backups: restored, the rows are there, the chain holds, and still only grows."""
    with open_database(url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=3)
        trail.requeued(session, session.get_one(ReceivedFile, 1), datetime(2026, 1, 1, tzinfo=UTC))
    copy, file = server.new(), server.folder / "clinic.dump"
    server._run("pg_dump", "--format", "custom", "--file", file, url)
    server._run("pg_restore", "--clean", "--if-exists", "--dbname", copy, file)
    with open_database(url) as one, open_database(copy) as other:
        heads = []
        for database in (one, other):
            with database.connection() as connection:
                assert connection.execute(select(func.count()).select_from(Study)).scalar() == 3
                heads.append(verify(connection))
        assert heads[0] == heads[1]
        assert (heads[0].broken, heads[0].count) == ("", 2)
        with pytest.raises(DatabaseError, match="append-only"), other.transaction() as connection:
            connection.execute(text("DELETE FROM audit_event"))
