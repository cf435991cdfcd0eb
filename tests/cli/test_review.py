"""`review`, `findings --reviewed`, `show` and the table of reviewed films, as people and training see them."""

import csv
import io
import json
import random
import re
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from agcnn_clinic.cli.reviewed_table import reviewed_table
from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile, Review, Study
from agcnn_clinic.domain import Warn
from agcnn_clinic.errors import UsageError
from agcnn_models.labels import LABELS
from agcnn_training.data.table import Row

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def clinic(tmp_path, factories, new_clinic):
    """A clinic with three studies of two patients, each with one image in which the model found a Mass."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    with open_database(new_clinic(folder).database_url) as database, database.write() as session:
        model = factories.make_model(session)
        for number, patient in enumerate(("P1", "P1", "P2"), start=1):
            study = factories.make_study(session, number, patient_id=patient)
            inference = factories.make_inference(
                session, factories.make_file(session, study, number), model, random.Random(number)
            )
            for finding in inference.findings:
                finding.positive = finding.label == "Mass"
    return folder


def test_what_is_recorded_is_told_and_listed(clinic, run):
    """Each image has its line, the report is said to stay, and --show has every row with what the model had said."""
    done = run(
        clinic, "review", "A00001", "--set", "pleural thickening=present", "--by", "Dr. X", "--note", "follow up"
    )
    assert "image 1.2.826.0.2.1: Pleural_Thickening present, No Finding absent" in done.stdout
    assert "The report stays as it is" in done.stdout
    run(clinic, "review", "A00001", "--clear", "Pleural_Thickening")
    table = run(clinic, "review", "A00001", "--show").stdout
    assert "Dr. X" in table
    assert "follow up" in table
    rows = json.loads(run(clinic, "review", "A00001", "--show", "--format", "json").stdout)
    assert [(row["label"], row["verdict"], row["newest"]) for row in rows] == [
        ("No Finding", "cleared", True),
        ("Pleural_Thickening", "cleared", True),
        ("No Finding", "absent", False),
        ("Pleural_Thickening", "present", False),
    ]


def test_confirming_says_which_model(clinic, run):
    """Where several have read the image, one would else not know whose findings were confirmed."""
    assert "confirmed: the findings of starter 1.0" in run(clinic, "review", "A00001", "--confirm").stdout
    assert "confirmed" not in run(clinic, "review", "A00001", "--set", "Mass=absent").stdout


def test_show_and_findings_say_what_was_reviewed(clinic, run):
    """The verdict stands beside the finding it is about; --reviewed leaves out all that nobody looked at."""
    assert "reviewed" not in run(clinic, "show", "A00001").stdout
    run(clinic, "review", "A00001", "--set", "Mass=absent", "--by", "Dr. X", "--note", "a nipple")
    shown = run(clinic, "show", "A00001").stdout
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == ["Mass"]]
    assert "absent" in line
    assert "by Dr. X: a nipple" in shown
    detail = json.loads(run(clinic, "show", "A00001", "--format", "json").stdout)
    assert detail["instances"][0]["reviews"]["Mass"]["verdict"] == "absent"
    rows = list(csv.DictReader(io.StringIO(run(clinic, "findings", "--reviewed", "--format", "csv").stdout)))
    assert [(row["label"], row["verdict"], row["reviewer"]) for row in rows] == [("Mass", "absent", "Dr. X")]
    assert "verdict" not in run(clinic, "findings", "--format", "csv").stdout
    assert "Dr. X" in run(clinic, "findings", "--reviewed").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say what to record"),
        (("--show", "--confirm"), "Say what to record"),
        (("--set", "Fracture=present"), r"no label 'Fracture'; the labels are atelectasis, .*no_finding"),
        (("--set", "Mass"), r"'Mass' has no verdict; write Mass=present, absent or uncertain"),
        (("--set", "Mass=perhaps"), r"'Mass=perhaps' has no verdict"),
        (("--set", "Mass=present", "--clear", "mass"), "Mass is named twice"),
        (("--confirm", "--by", " "), "A review needs a name"),
        (("--confirm", "--instance", "7"), "names no image"),
    ],
)
def test_a_review_that_says_nothing_clear_is_refused(clinic, run, arguments, sentence):
    """One sentence says what is missing, and nothing is recorded."""
    with pytest.raises(UsageError, match=sentence):
        run(clinic, "review", "A00001", *arguments)
    assert json.loads(run(clinic, "review", "A00001", "--show", "--format", "json").stdout) == []


def test_the_reviewed_films_become_a_table(clinic, run, tmp_path):
    """Absolute paths, a pseudonym a patient, -1 for what is not known; a resumed run keeps the table it began with."""
    run(clinic, "review", "A00001", "--confirm")
    run(clinic, "review", "A00002", "--set", "Mass=absent", "--set", "Nodule=uncertain")
    config, told = load_config(clinic / "config.toml"), []
    with open_database(config.database_url) as database:
        table_of = partial(reviewed_table, config, database, tmp_path / "model.run", record=told.append)
        with pytest.raises(UsageError, match="Only one patient's films"):
            table_of(resume=False)
        run(clinic, "review", "A00003", "--set", "no_finding=present")
        table = table_of(resume=False).table
        before = table.read_text()
        run(clinic, "review", "A00003", "--set", "Hernia=present")
        assert table_of(resume=True).table.read_text() == before
    assert told == [3, None]
    rows = list(csv.DictReader(before.splitlines()))
    assert [row["image"].startswith(f"{config.archive.absolute()}/") for row in rows] == [True] * 3
    assert rows[0]["patient"] == rows[1]["patient"] != rows[2]["patient"]
    assert "P1" not in before
    assert [[int(row[label]) for label in LABELS] for row in rows] == [
        [int(label == "Mass") for label in LABELS],
        [0 if label == "Mass" else -1 for label in LABELS],
        [int(label == "No Finding") for label in LABELS],
    ]
    assert (rows[0]["age"], rows[0]["sex"], rows[0]["view"]) == ("64", "M", "PA")
    assert (rows[1]["sex"], rows[2]["sex"]) == ("", "F")
    assert set(rows[0]) <= {*Row.__dataclass_fields__, *LABELS}


def test_a_film_of_another_patient_is_told_of_and_left_out(clinic, run, tmp_path):
    """Under the study's patient it would have that one's age, and its own patient might be on both sides of a split."""
    config = load_config(clinic / "config.toml")
    with open_database(config.database_url) as database:
        with database.write() as session:
            file = session.query(ReceivedFile).order_by(ReceivedFile.id).first()
            names = {"patient_id": "P-TWO", "patient_name": "Two^Patient"}
            file.header = file.header | {"remarks": [Warn.OTHER_PATIENT], "names": names}
            key, path = file.instance.study.key, file.stored_path
        assert "names a patient whom the study does not name" in run(clinic, "review", "A00001", "--confirm").stdout
        assert re.search(r"names patient +P-TWO, Two, Patient\n", run(clinic, "show", "A00001").stdout)
        table_of = partial(reviewed_table, config, database, tmp_path / "model.run", record=lambda _: None)
        with pytest.raises(UsageError, match="No other film of this clinic"):
            table_of(resume=False)
        for study in ("A00002", "A00003"):
            assert "names a patient" not in run(clinic, "review", study, "--confirm").stdout
        films = table_of(resume=False)
    (told,) = films.left_out
    assert f"1 reviewed film is left out, since a file names a patient whom the study does not name ({key})" in told
    table = films.table.read_text()
    assert len(table.splitlines()) == 1 + 2
    assert path not in table


def test_films_that_retention_removed_are_told_of(clinic, run, tmp_path):
    """What was reviewed and cannot be read any more is not passed over, and not said to be unreviewed."""
    config = load_config(clinic / "config.toml")
    for study in ("A00001", "A00002", "A00003"):
        run(clinic, "review", study, "--confirm")
    with open_database(config.database_url) as database:
        table_of = partial(reviewed_table, config, database, tmp_path / "m.run", resume=False, record=lambda _: None)
        with database.write() as session:
            session.query(ReceivedFile).filter_by(id=1).update({"removed_at": NOW})
        films = table_of()
        assert len(films.table.read_text().splitlines()) == 1 + 2
        (told,) = films.left_out
        assert told.startswith("1 reviewed film is left out, since [retention] removed its file: drop it")
        with database.write() as session:
            session.query(ReceivedFile).update({"removed_at": NOW})
        gone = (
            r"^3 reviewed films are left out, since \[retention\] removed their files: .* No other film of this clinic"
        )
        with pytest.raises(UsageError, match=gone):
            table_of()


def test_results_say_which_films_they_are_of(clinic, run, tmp_path):
    """Until when films were reviewed, and of when they are: who signs a page must know which month it is of."""
    config = load_config(clinic / "config.toml")
    for study in ("A00001", "A00003"):
        run(clinic, "review", study, "--confirm")
    with open_database(config.database_url) as database:
        with database.write() as session:
            session.query(Review).update({"reviewed_at": NOW})
            session.query(Review).filter_by(inference_id=1, label="Mass").update({"reviewed_at": NOW - timedelta(1)})
            days = [study.study_date for study in session.query(Study).order_by(Study.id)]
        which = reviewed_table(config, database, tmp_path / "m", resume=False, record=lambda _: None).which
    assert which == (
        f"the 2 that were reviewed in this clinic until 2026-06-01 12:00 UTC, of studies from {days[0]} to {days[2]}"
    )


@pytest.mark.parametrize("command", [("train",), ("evaluate", "starter")])
def test_nothing_reviewed_is_a_sentence(clinic, run, tmp_path, command):
    """What is asked of a database without reviews says how to make some, and leaves no folder behind."""
    with pytest.raises(UsageError, match="No film of this clinic has been reviewed"):
        run(clinic, *command, "--from-database", "--out", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["clinic"]


@pytest.mark.parametrize(
    ("command", "nowhere"),
    [(("train",), "Say what to learn from"), (("evaluate", "starter"), "Say what to measure it on")],
)
def test_the_films_have_one_source(clinic, run, tmp_path, command, nowhere):
    """They come from a table or from the database, not from both or from nowhere."""
    with pytest.raises(UsageError, match="leave --data and --images out"):
        run(clinic, *command, "--from-database", "--data", "labels.csv", "--out", tmp_path / "model")
    with pytest.raises(UsageError, match=nowhere):
        run(clinic, *command, "--out", tmp_path / "model")


def test_a_run_or_bundle_that_is_there_is_not_touched(clinic, run, tmp_path):
    """Neither a bundle nor a run that was not to be resumed gets another table."""
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        run(clinic, "train", "--from-database", "--out", tmp_path / "model")
    (tmp_path / "other.run").mkdir()
    (tmp_path / "other.run" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="go on with --resume"):
        run(clinic, "train", "--from-database", "--out", tmp_path / "other")
    assert [path.name for path in (tmp_path / "other.run").iterdir()] == ["run.json"]
