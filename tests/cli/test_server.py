"""The commands on a database server: `init` and `db`, and what `doctor` says of it."""

from pathlib import Path

import pytest

from agcnn_clinic.cli import checks
from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import load_config
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.errors import DatabaseError


@pytest.fixture(scope="module")
def clinic(server, tmp_path_factory) -> Path:
    """The folder of a clinic whose database was named in the environment, as a service does it."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AGCNN_CLINIC_DATABASE__URL", server.new())
        config = make_clinic(folder)
        text = (folder / "config.toml").read_text()
        (folder / "config.toml").write_text(text.replace("sqlite:///clinic.sqlite", config.database.url))
    return folder


@pytest.fixture
def found(clinic):
    """What `doctor` finds of the database, line by line; `found(url)` goes there by another address."""

    def found(url: str = ""):
        config = load_config(clinic / "config.toml")
        database = config.database.model_copy(update={"url": url or config.database.url})
        lines = checks.of_clinic(config.model_copy(update={"database": database}))
        return {line.check: line for line in lines if line.check.startswith("database")}

    return found


def test_init_makes_the_tables_and_db_says_where_they_stand(clinic, run):
    """A clinic on a server is at head at once; `studies` finds nothing yet, and there is no SQLite file."""
    assert f"{HEAD}, which this version needs" in run(clinic, "db", "current").stdout
    assert "already" in run(clinic, "db", "upgrade").stdout
    assert run(clinic, "studies").stdout == "Nothing matches.\n"
    assert not list(clinic.glob("*.sqlite*"))


def test_a_backup_names_the_servers_own_tool(clinic, run):
    """`db backup` refuses, with advice, and leaves no file behind."""
    with pytest.raises(DatabaseError, match="pg_dump"):
        run(clinic, "db", "backup", clinic / "copy")
    assert not list(clinic.glob("*copy*"))


def test_doctor_knows_a_sound_server_but_for_its_haste(found):
    """Version, distance and rights are well; that the tests' server does not wait for its disk is a problem."""
    lines = found()
    assert {name: line.state for name, line in lines.items()} == {
        "database schema": State.OK,
        "database server": State.OK,
        "database durability": State.PROBLEM,
        "database rights": State.OK,
    }
    assert "PostgreSQL" in lines["database server"].found
    assert "fsync" in lines["database durability"].found


def test_doctor_remarks_on_a_superuser(found, server, clinic):
    """A role that may do everything on the server is more than the clinic needs."""
    name = server.name_of(load_config(clinic / "config.toml").database.url)
    line = found(server.url_of(name, "postgres"))["database rights"]
    assert (line.state, "superuser" in line.found) == (State.REMARK, True)


def test_doctor_names_the_rights_that_are_missing(found, server, clinic):
    """A role that may read everything and write nothing lacks exactly what the daemon needs."""
    url = load_config(clinic / "config.toml").database.url
    import psycopg

    with psycopg.connect(server.url_of(server.name_of(url), "postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("GRANT INSERT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("REVOKE INSERT ON finding FROM reader")
        line = found(server.url_of(server.name_of(url), "reader"))["database rights"]
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")
    assert line.state is State.PROBLEM
    assert line.found == (
        "the role reader lacks DELETE on claim, DELETE on worker, INSERT on finding, UPDATE on inference, "
        "UPDATE on received_file, UPDATE on report, UPDATE on study, UPDATE on worker"
    )
