"""What `doctor` says of those that work on a clinic now: who they are, and whether they read with the chosen model."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config
from agcnn_clinic.errors import DatabaseError, ModelUnavailableError
from agcnn_clinic.moments import iso

if TYPE_CHECKING:
    from agcnn_clinic.database.trail import ModelIdentity

_ADVICE = "Restart it: it keeps the model that it has loaded, whatever `models use` or config.toml say since."


def at_work(config: Config) -> Iterator[Result]:
    """Name the process that has the clinic's lock, or the workers that the database server knows."""
    from agcnn_clinic.database.engine import sqlite_file

    yield from _workers(config) if sqlite_file(config.database_url) is None else _daemon(config)


def _daemon(config: Config) -> Iterator[Result]:
    from agcnn_clinic.lock import holder

    # A clinic that never worked has no lock file, and looking must not make one.
    running = holder(config.lock_file) if config.lock_file.exists() else None
    if running is None:
        yield Result("daemon", State.OK, "nothing works on this clinic now")
        return
    loaded = None
    with suppress(DatabaseError):  # of which the checks of the database tell
        loaded = _loaded_by_holder(config, running)
    yield _told("daemon", f"process {running} works on this clinic", loaded, _chosen(config))


def _loaded_by_holder(config: Config, process_id: str) -> "ModelIdentity | None":
    """What the lock's holder has loaded; None where it has not told yet that it has begun."""
    from agcnn_clinic.database.audit import audit_event, has_trail
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.database.trail import loaded_model

    if not process_id.isdigit():
        return None
    columns = audit_event.c
    # In a container each run has the same process id: this run's events are those since the lock was taken.
    locked_at = datetime.fromtimestamp(config.lock_file.stat().st_mtime, UTC)
    holders = columns.process_id == int(process_id), columns.recorded_at >= iso(locked_at)
    with (
        open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database,
        database.connection() as connection,
    ):
        return loaded_model(connection, *holders) if has_trail(connection) else None


def _workers(config: Config) -> Iterator[Result]:
    from sqlalchemy import text

    from agcnn_clinic.database.audit import by_worker
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.database.trail import loaded_model

    living = text("""
        SELECT id, host, process_id FROM worker
        WHERE lease_until > timezone('utc', clock_timestamp()) ORDER BY began_at, id
    """)
    chosen = _chosen(config)
    with (
        open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database,
        database.connection() as connection,
    ):
        if connection.execute(text("SELECT to_regclass('worker')")).scalar() is None:
            return
        workers = connection.execute(living).all()
        if not workers:
            yield Result("workers", State.OK, "none is at work now")
        for worker in workers:
            found = f"process {worker.process_id} on {worker.host} is at work"
            yield _told("worker", found, loaded_model(connection, by_worker(worker.id)), chosen)


def _told(check: str, found: str, loaded: "ModelIdentity | None", chosen: "ModelIdentity | None") -> Result:
    if loaded is None or chosen is None or loaded.manifest_sha256 == chosen.manifest_sha256:
        return Result(check, State.OK, found)
    return Result(check, State.PROBLEM, f"{found}, but reads with {loaded}; {chosen} was chosen since", _ADVICE)


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
