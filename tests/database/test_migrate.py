"""Migrations: models, scripts and the revision that the software knows hold together."""

import json
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect

from agcnn_clinic.database import audit, migrate
from agcnn_clinic.database.audit import About, EventFilter, append, events, verify
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.database.engine import make_engine, writing
from agcnn_clinic.database.revision import HEAD, REVISIONS
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Base
from agcnn_clinic.domain import ReasonCode, Warn
from agcnn_clinic.errors import DatabaseError

REPOSITORY = Path(__file__).resolve().parents[2]
LARGEST_USER_ID = 2**32 - 2
"""The next one is none: system calls take it for "no change"."""


def schema(url):
    """Every table and view of a database with all that describes it, without Alembic's own table.

    Sorted: a table that a migration makes anew lists its constraints in any order.
    """
    with open_database(url, check_revision=False) as database, database.connection() as connection:
        found = inspect(connection)
        tables = {name: described(found, name) for name in found.get_table_names() if name != "alembic_version"}
        views = {name: found.get_view_definition(name) for name in found.get_view_names()}
    return tables | views


def described(inspector, table):
    """Columns, keys, indexes and checks of a table."""
    columns = [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)]
    indexes = inspector.get_indexes(table)
    for index in indexes:  # what a partial index is limited to
        index["dialect_options"] = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    keys = (inspector.get_foreign_keys(table), inspector.get_unique_constraints(table))
    rest = [sorted(map(str, listed)) for listed in (*keys, indexes)]
    # PostgreSQL writes its casts at the values or at the list of them, as the table's history has it.
    checks = {
        check["name"]: re.sub(r"::[a-z ]+|[\[\]()]", "", check["sqltext"])
        for check in inspector.get_check_constraints(table)
    }
    return [columns, str(inspector.get_pk_constraint(table)), *rest, checks]


def test_the_known_revisions_are_those_of_the_scripts():
    """REVISIONS lists the scripts of alembic/versions/ in their order, with one head."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(migrate.alembic_config())
    chain = [script.revision for script in scripts.walk_revisions()][::-1]
    assert tuple(chain) == REVISIONS
    assert scripts.get_heads() == [HEAD]


def test_models_and_migrations_agree(url):
    """Alembic finds nothing to add to, remove from or alter in a migrated database to make it what the models say."""
    from alembic import command

    with migrate.migration_connection(url) as connection:
        command.check(migrate.alembic_config(connection))


@pytest.mark.both_databases
def test_a_migrated_database_equals_a_made_one(databases, migrated, tmp_path):
    """Tables, columns, indexes, keys and checks are the same as those that the models make by themselves."""
    made = databases.new(tmp_path)
    engine = make_engine(made, busy_timeout_seconds=5, create=True)
    with writing(engine).begin() as connection:
        Base.metadata.create_all(connection)
    engine.dispose()
    tables = schema(made)
    assert tables == {name: description for name, description in schema(migrated).items() if name in tables}
    assert len(tables) >= len(Base.metadata.tables) > 8


def test_up_down_up_with_data(url, factories):
    """A filled database goes down to nothing and up again, and is then what it was when it was new."""
    before = schema(url)
    with open_database(url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=3)
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    assert schema(url) == {}
    migrate.upgrade(url)
    assert migrate.current(url) == HEAD
    assert schema(url) == before


def test_reports_of_before_know_what_they_print(url, factories):
    """Upgraded, a report has the readings of the images that were decided before it, not of those that came later."""
    with open_database(url) as database, database.write() as session:
        study, model, chance = factories.make_study(session, 1), factories.make_model(session), random.Random(0)
        for number, reason in enumerate((ReasonCode.READ, ReasonCode.READ, ReasonCode.WRONG_VIEW), start=1):
            file = factories.make_file(session, study, number, reason)
            if reason is ReasonCode.READ:
                factories.make_inference(session, file, model, chance)
        first, second = (factories.make_report(session, study, version) for version in (1, 2))
        second.created_at += timedelta(hours=1)
        late = factories.make_file(session, study, 4)
        late.decided_at = first.created_at + timedelta(minutes=1)
        factories.make_inference(session, late, model, chance, created_at=late.decided_at)
        other = factories.make_study(session, 2)
        factories.make_inference(session, factories.make_file(session, other, 5), model, chance)
    migrate.downgrade(url, "0002")
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        found = connection.exec_driver_sql("SELECT report_id, inference_id FROM report_reading ORDER BY 1, 2").all()
    assert [tuple(row) for row in found] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


def test_studies_of_before_know_which_revision_is_reported(url, factories):
    """Upgraded, a study has the revision of the clinic's own newest report; one by request covers nothing."""
    with open_database(url) as database, database.write() as session:
        model = factories.make_model(session)
        covered, requested, waiting = (factories.make_study(session, number) for number in (1, 2, 3))
        for study in (covered, requested, waiting):
            study.revision = 2
        factories.make_report(session, covered, 1).study_revision = 1
        factories.make_report(session, covered, 2)
        factories.make_report(session, requested).model = model
    migrate.downgrade(url, "0006")
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        found = connection.exec_driver_sql("SELECT reported_revision FROM study ORDER BY id").all()
    assert [tuple(row) for row in found] == [(2,), (0,), (0,)]


