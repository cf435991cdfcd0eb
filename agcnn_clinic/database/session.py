"""The open database: sessions that read, and short transactions that write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, Engine, inspect, text

from agcnn_clinic.database.engine import make_engine, sqlite_file, writing
from agcnn_clinic.database.failures import translated
from agcnn_clinic.database.revision import HEAD, Standing, standing
from agcnn_clinic.database.sqlite import OpenFile
from agcnn_clinic.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Database:
    """A database that is open. Threads may share it; each session and connection belongs to one thread.

    The driver's errors come out of every method as DatabaseError (`failures.translated`).

    Attributes:
        url: where it is, with an absolute path.
        file: the SQLite file, None for a database server.
    """

    def __init__(self, engine: Engine, url: str) -> None:
        """Take over `engine`; `open_database` is the usual way here."""
        self._engine = engine
        self.url = url
        self.file: Path | None = sqlite_file(url)
        self._open_file = None if self.file is None else OpenFile(engine, self.file)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for reading the views, without the cost of the object mapper; sees one state throughout."""
        with translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for reading: it sees one state of the database throughout, and nothing can be written in it."""
        from sqlalchemy.orm import Session  # noqa: PLC0415 (0.1 s that reading a view does without)

        with translated(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end and rolled back on any error. Compute first: others wait for it.

        The objects that it leaves behind keep their values after the commit. When it returns, the rows are in the file
        that has the database's name: the inbox may let go of what they tell of.
        """
        from sqlalchemy.orm import Session  # noqa: PLC0415 (as above)

        with translated(), Session(writing(self._engine), expire_on_commit=False) as session, session.begin():
            yield session
        self._see_file()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As `write`, without the cost of the object mapper."""
        with translated(), writing(self._engine).begin() as connection:
            yield connection
        self._see_file()

    def revision(self) -> str | None:
        """The schema's revision as the database states it; None where there are no tables yet."""
        with self.connection() as connection:
            return revision_of(connection)

    def hold(self) -> None:
        """Keep an eye on what is in an SQLite database's file, too, at each transaction until the end."""
        if self._open_file is not None:
            self._open_file.hold()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        if self._open_file is not None:
            self._open_file.let_go()

    def _see_file(self) -> None:
        if self._open_file is not None:
            self._open_file.check()

    def __enter__(self) -> Self:
        """Close it at the end of a with block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all connections."""
        self.close()


def revision_of(connection: Connection) -> str | None:
    """The schema's revision, as `Database.revision` tells it."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def open_database(url: str, *, busy_timeout_seconds: float = 30, check_revision: bool = True) -> Database:
    """Open the clinic's database.

    Args:
        url: an SQLAlchemy URL with an absolute path.
        busy_timeout_seconds: how long to wait for another process that is writing.
        check_revision: whether to refuse a schema that this software does not write.

    Raises:
        DatabaseError: it is missing, behind or ahead of the software, on a network file system, or cannot be read.
        ConfigError: the URL is not valid or its driver is not installed.
    """
    database = Database(make_engine(url, busy_timeout_seconds=busy_timeout_seconds), url)
    if check_revision:
        try:
            _check(database.revision())
        except DatabaseError:
            database.close()
            raise
    return database


def refuse_newer(revision: str | None) -> None:
    """Refuse a revision that only a newer version of this software knows.

    Raises:
        DatabaseError: it is one.
    """
    if standing(revision) is Standing.AHEAD:
        raise DatabaseError(
            f"The database is at revision {revision}, which this version does not know (it writes {HEAD}); "
            "install the newer version of agcnn-clinic that upgraded it."
        )


def _check(revision: str | None) -> None:
    refuse_newer(revision)
    if standing(revision) is Standing.BEHIND:
        raise DatabaseError(
            f"The database is at revision {revision or 'none'} and this version needs {HEAD}; "
            "run `agcnn-clinic db upgrade`."
        )
