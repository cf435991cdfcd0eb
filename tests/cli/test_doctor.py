"""doctor: says that a sound clinic is sound, finds what is broken, one thing not hiding another; changes nothing."""

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agcnn_clinic.cli import checks, checks_database
from agcnn_clinic.cli.context import GlobalOptions
from agcnn_clinic.cli.doctor import doctor
from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile, Report, Study
from agcnn_clinic.domain import MediaType
from agcnn_clinic.environment import CONFIG_ENVIRONMENT_VARIABLE


@pytest.fixture
def clinic(tmp_path, small_bundle, new_clinic) -> Config:
    """A fresh clinic that reads with the small bundle."""
    root = tmp_path / "clinic"
    new_clinic(root)
    config = root / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('model = "starter"', f'model = "{small_bundle}"'), encoding="utf-8")
    return load_config(config)


@pytest.fixture
def run():
    """A function that runs the command with a config file, or none, and arguments."""
    app = typer.Typer()

    @app.callback()
    def _options(ctx: typer.Context, config: Path | None = None) -> None:
        ctx.obj = GlobalOptions(config=config)

    app.command()(doctor)

    def run(config: Path | None, *arguments: str):
        before = [] if config is None else ["--config", str(config)]
        return CliRunner().invoke(app, [*before, "doctor", *arguments], env={"COLUMNS": "200"})

    return run


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """A current folder without a clinic."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv(CONFIG_ENVIRONMENT_VARIABLE, raising=False)
    return folder


def _states(results) -> dict[str, State]:
    return {result.check: result.state for result in results}


def _all(config: Config, *, thorough: bool = False):
    return {result.check: result for result in checks.of_clinic(config, thorough=thorough)}


def _holdings(config: Config, *, thorough: bool = False) -> list[Result]:
    with open_database(config.database_url) as database:
        return list(checks_database.holdings(database, config=config, thorough=thorough))


@pytest.mark.sqlite_only("the lines on its file")
def test_a_fresh_clinic_is_well(run, clinic):
    """Every line is there, none is a problem, and the exit code is 0; looking has left no file behind."""
    before = sorted(clinic.root.rglob("*"))
    result = run(clinic.root / "config.toml")
    assert result.exit_code == 0, result.output
    for check in ("program", "torch", "GPU", "decoders", "configuration", "inbox folder", "archive folder", "disk"):
        assert check in result.output
    for check in ("database schema", "database file", "database journal", "model", "daemon", "All is well."):
        assert check in result.output
    assert sorted(clinic.root.rglob("*")) == before


def test_an_inbox_that_is_a_link_into_the_archive_is_a_problem(run, clinic):
    """Each film would come in again and again; the other folders are told of all the same."""
    clinic.inbox.rmdir()
    clinic.inbox.symlink_to(clinic.archive)
    result = run(clinic.root / "config.toml", "--format", "json")
    assert result.exit_code == 1
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert "holds the archive" in rows["folders"]["advice"]
    assert rows["reports folder"]["state"] == "OK"


def test_json_says_the_same_as_objects(run, nowhere):
    """Each check is an object with its state, what was found and the advice; without a clinic that is a remark."""
    result = run(None, "--format", "json")
    assert result.exit_code == 0, result.output
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert rows["program"]["state"] == "OK"
    assert rows["decoders"]["state"] == "OK"
    assert rows["configuration"]["state"] == "remark"
    assert "agcnn-clinic init" in rows["configuration"]["advice"]
    assert "model" not in rows


def test_a_config_that_was_named_must_be_there(run, nowhere):
    """Naming a file that does not exist is a problem, not a check of the machine alone."""
    result = run(nowhere / "config.toml", "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[-1]["state"] == "problem"


def test_a_config_that_is_wrong_is_named(run, clinic):
    """The sentence says which setting is wrong."""
    config = clinic.root / "config.toml"
    config.write_text("[intake]\nsettle = 3\n", encoding="utf-8")
    result = run(config, "--format", "json")
    assert result.exit_code == 1
    assert "intake.settle" in json.loads(result.stdout)[-1]["advice"]


def test_a_missing_folder_does_not_hide_the_rest(clinic):
    """Each folder has its own line, and the checks after it still run."""
    clinic.reports.rmdir()
    found = _all(clinic)
    assert found["reports folder"].state is State.PROBLEM
    assert "agcnn-clinic init" in found["reports folder"].advice
    assert found["inbox folder"].state is State.OK
    assert found["database schema"].state is State.OK


@pytest.mark.sqlite_only("its file")
def test_a_missing_database_is_a_problem(clinic):
    """No file: nothing else is said of it."""
    (clinic.root / "clinic.sqlite").unlink()
    found = _all(clinic)
    assert found["database"].state is State.PROBLEM
    assert "database schema" not in found
    assert found["daemon"].state is State.OK


@pytest.mark.sqlite_only("its file")
def test_a_database_that_cannot_be_asked_for_is_a_problem(clinic):
    """A disk that fails when it is asked whether the file is there, as for a name that is longer than any may be."""
    config = clinic.root / "config.toml"
    config.write_text(config.read_text().replace("clinic.sqlite", "x" * 300), encoding="utf-8")
    found = _all(load_config(config))
    assert (found["database"].state, found["model"].state) == (State.PROBLEM, State.OK)


@pytest.mark.sqlite_only("its file")
def test_a_database_that_is_away_is_told_of_once(run, clinic):
    """It is one problem, beside any other; of what needs it nothing is said."""
    (clinic.root / "clinic.sqlite").unlink()
    shutil.rmtree(clinic.inbox)
    result = run(clinic.root / "config.toml", "--format", "json")
    assert result.exit_code == 1
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert {name for name, row in rows.items() if row["state"] == "problem"} == {"database", "inbox folder"}
    assert "clinic.sqlite" in rows["database"]["advice"]
    assert rows.keys().isdisjoint({"database tables", "clock", "archived files", "audit trail"})


def test_a_server_that_does_not_answer_is_asked_once(clinic):
    """And not by one check after another, each of which waits for it."""
    config, asked = clinic.root / "config.toml", []

    def hang_up(server: socket.socket) -> None:
        with suppress(OSError):  # closed, at the end
            while True:
                connection, address = server.accept()
                asked.append(address)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://clinic@127.0.0.1:{server.getsockname()[1]}/clinic?sslmode=disable"
        config.write_text(
            re.sub(r"(?m)^url = .*", f'url = "{url}"', config.read_text(encoding="utf-8")), encoding="utf-8"
        )
        thread = threading.Thread(target=hang_up, args=(server,))
        thread.start()
        found = _all(load_config(config))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert (found["database"].state, "archived files" in found, len(asked)) == (State.PROBLEM, False, 1)


@pytest.mark.sqlite_only("its file")
def test_a_damaged_database_is_a_problem(clinic):
    """Pages overwritten in the middle of the file are found, or the file cannot be opened at all."""
    path = clinic.root / "clinic.sqlite"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    states = {check: result.state for check, result in _all(clinic).items() if check.startswith("database")}
    assert State.PROBLEM in states.values()


@pytest.mark.sqlite_only("a server never lets such a row in")
def test_a_reference_to_nothing_is_found_on_request(clinic):
    """`--thorough` follows each reference of each row; the quick look does not."""
    with sqlite3.connect(clinic.root / "clinic.sqlite") as connection:
        connection.execute("INSERT INTO instance VALUES (1, 99, 'series', 'instance')")
    connection.close()
    assert _all(clinic)["database file"].state is State.OK
    file = _all(clinic, thorough=True)["database file"]
    assert (file.state, "instance" in file.found, "db restore" in file.advice) == (State.PROBLEM, True, True)


@pytest.fixture
def holding(clinic) -> tuple[Config, Path, Path]:
    """A clinic with one archived film and one report, both as their rows say."""
    film, pdf = clinic.archive / "ab" / "film.dcm", clinic.reports / "study-v1.pdf"
    film.parent.mkdir()
    for path in (film, pdf):
        path.write_bytes(b"as it came")
    digest = hashlib.sha256(b"as it came").hexdigest()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with open_database(clinic.database_url) as database, database.write() as session:
        study = Study(key="study", study_instance_uid="1.2", first_received_at=now, last_received_at=now)
        session.add(
            ReceivedFile(
                original_name="film.dcm",
                media_type=MediaType.DICOM,
                size=10,
                sha256=digest,
                stored_path="ab/film.dcm",
                received_at=now,
            )
        )
        session.add(
            Report(
                study=study,
                version=1,
                study_revision=0,
                created_at=now,
                software_version="0",
                path=str(pdf.relative_to(clinic.root)),
                sha256=digest,
            )
        )
    return clinic, film, pdf


def test_the_folders_hold_what_the_rows_say(holding):
    """Whole, nothing is said against it; what is gone is found at once, what is altered when it is read."""
    config, film, pdf = holding
    assert set(_states(_holdings(config, thorough=True)).values()) == {State.OK}
    for path, check in ((film, "archived files"), (pdf, "reports")):
        path.write_bytes(b"other bytes")
        assert _states(_holdings(config))[check] is State.OK
        assert _states(_holdings(config, thorough=True))[check] is State.PROBLEM
        path.unlink()
        assert _states(_holdings(config))[check] is State.PROBLEM


def test_reports_are_looked_for_where_their_folder_is_now(holding, tmp_path):
    """A folder that was moved to another disk, and named in config.toml, has lost nothing."""
    config, _, _ = holding
    config.reports.rename(tmp_path / "other disk")
    assert _states(_holdings(config))["reports"] is State.PROBLEM
    moved = config.model_copy(
        update={"folders": config.folders.model_copy(update={"reports": tmp_path / "other disk"})}
    )
    assert set(_states(_holdings(moved, thorough=True)).values()) == {State.OK}


def test_an_archived_file_without_a_row_is_remarked_on(holding):
    """It may be on its way, or the database is older than it: nothing is broken, and the advice names the command."""
    config, film, _ = holding
    film.with_name("later.dcm").write_bytes(b"later")
    (remark,) = [result for result in _holdings(config) if result.state is not State.OK]
    assert (remark.state, "db unlisted" in remark.advice) == (State.REMARK, True)
    assert "study.toml" not in remark.advice
    film.with_name("later.png").write_bytes(b"of which nobody knows the view")
    (remark,) = [result for result in _holdings(config) if result.state is not State.OK]
    assert ("PNGs among them: 1" in remark.found, "study.toml" in remark.advice) == (True, True)


def test_thorough_reads_everything(run, holding):
    """The option reaches the checks, and their lines stand in the table once each."""
    config, film, _ = holding
    film.write_bytes(b"other bytes")
    assert "altered" not in run(config.root / "config.toml").output
    result = run(config.root / "config.toml", "--thorough")
    assert result.exit_code == 1
    assert result.output.count("1 altered") == 1
    names = [line[8:30].strip() for line in result.output.splitlines() if line.startswith(("OK", "REMARK", "PROBLEM"))]
    assert len(names) == len(set(names)) > 10


@pytest.mark.parametrize(("revision", "advice"), [("0000", "newer"), (None, "db upgrade")])
def test_a_schema_of_another_version_is_a_problem(clinic, execute, revision, advice):
    """One that this version does not know asks for newer software, none for an upgrade; it is said once."""
    drop, change = "DROP TABLE alembic_version", f"UPDATE alembic_version SET version_num = '{revision}'"
    execute(clinic.database_url, drop if revision is None else change)
    problems = {result.check: result for result in _all(clinic).values() if result.state is State.PROBLEM}
    problems.pop("database durability", None)  # of the tests' own server, which syncs nothing
    assert list(problems) == ["database schema"]
    assert advice in problems["database schema"].advice


def test_a_tampered_model_is_a_problem(clinic, small_bundle, tmp_path):
    """Weights that are not those of the manifest are found by their hash."""
    copy = shutil.copytree(small_bundle, tmp_path / "tampered")
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    config = clinic.root / "config.toml"
    config.write_text(f'[analysis]\nmodel = "{copy}"\n', encoding="utf-8")
    (result,) = checks._model(load_config(config))
    assert result.state is State.PROBLEM
    assert "SHA-256" in result.found
    assert result.advice.startswith("Copy the bundle")  # `models import` takes weights, not bundles


def test_a_missing_model_is_a_problem(clinic):
    """The sentence of the error says which models there are."""
    config = clinic.root / "config.toml"
    config.write_text('[analysis]\nmodel = "nothing"\n', encoding="utf-8")
    found = _all(load_config(config))["model"]
    assert found.state is State.PROBLEM
    assert "nothing" in found.advice
