"""Bring a database to the schema that this software writes. The steps themselves are in alembic/versions/.

Alembic is imported inside the functions: only these few commands pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from agcnn_clinic.database import trail
from agcnn_clinic.database.audit import has_trail
from agcnn_clinic.database.engine import make_engine, writing
from agcnn_clinic.database.failures import translated
from agcnn_clinic.database.session import open_database, refuse_newer, revision_of
from agcnn_clinic.errors import DatabaseError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from alembic.config import Config

CONNECTION = "connection"
"""Under this name alembic/env.py finds the connection to migrate on."""

_BUSY_SECONDS = 60.0


def current(url: str) -> str | None:
    """The revision of a database; None where it has no tables yet.

    Raises:
        DatabaseError: it is missing or cannot be read.
    """
    with open_database(url, check_revision=False) as database:
        return database.revision()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision, in one transaction; a missing SQLite file is made.

    Raises:
        DatabaseError: it cannot be made or written, is newer than this software, or its rows contradict each other.
    """
    from alembic import command  # noqa: PLC0415 (see above)

    with migration_connection(url) as connection:
        command.upgrade(alembic_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take a database back to an older revision, in one transaction. What the newer tables held is lost.

    Raises:
        DatabaseError: as for `upgrade`.
    """
    from alembic import command  # noqa: PLC0415 (see above)

    with migration_connection(url) as connection:
        command.downgrade(alembic_config(connection), revision)


@contextmanager
def migration_connection(url: str) -> Iterator[Connection]:
    """A connection in one writing transaction, to migrate on: the plain `alembic` command, too, has its own here.

    Foreign keys are checked at the end instead of on the way, and another revision is told to the audit trail.

    Raises:
        DatabaseError: the database is newer than this software, or its rows contradict each other.
    """
    engine = make_engine(url, busy_timeout_seconds=_BUSY_SECONDS, foreign_keys=False, create=True)
    try:
        with translated(), writing(engine).begin() as connection:
            before = revision_of(connection)
            refuse_newer(before)
            yield connection
            _check_foreign_keys(connection)
            _record(connection, before)
    finally:
        engine.dispose()


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, for the scripts that came with this package."""
    from alembic.config import Config  # noqa: PLC0415 (see above)

    config = Config()
    # Alembic takes % for the start of a variable.
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.attributes[CONNECTION] = connection
    return config


def script_folder() -> Path:
    """The folder of the migrations: inside the package when it was installed, else alembic/ of the repository.

    Raises:
        DatabaseError: there is none; the installation is not whole.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "alembic", here.parents[2] / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise DatabaseError("The migrations are missing from this installation; install agcnn-clinic again.")


def _record(connection: Connection, before: str | None) -> None:
    """Tell the audit trail of another revision, where this one has a trail."""
    after = revision_of(connection)
    if after != before and has_trail(connection):
        trail.migrated(connection, before, after, utc_now())


def _check_foreign_keys(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise DatabaseError(
            f"A row of the table {broken[0]} points to a row of {broken[2]} that does not exist; "
            "nothing was changed. Restore a backup, or ask for help with this message."
        )
