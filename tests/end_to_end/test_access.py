"""A day at a clinic whose user forgot about umask: whose files are whose, and what the audit trail says of the day."""

import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agcnn_clinic.config import load_config
from agcnn_clinic.database.audit import EventFilter, events, verify
from agcnn_clinic.database.session import open_database
from agcnn_clinic.demo.phantom import draw

pytestmark = pytest.mark.sqlite_only("whose its files are")

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")
CANARIES = {
    "patient_name": "Canary^Name",
    "patient_id": "CANARYID",
    "patient_birth_date": "1901-02-03",
    "accession_number": "CANARYACC",
    "institution_name": "Canary House",
    "referring_physician_name": "Canary^Doctor",
}


@pytest.fixture(scope="module")
def day(tmp_path_factory, small_bundle, write_film):
    """The folder in which the day's work lies: a clinic in hospital/clinic/, a backup and an export beside it."""
    folder = tmp_path_factory.mktemp("day")
    clinic = folder / "hospital" / "clinic"

    def run(*command, codes=(0,)):
        arguments = [PROGRAM, "--config", clinic / "config.toml", *command]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=300, umask=0)
        assert done.returncode in codes, done.stderr

    run("init", clinic)
    settings = (clinic / "config.toml").read_text()
    for old, new in (
        ('model = "starter"', f'model = "{small_bundle}"'),
        ("settle_seconds = 2.0", "settle_seconds = 0"),
        ("threads = 0", "threads = 1"),
        ("decode_workers = 0", "decode_workers = 1"),
    ):
        assert old in settings
        settings = settings.replace(old, new)
    (clinic / "config.toml").write_text(settings)
    write_film(clinic / "inbox" / "CANARYFILE.dcm", draw(1, (512, 512)).pixels, **CANARIES)
    (clinic / "inbox" / "CANARYFILE.sh").write_text("#!/bin/sh\n")
    for file in (clinic / "inbox").iterdir():
        file.chmod(0o777)
    run("process", codes=(1,))
    run("findings", "--patient", "CANARYID", "-o", folder / "findings.csv")
    run("report", "CANARYACC")
    run("db", "backup", folder / "copy.sqlite")
    return folder


def test_whatever_is_made_is_its_owners_alone(day):
    """Folders 0700, files 0600, with a umask of 0 around the program and with sources that everybody may run."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in day.rglob("*")}
    found = {path.relative_to(day): mode for path, mode in modes.items()}
    assert {path: mode for path, mode in found.items() if mode != (0o700 if (day / path).is_dir() else 0o600)} == {}
    names = {path.name for path in found}
    assert {"config.toml", "clinic.sqlite", ".clinic.sqlite.lock", "copy.sqlite", "findings.csv"} <= names
    assert {path.suffix for path in found if "archive" in path.parts} >= {".dcm", ".bin"}
    assert [path for path in found if path.suffix == ".pdf"]


def test_files_of_an_open_database_are_its_owners_alone(day):
    """The write-ahead log and its index hold patient data, too."""
    with open_database(load_config(day / "hospital" / "clinic" / "config.toml").database_url) as database:
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE study SET patient_sex = patient_sex")
        for suffix in ("", "-wal", "-shm"):
            assert stat.S_IMODE((day / "hospital" / "clinic" / f"clinic.sqlite{suffix}").stat().st_mode) == 0o600


def test_the_trail_tells_the_day_in_order(day):
    """Each step once, with the ids of what it was about."""
    rows = _trail(day)
    assert [row["event"] for row in rows] == [
        "migrated",
        *("configured", "model changed", "started", "imported", "analysed", "reported", "stopped"),
        *("exported", "reported again", "backed up"),
    ]
    by_event = {row["event"]: row for row in rows}
    with closing(sqlite3.connect(day / "hospital" / "clinic" / "clinic.sqlite")) as connection:
        ((key, sha256),) = connection.execute("SELECT key, sha256 FROM report JOIN study ON study.id = study_id")
    assert json.loads(by_event["imported"]["files"]) == [1, 2]
    assert json.loads(by_event["imported"]["details"]) == {"outcomes": {"pending": 1, "quarantined": 1}}
    assert json.loads(by_event["analysed"]["files"]) == [1]
    for event in ("imported", "analysed", "reported", "reported again"):
        assert json.loads(by_event[event]["studies"]) == [key]
    assert json.loads(by_event["reported"]["details"]) == {"version": 1, "sha256": sha256}
    assert json.loads(by_event["reported again"]["details"]) == {"version": 1}
    assert json.loads(by_event["exported"]["details"])["rows"] == 15


def test_the_trail_holds_no_patient_data(day):
    """Neither names nor ids nor dates of birth, of the patient or of others, nor the names of files and UIDs."""
    with closing(sqlite3.connect(day / "hospital" / "clinic" / "clinic.sqlite")) as connection:
        uids = connection.execute("SELECT study_instance_uid, sop_instance_uid FROM study JOIN instance").fetchone()
    written = "\n".join(str(value) for row in _trail(day) for value in row.values()).lower()
    assert "canary" not in written
    assert not [secret for secret in (*CANARIES.values(), *uids) if secret.lower() in written]


def _trail(day) -> list[dict]:
    """The events of the day, the oldest first; the chain holds."""
    with (
        open_database(load_config(day / "hospital" / "clinic" / "config.toml").database_url) as database,
        database.connection() as connection,
    ):
        assert verify(connection).broken == ""
        return list(events(connection, EventFilter()))[::-1]