def test_studies_of_before_get_a_report_that_tells_of_a_corrected_patient(url, factories):
    """Upgraded, a report is due once where a duplicate had named another patient; any other study stays as it was."""
    with open_database(url) as database, database.write() as session:
        for number, (reason, remarks) in enumerate(
            (
                (ReasonCode.HEADER_DIFFERS, [Warn.OTHER_PATIENT]),
                (ReasonCode.HEADER_DIFFERS, []),
                (ReasonCode.UID_CONFLICT, [Warn.OTHER_PATIENT]),
            ),
            start=1,
        ):
            study = factories.make_study(session, number)
            for again in (0, 1):
                file = factories.make_file(session, study, 2 * number + again, reason)
                file.header = file.header | {"remarks": remarks}
            factories.make_report(session, study)
    migrate.downgrade(url, "0007")
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        found = connection.exec_driver_sql("SELECT revision - reported_revision FROM study ORDER BY id").all()
    assert [tuple(row) for row in found] == [(1,), (0,), (0,)]


@pytest.mark.both_databases
def test_a_trail_of_before_goes_on_with_users_of_any_number(url, monkeypatch):
    """Upgraded, it takes the largest number that a user of Linux can have, and what stood in it is as it was."""

    def did_something(user):
        monkeypatch.setattr(os, "getuid", lambda: user)
        with open_database(url, check_revision=False) as database, database.transaction() as connection:
            append(connection, AuditEvent.QUERIED, About(), now=datetime.now(UTC))

    monkeypatch.setattr(audit, "_who", audit._who.__wrapped__)
    migrate.downgrade(url, "0008")
    did_something(2**31 - 1)
    migrate.upgrade(url)
    did_something(LARGEST_USER_ID)
    with open_database(url) as database, database.connection() as connection:
        told = [row["user_id"] for row in events(connection, EventFilter(event=AuditEvent.QUERIED))]
        assert told == [LARGEST_USER_ID, 2**31 - 1]
        assert verify(connection).broken == ""


def test_upgrading_twice_changes_nothing(url, factories):
    """An upgrade of a database at head leaves its rows and its schema alone."""
    with open_database(url) as database, database.write() as session:
        factories.make_study(session, 1)
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM study").scalar() == 1


def test_a_failed_upgrade_changes_nothing(databases, tmp_path):
    """A table in the way stops the migration, and the database is as it was before."""
    url = databases.new(tmp_path)
    with migrate.migration_connection(url) as connection:
        connection.exec_driver_sql("CREATE TABLE report (id INTEGER)")
    with pytest.raises(DatabaseError, match=r'report"? already exists'):
        migrate.upgrade(url)
    assert set(schema(url)) == {"report"}


