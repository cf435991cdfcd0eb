"""Who looks at patient data is recorded, and `audit` shows it and says whether the record is whole."""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agcnn_clinic.cli import access, checks_access
from agcnn_clinic.cli.audit import _COLUMNS, AuditTrailBrokenError
from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import load_config
from agcnn_clinic.database.audit import BEGINNING, audit_event
from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.session import open_database
from agcnn_clinic.errors import ExitCode, ModelUnavailableError, UsageError

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")


@pytest.fixture
def clinic(tmp_path, factories, new_clinic):
    """A clinic of its own with studies, which does not wait long for a lock."""
    config = new_clinic(tmp_path / "clinic")
    with open_database(config.database_url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=12, images=2, seed=5)
    file = tmp_path / "clinic" / "config.toml"
    file.write_text(file.read_text().replace("busy_timeout_seconds = 30.0", "busy_timeout_seconds = 0.05"))
    return tmp_path / "clinic"


def sql(folder, statement):
    """What any program that may write the database can do to it, without a clinic's event."""
    url = load_config(folder / "config.toml").database_url
    with open_database(url) as database, database.transaction() as connection:
        done = connection.exec_driver_sql(statement)
        return [tuple(row) for row in done] if done.returns_rows else []


def without_guards(folder):
    """Let the trail be changed, as who owns the table can."""
    url = load_config(folder / "config.toml").database_url
    if url.startswith("postgresql"):
        sql(folder, "ALTER TABLE audit_event DISABLE TRIGGER USER")
    else:
        for guard in ("no_update", "no_delete"):
            sql(folder, f"DROP TRIGGER audit_event_{guard}")


def newest(folder) -> dict:
    """The newest event."""
    names = [column.name for column in audit_event.columns]
    (row,) = sql(folder, "SELECT * FROM audit_event ORDER BY id DESC LIMIT 1")
    event = dict(zip(names, row, strict=True))
    return event | {name: json.loads(event[name]) for name in ("studies", "files", "details")}


def doctors_look(folder) -> list[Result]:
    """What `doctor` says of the audit trail."""
    with open_database(load_config(folder / "config.toml").database_url) as database:
        return list(checks_access.audit_trail(database))


def test_the_columns_that_are_printed_are_the_tables():
    """`audit list` prints every column of the table, in its order."""
    assert [column.name for column in _COLUMNS] == [column.name for column in audit_event.columns]


@pytest.mark.parametrize(
    ("command", "event", "options"),
    [
        (["studies", "--patient", "P0001"], "queried", ["patient"]),
        (["findings", "--accession", "A00002", "--positive"], "queried", ["accession", "positive"]),
        (["findings", "--study", "A00002", "--format", "csv"], "exported", ["form", "study"]),
        (["show", "A00002"], "accessed", ["study"]),
        (["show", "A00002", "--format", "json"], "exported", ["form", "study"]),
        (["review", "A00002", "--show"], "queried", ["show", "study"]),
        (["quarantine", "list"], "queried", []),
        (["audit", "list", "--user", "P0001"], "audit read", ["user"]),
    ],
)
def test_a_command_that_shows_patient_data_leaves_one_event(clinic, run, command, event, options):
    """What was asked for is told by the names of the options; their values may be a patient's, and stay out."""
    before = newest(clinic)["id"]
    run(clinic, *command)
    found = newest(clinic)
    assert found["id"] == before + 1
    assert found["event"] == event
    assert found["details"]["options"] == options
    words = [word for word in command if word.islower()]
    assert found["details"]["command"].split() == words[: len(found["details"]["command"].split())]
    assert "P0001" not in str(found)
    assert "A0000" not in str(found)


def test_an_event_about_one_study_names_its_key(clinic, run):
    """Whatever name the person used for it."""
    ((key,),) = sql(clinic, "SELECT key FROM study WHERE accession_number = 'A00002'")
    for command in (["show", "A00002"], ["findings", "--study", "A00002"], ["review", "A00002", "--show"]):
        run(clinic, *command)
        assert newest(clinic)["studies"] == [key]
    run(clinic, "audit", "list", "--study", "A00002", "-f", "json")
    events = json.loads(run(clinic, "audit", "list", "--study", key, "-f", "json").stdout)
    assert [row["event"] for row in events] == ["queried", "queried", "accessed"]


