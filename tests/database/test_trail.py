"""What the rooms tell the audit trail: settings, models, beginnings and ends, removals, migrations."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect

from agcnn_clinic.config import Config
from agcnn_clinic.database import migrate, trail
from agcnn_clinic.database.audit import EventFilter, events, verify
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.database.session import open_database
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ConfigError, DatabaseError

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MODEL = trail.ModelIdentity("starter", "2.0.0", "a" * 64)


def clock() -> datetime:
    return NOW


def told(database) -> list[tuple[str, int, dict]]:
    """The events since the database was made, the oldest first: what, how it went, the details."""
    with database.connection() as connection:
        assert verify(connection).broken == ""
        rows = list(events(connection, EventFilter()))
    return [(row["event"], row["outcome"], json.loads(row["details"])) for row in rows[::-1] if row["id"] > 1]


def test_settings_are_told_once_and_then_what_changes(database):
    """The first time all of them, later the old and the new values; the same ones again are no event."""
    batch = Config(analysis={"batch_size": 16})
    for config in (Config(), Config(), batch, batch, Config()):
        with database.transaction() as connection:
            trail.configured(connection, config, NOW)
    first, second, third = told(database)
    assert first[2]["changed"] == {}
    assert first[2]["settings"]["analysis.batch_size"] == 0
    assert second[2]["changed"] == {"analysis.batch_size": [0, 16]}
    assert third[2]["changed"] == {"analysis.batch_size": [16, 0]}


def test_a_password_is_never_told(database):
    """Of a database server's address the password and the options stay out."""
    config = Config(database={"url": "postgresql://clinic:secret@server/films?sslpassword=hidden"})
    with database.transaction() as connection:
        trail.configured(connection, config, NOW)
    ((_, _, details),) = told(database)
    assert details["settings"]["database.url"] == "postgresql://clinic:***@server/films"
    assert "secret" not in str(details)
    assert "hidden" not in str(details)


def test_a_model_is_told_when_it_is_another_one(database):
    """The same manifest twice is no event; another one names both."""
    other = MODEL._replace(manifest_sha256="b" * 64)
    for model in (MODEL, MODEL, other):
        with database.transaction() as connection:
            trail.reads_with(connection, model, NOW)
    first, second = told(database)
    assert first == ("model changed", 0, {"before": None, "model": MODEL._asdict()})
    assert second[2] == {"before": MODEL._asdict(), "model": other._asdict()}


def test_work_has_a_beginning_and_an_end(database, caplog):
    """Both are events, and the log has the newest hash at both; a second run finds that the first one ended."""
    caplog.set_level("INFO")
    for _ in range(2):
        with trail.working(database, Config(), MODEL, clock):
            pass
    assert [event for event, _, _ in told(database)] == [
        *("configured", "model changed", "started", "stopped"),
        *("started", "stopped"),
    ]
    assert told(database)[4][2] == {"run_before_ended": True}
    with database.connection() as connection:
        assert verify(connection).head in caplog.messages[-1]
    assert len(caplog.messages) == 4


def test_a_run_that_was_killed_is_told_by_the_next_one(database):
    """A beginning that no end follows: the next beginning says so."""
    killed = trail.working(database, Config(), MODEL, clock)
    killed.__enter__()
    with trail.working(database, Config(), MODEL, clock):
        pass
    starts = [details for event, _, details in told(database) if event == "started"]
    assert starts == [{"run_before_ended": True}, {"run_before_ended": False}]


@pytest.mark.parametrize("killed", [None, "one", "other"])
def test_of_workers_side_by_side_one_that_was_killed_is_told_by_the_next_that_is_alone(database, killed):
    """Whichever it was, and once; one that finds others at work does not know who of them will come to an end."""

    def work(worker: str, beside: int = 0):
        run = trail.working(database, Config(), MODEL, clock, worker=worker, beside=beside)
        run.__enter__()
        return run

    runs = {"one": work("one"), "other": work("other", beside=1)}
    for worker, run in runs.items():
        if worker != killed:
            run.__exit__(None, None, None)
    work("next").__exit__(None, None, None)
    work("last").__exit__(None, None, None)
    starts = [details for event, _, details in told(database) if event == "started"]
    assert starts == [
        {"run_before_ended": True, "worker": "one"},
        {"workers_beside": 1, "worker": "other"},
        {"run_before_ended": killed is None, "worker": "next"},
        {"run_before_ended": True, "worker": "last"},
    ]
    ends = [details["worker"] for event, _, details in told(database) if event == "stopped"]
    assert ends == [worker for worker in ("one", "other", "next", "last") if worker != killed]