def test_a_newer_database_is_not_touched(url, execute):
    """A database that a newer version upgraded is refused, with the advice to install that one."""
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="install the newer version"):
        migrate.upgrade(url)


@pytest.mark.sqlite_only("a server never lets such a row in")
def test_a_dangling_row_stops_the_upgrade(url):
    """Rows that point to nothing are found at the end of a migration, and nothing is committed."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("INSERT INTO instance VALUES (1, 99, '1.2', '1.3')")
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseError, match="row of the table instance"):
        migrate.upgrade(url)


def test_the_file_is_its_owners_alone(tmp_path):
    """A new database can be read by its owner only."""
    file = tmp_path / "clinic.sqlite"
    migrate.upgrade(f"sqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_that_is_missing_is_named(tmp_path):
    """A database in a folder that does not exist cannot be made, and the error says so."""
    with pytest.raises(DatabaseError, match="cannot be made"):
        migrate.upgrade(f"sqlite:///{tmp_path / 'none' / 'clinic.sqlite'}")


def test_plain_alembic_takes_the_clinic_of_the_environment(tmp_path):
    """`alembic upgrade head` in the repository migrates the clinic that $AGCNN_CLINIC_CONFIG names."""
    config = tmp_path / "config.toml"
    shutil.copy(REPOSITORY / "config.toml", config)
    environment = os.environ | {"AGCNN_CLINIC_CONFIG": str(config)}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    assert migrate.current(f"sqlite:///{tmp_path / 'clinic.sqlite'}") == HEAD


def test_plain_alembic_takes_a_database_of_its_own(databases, tmp_path):
    """`alembic -x url=...` migrates that database, and `alembic check` finds it complete."""
    from alembic.config import main

    url = databases.new(tmp_path)
    for command in (["upgrade", "head"], ["check"]):
        main(["-c", str(REPOSITORY / "alembic.ini"), "-x", f"url={url}", *command])
    assert migrate.current(url) == HEAD


def test_plain_alembic_tells_the_trail_and_leaves_what_it_does_not_know(databases, tmp_path, execute):
    """Whichever command changes the revision, the trail says so; a newer database is refused with the sentence."""
    from alembic.config import main

    url = databases.new(tmp_path)
    for command in (["upgrade", "head"], ["downgrade", "0004"], ["upgrade", "head"], ["current"]):
        main(["-c", str(REPOSITORY / "alembic.ini"), "-x", f"url={url}", *command])
    with open_database(url) as database, database.connection() as connection:
        told = [json.loads(row["details"]) for row in events(connection, EventFilter(event=AuditEvent.MIGRATED))]
    assert [(one["from"], one["to"]) for one in told][::-1] == [(None, HEAD), (HEAD, "0004"), ("0004", HEAD)]
    execute(url, "UPDATE alembic_version SET version_num = 'future'")
    with pytest.raises(DatabaseError, match="install the newer version"):
        main(["-c", str(REPOSITORY / "alembic.ini"), "-x", f"url={url}", "upgrade", "head"])


def test_the_migrations_can_be_printed_as_sql(tmp_path, capsys):
    """`alembic upgrade head --sql` prints the statements for an administrator who runs them by hand."""
    from alembic.config import main

    ini, file = str(REPOSITORY / "alembic.ini"), tmp_path / "by-hand.sqlite"
    main(["-c", ini, "-x", f"url=sqlite:///{tmp_path / 'untouched.sqlite'}", "upgrade", "head", "--sql"])
    connection = sqlite3.connect(file)
    connection.executescript(capsys.readouterr().out.replace(" RETURNING version_num", ""))
    connection.close()
    assert migrate.current(f"sqlite:///{file}") == HEAD
    assert not (tmp_path / "untouched.sqlite").exists()