def test_a_quarantined_file_is_named_by_its_id(clinic, run):
    """`quarantine show` leaves the file's id and its study's key."""
    ((file_id, key),) = sql(
        clinic,
        "SELECT f.id, s.key FROM received_file f JOIN instance i ON i.id = f.instance_id JOIN study s "
        "ON s.id = i.study_id WHERE f.outcome = 'quarantined' LIMIT 1",
    )
    run(clinic, "quarantine", "show", file_id)
    assert (newest(clinic)["files"], newest(clinic)["studies"]) == ([file_id], [key])


@pytest.mark.parametrize(("read_ahead", "limit"), [(1000, 0), (5, 0), (5, 7), (1000, 7)])
def test_the_number_of_rows_is_the_number_that_is_printed(clinic, run, monkeypatch, read_ahead, limit):
    """Also where there are more than are read ahead, and where --limit cuts them off."""
    monkeypatch.setattr(access, "_READ_AHEAD", read_ahead)
    for command in ("findings", "studies", "quarantine list", "audit list"):
        printed = run(clinic, *command.split(), "--limit", limit, "-f", "csv").stdout
        assert newest(clinic)["details"]["rows"] == len(list(csv.reader(io.StringIO(printed)))) - 1


def test_a_file_is_an_export_whatever_its_format(clinic, run, tmp_path):
    """A table, too, once it lies on a disk; the file's own name may be a patient's, and is not told."""
    run(clinic, "studies", "-o", tmp_path / "CANARY.table")
    assert newest(clinic)["event"] == "exported"
    assert newest(clinic)["event_id"] == "110106"
    assert newest(clinic)["details"]["format"] == "table"
    assert "CANARY" not in str(newest(clinic))