@pytest.mark.parametrize(("error", "outcome"), [(ConfigError("no"), 12), (KeyboardInterrupt(), 4)])
def test_an_end_with_an_error_says_which(database, error, outcome):
    """The error's class and nothing of its sentence; the error itself goes on."""
    with pytest.raises(type(error)), trail.working(database, Config(), MODEL, clock):
        raise error
    assert told(database)[-1] == ("stopped", outcome, {"error": type(error).__name__})


def test_a_database_that_cannot_be_written_does_not_hide_what_ended_the_work(url, monkeypatch):
    """The error that is told is the one that ended the work."""
    with open_database(url, busy_timeout_seconds=0.01) as database:
        run = trail.working(database, Config(), MODEL, clock)
        run.__enter__()
        with database.transaction():
            assert run.__exit__(ConfigError, ConfigError("the cause"), None) is not True
        assert told(database)[-1][0] == "started"


def test_a_refused_model_is_a_serious_alert_that_had_no_effect(database):
    """The sentence says what was wrong with it."""
    trail.model_refused(database, "starter", ConfigError("expected SHA-256 1, found 2"), NOW)
    assert told(database) == [("model refused", 8, {"model": "starter", "reason": "expected SHA-256 1, found 2"})]


def test_what_is_removed_is_named_by_our_own_ids(database, factories):
    """Files by their ids, reports by study and version, and why."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = factories.make_file(session, study, 1, ReasonCode.READ)
        session.flush()
        trail.removed(session, why="retention.archive_days", now=NOW, files=[file], reports=[("otherstudy", 2)])
        expected = ([study.key, "otherstudy"], [file.id])
    with database.connection() as connection:
        row = next(events(connection, EventFilter()))
    assert (json.loads(row["studies"]), json.loads(row["files"])) == expected
    assert (row["event"], row["action"]) == ("removed", "D")
    assert json.loads(row["details"]) == {
        "outcomes": {"analysed": 1},
        "reports": [["otherstudy", 2]],
        "why": "retention.archive_days",
    }


def test_nothing_that_happened_is_no_event(database):
    """An intake that found only known arrivals and a batch whose files all rest leave no trace."""
    with database.write() as session:
        trail.imported(session, [], NOW)
        trail.analysed(session, [], model_id=1, now=NOW)
    assert told(database) == []


def test_a_migration_is_told_where_there_is_a_trail(url):
    """A new database begins with its first event; going below the trail's revision and up again begins a new one."""
    with open_database(url) as database, database.connection() as connection:
        (row,) = events(connection, EventFilter())
        assert json.loads(row["details"]) == {"from": None, "to": HEAD}
    migrate.upgrade(url)
    migrate.downgrade(url, "0003")
    with open_database(url, check_revision=False) as database, database.connection() as connection:
        assert not [name for name in inspect(connection).get_table_names() if name.startswith("audit")]
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        (row,) = events(connection, EventFilter())
        assert json.loads(row["details"]) == {"from": "0003", "to": HEAD}


def test_a_trail_that_cannot_be_written_takes_the_work_with_it(url, factories):
    """Rows whose event is refused are not committed either."""
    with open_database(url) as database:
        with database.transaction() as connection:
            connection.exec_driver_sql("DROP TABLE audit_event")

        def work():
            with database.write() as session:
                study = factories.make_study(session, 1)
                trail.reported(session, [trail.Delivered(study.key, 1, "a")], now=NOW)

        with pytest.raises(DatabaseError):
            work()
        with database.connection() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM study").scalar() == 0
