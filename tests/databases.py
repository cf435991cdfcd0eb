"""Where the databases of the tests come from: SQLite files, or a PostgreSQL server started for the tests alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.migrate import upgrade

ROLE = "clinic"
"""Owns its databases and may do nothing else on the server, as an administrator would set it up."""


class SqliteFiles:
    """Each database is a file."""

    name = "sqlite"

    def new(self, folder: Path) -> str:
        """The URL of a database that does not exist yet."""
        return f"sqlite:///{folder / 'clinic.sqlite'}"

    def copy(self, url: str, folder: Path) -> str:
        """The URL of a copy in another folder."""
        copied = self.new(folder)
        shutil.copy(url.removeprefix("sqlite:///"), copied.removeprefix("sqlite:///"))
        return copied

    def drop(self, url: str) -> None:
        """A file goes with its folder."""


class PostgresqlServer:
    """A server in a folder of its own, on a Unix socket only, which forgets everything at its end."""

    name = "postgresql"

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._numbers = count(1)
        # Its path is short, as a socket's must be, and open to the server's user, as pytest's folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="agcnn-"))

    def start(self) -> None:
        """Make it and start it."""
        self._user = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        data = self.folder / "data"
        order = ["--locale=C.UTF-8"]
        if "--icu-locale" in self._run("initdb", "--help"):
            # An order in which the program's own reliance on bytes would show.
            order += ["--locale-provider=icu", "--icu-locale=de-DE"]
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", *order)
        (data / "pg_hba.conf").write_text("local all locked scram-sha-256\nlocal all all trust\n")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nmax_connections = 50\n"
                "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nshared_buffers = 64MB\n"
            )
        self._run("pg_ctl", "-D", data, "-l", self.folder / "log", "-w", "start")
        self._connect()
        self.admin.execute(f"CREATE ROLE {ROLE} LOGIN")

    def stop(self) -> None:
        """End it and remove its folder."""
        if hasattr(self, "admin"):
            self.admin.close()
            self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)

    @contextmanager
    def as_standby(self) -> Iterator[None]:
        """Restarted as one that takes no writes, for the length of a `with` block; then it is made the primary."""
        data = self.folder / "data"
        self.admin.close()
        (data / "standby.signal").touch()
        self._run("pg_ctl", "-D", data, "-l", self.folder / "log", "-m", "fast", "-w", "restart")
        try:
            yield
        finally:
            self._run("pg_ctl", "-D", data, "-w", "promote")
            self._connect()

    def url_of(self, name: str, role: str = ROLE) -> str:
        """A database's URL; the socket's folder stands where a host would."""
        return f"postgresql://{role}@/{name}?host={self.folder}"

    def new(self, folder: Path | None = None, options: str = "") -> str:
        """The URL of a new and empty database; the folder is that of the clinic it is for, of which it needs nothing.

        `options` are further options of CREATE DATABASE.
        """
        del folder
        name = f"clinic_{next(self._numbers)}"
        self.admin.execute(f"CREATE DATABASE {name} OWNER {ROLE} {options}")
        return self.url_of(name)

    def copy(self, url: str, folder: Path) -> str:
        """The URL of a copy; nobody may be connected to the original."""
        return self.new(folder, f"TEMPLATE {self.name_of(url)}")

    def drop(self, url: str) -> None:
        """Remove a database, whoever may still be connected to it."""
        self.admin.execute(f"DROP DATABASE {self.name_of(url)} WITH (FORCE)")

    def _connect(self) -> None:
        import psycopg

        self.admin = psycopg.connect(self.url_of("postgres", "postgres"), autocommit=True)

    @staticmethod
    def name_of(url: str) -> str:
        """The database's name."""
        return url.partition("@/")[2].partition("?")[0]

    def _run(self, program: str, *arguments: str | Path) -> str:
        rights = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}
        # The server inherits what it is started with, and would hold on to a pipe for ever.
        with tempfile.TemporaryFile() as printed:
            done = subprocess.run(
                [self._programs / program, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                cwd=self.folder,
                **rights,
            )
            printed.seek(0)
            text = printed.read().decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"{program} failed: {text}")
        return text


Databases = SqliteFiles | PostgresqlServer


def start_server() -> PostgresqlServer:
    """A running server; skips the test where none is installed."""
    pytest.importorskip("psycopg", reason="the extra `postgresql` is not installed")
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")
    server = PostgresqlServer(programs)
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server


def server_programs() -> Path | None:
    """The folder of the newest installed server's programs: Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


def new_clinic(databases: Databases, folder: Path) -> Config:
    """Make a clinic in a folder, whose config.toml names a database of the kind that is tested."""
    if isinstance(databases, PostgresqlServer):
        config = make_clinic_config(folder)
        text = config.read_text()
        assert 'url = "sqlite:///clinic.sqlite"' in text
        config.write_text(text.replace("sqlite:///clinic.sqlite", databases.new(folder)))
    return make_clinic(folder)


def copy_of_clinic(databases: Databases, folder: Path, target: Path) -> str:
    """Copy a clinic that nobody works on, with its database; returns the URL of the copy."""
    shutil.copytree(folder, target)
    original = load_config(folder / "config.toml")
    if not isinstance(databases, PostgresqlServer):
        return databases.new(target)
    config = target / "config.toml"
    copied = databases.copy(original.database_url, target)
    config.write_text(config.read_text().replace(original.database.url, copied))
    return copied


def make_clinic_config(folder: Path) -> Path:
    """Put the default config.toml into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(Path(__file__).resolve().parents[1] / "config.toml", folder / "config.toml"))


def migrated(databases: Databases, folder: Path) -> str:
    """The URL of an empty database at head."""
    url = databases.new(folder)
    upgrade(url)
    return url