def test_nothing_is_shown_while_it_cannot_be_recorded(clinic, run, tmp_path):
    """With the database locked by another program a command ends in a sentence, and not one row was printed."""
    output = tmp_path / "rows.csv"
    with open_database(load_config(clinic / "config.toml").database_url) as other, other.transaction():
        # CSV goes out row by row: the first one must not be on its way already.
        command = [PROGRAM, "--config", clinic / "config.toml", "findings", "--format", "csv"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (ExitCode.DATABASE, "")
        assert "Nothing is shown, since the audit trail cannot record it. The database is locked" in done.stderr
        for command in (["findings", "-o", output], ["show", "A00002"], ["quarantine", "list"], ["audit", "list"]):
            # The kind of the error stays: a lock may pass.
            with pytest.raises(DatabaseUnavailableError, match="Nothing is shown"):
                run(clinic, *command)
    assert not output.exists()


def test_a_reader_that_goes_away_early_is_recorded(clinic):
    """`findings | head -1` leaves the same event as the whole list."""
    command = f"'{PROGRAM}' --config '{clinic / 'config.toml'}' findings -f csv --limit 0 | head -1"
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    ((findings,),) = sql(clinic, "SELECT count(*) FROM finding")
    assert newest(clinic)["details"]["rows"] == findings


def test_a_review_is_an_update_that_names_neither_labels_nor_physician(clinic, run):
    """How many verdicts on how many images; what was said stands in the review's own rows."""
    run(clinic, "review", "A00002", "--set", "Effusion=present", "--by", "Dr CANARY", "--note", "CANARY")
    found = newest(clinic)
    assert (found["event"], found["action"]) == ("reviewed", "U")
    assert found["details"]["verdicts"] > 0
    assert "CANARY" not in str(found)
    assert "Effusion" not in str(found)


def test_a_refused_review_leaves_no_event(clinic, run):
    """The event is rolled back with the rows that it would tell of."""
    before = newest(clinic)
    with pytest.raises(UsageError):
        run(clinic, "review", "A00002", "--clear", "Effusion")
    assert newest(clinic) == before


@pytest.mark.sqlite_only("a server has its own tool")
def test_a_backup_is_recorded_in_the_database_and_in_the_copy(clinic, run, tmp_path):
    """All patient data leave with it: the event is in both."""
    run(clinic, "db", "backup", tmp_path / "copy.sqlite")
    assert newest(clinic)["event"] == "backed up"
    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("SELECT event FROM audit_event ORDER BY id DESC").fetchone() == ("backed up",)


def test_a_list_is_for_people_and_for_programs(clinic, run):
    """The table leaves the settings out; JSON has every column as it is stored."""
    run(clinic, "show", "A00002")
    table = run(clinic, "audit", "list").stdout
    assert "accessed" in table
    assert 'command: "show"' in table
    listed = json.loads(run(clinic, "audit", "list", "-f", "json", "--limit", 0).stdout)
    assert [row["id"] for row in listed] == list(range(len(listed), 0, -1))
    assert listed[-1]["event"] == "migrated"
    chosen = json.loads(run(clinic, "audit", "list", "--event", "accessed", "-f", "json").stdout)
    assert [row["event"] for row in chosen] == ["accessed"]
    assert json.loads(run(clinic, "audit", "list", "--since", "2999-01-01", "-f", "json").stdout) == []
    with pytest.raises(UsageError, match="an event is one of"):
        run(clinic, "audit", "list", "--event", "nothing")


def test_verify_prints_a_hash_that_a_later_one_finds(clinic, run):
    """The count and the newest hash; after more events it is still there, a hash of something else is not."""
    first = run(clinic, "audit", "verify").stdout.split()
    run(clinic, "show", "A00002")
    assert run(clinic, "audit", "verify", "--expect", first[-1]).exit_code == 0
    with pytest.raises(AuditTrailBrokenError, match="expected hash is not in the audit trail"):
        run(clinic, "audit", "verify", "--expect", BEGINNING)


def test_a_broken_trail_ends_with_exit_code_4_and_names_the_row(clinic, run):
    """A change of one letter, by somebody who took the guards away; doctor finds it, too."""
    run(clinic, "show", "A00002")
    without_guards(clinic)
    sql(clinic, "UPDATE audit_event SET user_name = user_name || 'x' WHERE id = 2")
    with pytest.raises(AuditTrailBrokenError, match="Row 2 of the audit trail is not as it was written") as broken:
        run(clinic, "audit", "verify")
    assert broken.value.exit_code == ExitCode.DATABASE
    (result,) = doctors_look(clinic)
    assert result.state is State.PROBLEM


def test_a_trail_from_which_all_was_cut_is_remarked_on(clinic, run):
    """An empty trail is whole by itself; doctor asks why it is empty."""
    assert [result.state for result in doctors_look(clinic)] == [State.OK]
    without_guards(clinic)
    sql(clinic, "DELETE FROM audit_event")
    assert [result.state for result in doctors_look(clinic)] == [State.REMARK]


def test_using_another_model_is_recorded_at_once(clinic, run, small_bundle):
    """With who did it: the setting's old and new value, and the model; a spoilt bundle is refused and recorded."""
    run(clinic, "models", "use", small_bundle)
    events = json.loads(run(clinic, "audit", "list", "-f", "json").stdout)
    details = {row["event"]: json.loads(row["details"]) for row in events}
    assert details["configured"]["settings"]["analysis.model"] == str(small_bundle)
    assert details["model changed"]["model"]["name"] == "untrained"


def test_a_card_cannot_command_the_terminal(clinic, run, small_bundle, tmp_path):
    """A bundle's card is foreign text: an escape sequence in it is shown, not sent."""
    bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
    (bundle / "MODEL_CARD.md").write_bytes(b"# Card\n\x1b]0;owned\x07 \xff\n")
    printed = run(clinic, "models", "show", bundle).stdout
    assert "# Card" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_a_model_that_is_not_its_manifests_is_refused_and_recorded(clinic, run, small_bundle, tmp_path):
    """One flipped byte: nothing is set, and the trail has an alert."""
    spoilt = shutil.copytree(small_bundle, tmp_path / "spoilt")
    weights = bytearray((spoilt / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (spoilt / "model.safetensors").write_bytes(weights)
    before = (clinic / "config.toml").read_text()
    with pytest.raises(ModelUnavailableError, match="expected SHA-256"):
        run(clinic, "models", "use", spoilt)
    assert (clinic / "config.toml").read_text() == before
    found = newest(clinic)
    assert (found["event"], found["event_id"], found["outcome"]) == ("model refused", "110113", 8)
