"""What the rooms tell the audit trail: one function for each kind of work, so that each room says it in one line.

Where an event belongs to rows, it is written in their transaction: the trail never says more or less than they. Where
it belongs to something outside the database (a film printed on a terminal, a PDF made again), it is written before:
the trail may then say once too often what was cut short, but never too seldom.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select

from agcnn_clinic.config import Config
from agcnn_clinic.database.audit import About, append, audit_event, head_of, last_of
from agcnn_clinic.database.audit_events import AuditEvent, EventOutcome
from agcnn_clinic.database.engine import parse_url
from agcnn_clinic.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from agcnn_clinic.database.session import Database
    from agcnn_clinic.database.tables import ReceivedFile

_BESIDE = "workers_beside"
"""What a beginning says, and how many, where others are at work."""

log = logging.getLogger(__name__)


class ModelIdentity(NamedTuple):
    """Which model a clinic reads with."""

    name: str
    version: str
    manifest_sha256: str
    """As `agcnn_models.manifest.digest` makes it: of all that the manifest says, the weights' hash included."""

    def __str__(self) -> str:
        return f"{self.name} {self.version} (manifest {self.manifest_sha256[:12]})"


class Told(NamedTuple):
    """What is told of a file."""

    file_id: int
    study_key: str | None
    """None where no header says which study it belongs to."""
    outcome: str


def imported(session: Session, files: Sequence[Told], now: datetime, *, worker: str = "") -> None:
    """Files have got their rows, in this transaction; `worker` is `claims.Claims.worker`, here and below."""
    if files:
        append(session, AuditEvent.IMPORTED, _about(files, **_by(worker)), now=now)


def analysed(
    session: Session, files: Sequence[ReceivedFile], *, model_id: int, now: datetime, worker: str = ""
) -> None:
    """A batch of files has got its outcomes, in this transaction."""
    if files:
        append(session, AuditEvent.ANALYSED, _about(_told(files), model_id=model_id, **_by(worker)), now=now)


def readings_changed(session: Session, study_keys: Sequence[str], *, model_id: int, images: int, now: datetime) -> None:
    """Of these studies other readings count than before, in this transaction: new reports are due."""
    if study_keys:
        about = About(studies=study_keys, details={"model_id": model_id, "images": images})
        append(session, AuditEvent.READINGS_CHANGED, about, now=now)


class Delivered(NamedTuple):
    """What is told of a report."""

    study_key: str
    version: int
    sha256: str


def reported(session: Session, reports: Iterable[Delivered], *, now: datetime, worker: str = "") -> None:
    """Reports were delivered, and their rows are in this transaction."""
    abouts = (
        About(studies=[key], details={"version": version, "sha256": sha256, **_by(worker)})
        for key, version, sha256 in reports
    )
    append(session, AuditEvent.REPORTED, *abouts, now=now)


def report_again(session: Session, study_key: str, *, version: int, now: datetime) -> None:
    """A delivered report takes its place anew once this transaction is committed."""
    about = About(studies=[study_key], details={"version": version})
    append(session, AuditEvent.REPORTED_AGAIN, about, now=now)


def sent(
    session: Session, study_key: str, *, version: int, to: str, objects: int, now: datetime, worker: str = ""
) -> None:
    """An archive has taken a report, and its row in this transaction says so."""
    details = {"version": version, "to": to, "objects": objects, **_by(worker)}
    append(session, AuditEvent.SENT, About(studies=[study_key], details=details), now=now)


def sending_cancelled(session: Session, study_keys: Sequence[str], *, reports: int, now: datetime) -> None:
    """Reports of these studies wait no longer to be sent, in this transaction."""
    append(session, AuditEvent.SENDING_CANCELLED, About(studies=study_keys, details={"reports": reports}), now=now)


def reviewed(session: Session, study_key: str, *, images: int, verdicts: int, now: datetime) -> None:
    """A physician's verdicts were recorded, in this transaction; who said so stands in their rows."""
    about = About(studies=[study_key], details={"images": images, "verdicts": verdicts})
    append(session, AuditEvent.REVIEWED, about, now=now)


def requeued(session: Session, file: ReceivedFile, now: datetime) -> None:
    """A quarantined file was taken back, in this transaction."""
    append(session, AuditEvent.REQUEUED, _about(_told([file])), now=now)


def removed(
    session: Session,
    *,
    why: str,
    now: datetime,
    files: Sequence[ReceivedFile],
    reports: Sequence[tuple[str, int]],
) -> None:
    """Archived bytes of files and delivered reports (study key, version) go, and their rows say so in this transaction.

    Args:
        session: one that writes.
        why: the setting or the command that asked for it.
        now: the moment.
        files: whose bytes go.
        reports: which PDFs go.
    """
    about = _about(_told(files), why=why, reports=reports)
    studies = [*about.studies, *(key for key, _ in reports)]
    append(session, AuditEvent.REMOVED, About(studies, about.files, about.details), now=now)


def backed_up(connection: Connection, now: datetime) -> None:
    """The database is about to be copied to a file; the copy holds this event."""
    append(connection, AuditEvent.BACKED_UP, About(), now=now)


def restored(connection: Connection, now: datetime) -> None:
    """This database has just taken the place of another one."""
    append(connection, AuditEvent.RESTORED, About(), now=now)


def migrated(connection: Connection, before: str | None, after: str | None, now: datetime) -> None:
    """The database was brought to another revision, in this transaction."""
    append(connection, AuditEvent.MIGRATED, About(details={"from": before, "to": after}), now=now)


