"""What `doctor` says of those that work on a clinic now: who they are, and whether by what config.toml says."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config
from agcnn_clinic.errors import DatabaseError, ModelUnavailableError
from agcnn_clinic.moments import iso

if TYPE_CHECKING:
    from agcnn_clinic.database.session import Database
    from agcnn_clinic.database.trail import Begun, ModelIdentity

_OTHER_MODEL = "Restart it: it keeps the model that it has loaded, whatever `models use` or config.toml say since."
_OTHER_SETTINGS = (
    "Restart it if config.toml was changed since: it keeps the settings that it has begun with. Otherwise the "
    "environment sets it, for one of the two."
)
_MODEL = "analysis.model"
"""Of which more is known: its name, and what it is."""
_NAMED = 3
"""So many of the settings that differ are named."""


def at_work(config: Config, database: "Database | None") -> Iterator[Result]:
    """Name the process that has the clinic's lock, or the workers that the database server knows.

    `database` is None where it cannot be used: who has the lock can be told all the same.
    """
    from agcnn_clinic.database.engine import sqlite_file

    if sqlite_file(config.database_url) is not None:
        yield from _daemon(config, database)
    elif database is not None:
        yield from _workers(config, database)


def _daemon(config: Config, database: "Database | None") -> Iterator[Result]:
    from agcnn_clinic.lock import holder

    running = holder(config.lock_file)
    if running is None:
        yield Result("daemon", State.OK, "nothing works on this clinic now")
        return
    begun = None
    with suppress(DatabaseError):  # of which the checks of the database tell
        begun = _begun_by_holder(config, database, running) if database else None
    yield from _told("daemon", f"process {running} works on this clinic", begun, config)


def _begun_by_holder(config: Config, database: "Database", process_id: str) -> "Begun | None":
    """What the lock's holder works with; None where it has not told yet that it has begun."""
    from agcnn_clinic.database.audit import audit_event, has_trail
    from agcnn_clinic.database.trail import begun_with

    if not process_id.isdigit():
        return None
    columns = audit_event.c
    # In a container each run has the same process id: this run's events are those since the lock was taken.
    locked_at = datetime.fromtimestamp(config.lock_file.stat().st_mtime, UTC)
    holders = columns.process_id == int(process_id), columns.recorded_at >= iso(locked_at)
    with database.connection() as connection:
        return begun_with(connection, *holders) if has_trail(connection) else None


def _workers(config: Config, database: "Database") -> Iterator[Result]:
    from sqlalchemy import text

    from agcnn_clinic.database.audit import by_worker
    from agcnn_clinic.database.trail import begun_with

    living = text("""
        SELECT id, host, process_id FROM worker
        WHERE lease_until > timezone('utc', clock_timestamp()) ORDER BY began_at, id
    """)
    with database.connection() as connection:
        if connection.execute(text("SELECT to_regclass('worker')")).scalar() is None:
            return
        workers = connection.execute(living).all()
        if not workers:
            yield Result("workers", State.OK, "none is at work now")
        for worker in workers:
            found = f"process {worker.process_id} on {worker.host} is at work"
            yield from _told("worker", found, begun_with(connection, by_worker(worker.id)), config)


def _told(check: str, found: str, begun: "Begun | None", config: Config) -> Iterator[Result]:
    from agcnn_clinic.database.trail import changed_settings, shown_settings

    chosen = _chosen(config)
    if begun and chosen and begun.model.manifest_sha256 != chosen.manifest_sha256:
        told = f"{found}, but reads with {begun.model}; {chosen} was chosen since"
        yield Result(check, State.PROBLEM, told, _OTHER_MODEL)
    else:
        yield Result(check, State.OK, found)
    changed = changed_settings(begun.settings, shown_settings(config)) if begun else {}
    changed.pop(_MODEL, None)
    if changed:
        named = [f"{name} is {there} there and {here} here" for name, (there, here) in changed.items()]
        more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
        yield Result(check, State.REMARK, f"other settings: {', '.join(named[:_NAMED] + more)}", _OTHER_SETTINGS)


def _chosen(config: Config) -> "ModelIdentity | None":
    """The model that config.toml names now; None where it is none, which the check of the model tells of."""
    from agcnn_clinic.bundles import configured_bundle
    from agcnn_clinic.database.trail import ModelIdentity
    from agcnn_models.errors import ModelError
    from agcnn_models.manifest import digest
    from agcnn_models.manifest_file import read_manifest

    try:
        manifest = read_manifest(configured_bundle(config))
    except (ModelError, ModelUnavailableError):
        return None
    return ModelIdentity(manifest.name, manifest.version, digest(manifest))
