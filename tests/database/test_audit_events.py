"""The events of the audit trail: named as the standard does, each with who, when and what; and chosen by these."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.sr.codedict import Collection
from sqlalchemy import insert

from agcnn_clinic import __version__
from agcnn_clinic.database.audit import About, EventFilter, append, audit_event, count_events, events
from agcnn_clinic.database.audit_events import EVENTS, Action, AuditEvent, EventId, EventOutcome, EventType
from agcnn_clinic.users import user_name

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NO_LOGIN = 2**32 - 1


def test_codes_and_meanings_are_the_standards():
    """Each code value is in the context group that PS3.15 takes it from, and its name is the code's meaning."""
    groups = {EventId: ("cid400",), EventType: ("cid401", "cid403")}
    for code in {*EventId, *EventType} - {EventType.NONE}:
        meaning = code.name.replace("_", " ")
        for group in groups[type(code)]:
            known = [getattr(Collection(group), name) for name in Collection(group).dir()]
            codes = [(one.value, one.scheme_designator, one.meaning.upper()) for one in known]
            assert (code.value, "DCM", meaning) in codes


def test_every_event_has_a_code_and_an_action_that_the_standard_allows():
    """PS3.15 A.5.3 fixes the action of each event id, and asks for a type of some."""
    allowed = {
        EventId.APPLICATION_ACTIVITY: {Action.EXECUTE},
        EventId.AUDIT_LOG_USED: {Action.READ},
        EventId.DICOM_INSTANCES_ACCESSED: {Action.CREATE, Action.READ, Action.UPDATE, Action.DELETE},
        EventId.DICOM_INSTANCES_TRANSFERRED: {Action.CREATE, Action.READ, Action.UPDATE},
        EventId.EXPORT: {Action.READ},
        EventId.IMPORT: {Action.CREATE},
        EventId.QUERY: {Action.EXECUTE},
        EventId.SECURITY_ALERT: {Action.EXECUTE},
    }
    assert EVENTS.keys() == set(AuditEvent)
    for coded in EVENTS.values():
        assert coded.action in allowed[coded.event_id]
        typed = coded.event_id in (EventId.APPLICATION_ACTIVITY, EventId.SECURITY_ALERT)
        assert (coded.event_type is not EventType.NONE) == typed


@pytest.mark.both_databases
def test_an_event_says_who_when_and_what(database):
    """The codes of its kind, the user of the process and who had logged in, the moment in UTC, and what it is about."""
    about = About(["abc", "abc", "def"], [3, 4], {"rows": 2}, EventOutcome.MINOR_FAILURE)
    with database.transaction() as connection:
        append(connection, AuditEvent.QUERIED, about, now=NOON)
    with database.connection() as connection:
        row = next(events(connection, EventFilter()))
    assert (row["event"], row["event_id"], row["event_type"], row["action"]) == ("queried", "110112", "", "E")
    assert (row["recorded_at"], row["outcome"]) == ("2026-03-02T12:00:00.000000Z", 4)
    assert (row["studies"], row["files"], row["details"]) == ('["abc","def"]', "[3,4]", '{"rows":2}')
    assert (row["user_name"], row["user_id"]) == (user_name(os.getuid()), os.getuid())
    assert (row["process_id"], row["host"], row["software_version"]) == (os.getpid(), socket.gethostname(), __version__)
    kernel = Path("/proc/self/loginuid")  # only where it keeps an audit of its own
    login = int(kernel.read_text()) if kernel.exists() else NO_LOGIN
    assert row["login_name"] == ("" if login == NO_LOGIN else user_name(login))


@pytest.mark.both_databases
def test_events_are_chosen_by_time_kind_study_and_user(database):
    """Each filter alone, and how many there are."""
    kinds = list(AuditEvent)[:6]
    with database.transaction() as connection:
        for number, kind in enumerate(kinds):
            append(connection, kind, About([f"study{number % 3}"]), now=NOON + timedelta(seconds=number))
    newest, *others = _chosen(database, EventFilter())
    moments = EventFilter(since=NOON + timedelta(seconds=1), until=NOON + timedelta(seconds=3))
    assert [row["recorded_at"][17:19] for row in _chosen(database, moments)] == ["02", "01"]
    assert [row["event"] for row in _chosen(database, EventFilter(event=AuditEvent.STOPPED))] == ["stopped"]
    assert len(_chosen(database, EventFilter(study="study1"))) == 2
    assert _chosen(database, EventFilter(study="study")) == _chosen(database, EventFilter(study="%")) == []
    assert _chosen(database, EventFilter(user=newest["user_name"])) == [newest, *others]
    assert _chosen(database, EventFilter(user="nobody at all")) == []
    with database.transaction() as connection:
        connection.execute(insert(audit_event), newest | {"id": newest["id"] + 1, "login_name": "behind sudo"})
    assert len(_chosen(database, EventFilter(user="behind sudo"))) == 1


def _chosen(database, wanted: EventFilter) -> list[dict]:
    with database.connection() as connection:
        rows = list(events(connection, wanted))
        assert count_events(connection, wanted) == len(rows)
    return rows