def model_refused(database: Database, model: str, error: Exception, now: datetime) -> None:
    """A model was not loaded, since its files are not what they should be."""
    details = {"model": model, "reason": str(error)}
    with database.transaction() as connection:
        about = About(details=details, outcome=EventOutcome.SERIOUS_FAILURE)
        append(connection, AuditEvent.MODEL_REFUSED, about, now=now)


def configured(connection: Connection, config: Config, now: datetime) -> None:
    """Tell of the settings where they differ from those that the trail told of last."""
    settings = shown_settings(config)
    told = last_of(connection, AuditEvent.CONFIGURED)
    changed = changed_settings(told["settings"] if told else {}, settings)
    if changed:
        details = {"settings": settings, "changed": changed if told else {}}
        append(connection, AuditEvent.CONFIGURED, About(details=details), now=now)


def reads_with(connection: Connection, model: ModelIdentity, now: datetime) -> None:
    """Tell of the model that the clinic reads with where it is another than the trail told of last."""
    before = chosen_model(connection)
    if before != model:
        told = {"model": model._asdict(), "before": before._asdict() if before else None}
        append(connection, AuditEvent.MODEL_CHANGED, About(details=told), now=now)


def chosen_model(connection: Connection, before: ScalarSelect[int] | None = None) -> ModelIdentity | None:
    """The model of which `reads_with` has told last, `before` a place in the trail; None where it has told of none."""
    told = last_of(connection, AuditEvent.MODEL_CHANGED, before=before)
    return ModelIdentity(**told["model"]) if told else None


class Begun(NamedTuple):
    """What a process has begun its work with, and keeps until it ends."""

    model: ModelIdentity
    settings: Mapping[str, Any]
    """As `shown_settings` gives them."""


def begun_with(connection: Connection, *whose: ColumnElement[bool]) -> Begun | None:
    """What a process works with: the model and the settings that counted when it told of its beginning.

    `whose` are conditions that its events meet. None where it has not told of its beginning yet.
    """
    columns = audit_event.c
    began = select(func.max(columns.id)).where(columns.event == AuditEvent.STARTED, *whose).scalar_subquery()
    model, told = chosen_model(connection, began), last_of(connection, AuditEvent.CONFIGURED, before=began)
    return Begun(model, told["settings"]) if model and told else None


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of those that differ, before and after, by name; None where there was no such setting."""
    return {
        name: [before.get(name), after.get(name)]
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


@contextmanager
def working(
    database: Database,
    config: Config,
    model: ModelIdentity,
    clock: Callable[[], datetime],
    *,
    worker: str = "",
    beside: int = 0,
) -> Iterator[None]:
    """Tell of the beginning and the end of the work on a clinic, and of what has changed since the work before.

    `beside` other workers are at work, whose beginnings have no end yet: only without any does one tell whether a run
    was killed.

    The newest hash goes to the log at both, where the system's journal keeps it out of the clinic's own reach.
    """
    by = _by(worker)
    with database.transaction() as connection:
        now = clock()
        configured(connection, config, now)
        reads_with(connection, model, now)
        runs = {_BESIDE: beside} if beside else {"run_before_ended": _have_ended(connection)}
        append(connection, AuditEvent.STARTED, About(details=runs | by), now=now)
    _log_head(database)
    try:
        yield
    except BaseException as error:
        # What ended the work is the error to be told, not that the database cannot be written for the same cause.
        with suppress(DatabaseError):
            failed = isinstance(error, Exception)
            outcome = EventOutcome.MAJOR_FAILURE if failed else EventOutcome.MINOR_FAILURE
            _stopped(database, About(details={"error": type(error).__name__} | by, outcome=outcome), clock())
        raise
    _stopped(database, About(details=by), clock())


def _have_ended(connection: Connection) -> bool:
    """Whether each run has come to its end, from the newest on that began with no other at work."""
    columns = audit_event.c
    began = columns.event == AuditEvent.STARTED
    alone = select(func.max(columns.id)).where(began, ~columns.details.contains(f'"{_BESIDE}"', autoescape=True))
    runs = select(columns.event, columns.details).where(columns.id >= alone.scalar_subquery())
    whose: dict[str, set[str]] = {AuditEvent.STARTED: set(), AuditEvent.STOPPED: set()}
    for event, details in connection.execute(runs.where(columns.event.in_(whose))):
        whose[event].add(json.loads(details).get("worker", ""))
    return whose[AuditEvent.STARTED] <= whose[AuditEvent.STOPPED]


def shown_settings(config: Config) -> dict[str, Any]:
    """The settings by their names in config.toml, without the password and the options of the database's address."""
    sections: dict[str, dict[str, Any]] = config.model_dump(mode="json")
    settings = {f"{section}.{name}": value for section, keys in sections.items() for name, value in keys.items()}
    address = parse_url(config.database.url).set(query={})
    return settings | {"database.url": address.render_as_string(hide_password=True)}


def _stopped(database: Database, about: About, now: datetime) -> None:
    with database.transaction() as connection:
        append(connection, AuditEvent.STOPPED, about, now=now)
    _log_head(database)


def _log_head(database: Database) -> None:
    with database.connection() as connection:
        count, head = head_of(connection)
    log.info("the audit trail has %d events; its newest hash is %s", count, head)


def _told(files: Iterable[ReceivedFile]) -> list[Told]:
    return [Told(file.id, None if file.instance is None else file.instance.study.key, file.outcome) for file in files]


def _by(worker: str) -> dict[str, str]:
    return {"worker": worker} if worker else {}


def _about(files: Sequence[Told], **details: Any) -> About:
    outcomes: Mapping[str, int] = Counter(file.outcome for file in files)
    return About(
        studies=[file.study_key for file in files if file.study_key is not None],
        files=[file.file_id for file in files],
        details={"outcomes": outcomes, **details},
    )
