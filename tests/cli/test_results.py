"""studies, findings, show and quarantine: what they print is what the database holds."""

import csv
import io
import json
import random
import re
import subprocess
import sys

import pytest

from agcnn_clinic.database.session import open_database
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import UsageError

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "alembic", "scipy", "SimpleITK", "pydicom", "sqlalchemy.orm")
NEWEST_FIRST = "ORDER BY inference_id DESC, finding_id"


def test_json_is_the_view(rows_clinic, run, select, rows_url):
    """`findings --format json` and a SELECT * FROM finding_list agree: rows, order, columns and values."""
    printed = json.loads(run(rows_clinic, "findings", "--format", "json").stdout)
    selected = select(rows_url, f"SELECT * FROM finding_list {NEWEST_FIRST}")
    assert len(printed) > 200
    assert printed == selected
    assert list(printed[0]) == list(selected[0])


def test_studies_as_json_are_the_view_with_the_state(rows_clinic, run, select, rows_url):
    """`studies --format json` is study_summary with one column more, where each study stands."""
    printed = json.loads(run(rows_clinic, "studies", "--format", "json").stdout)
    assert {row.pop("state") for row in printed} <= {"receiving", "read", "reported", "not read"}
    assert printed == select(rows_url, "SELECT * FROM study_summary ORDER BY study_id DESC")


def test_csv_holds_all_digits(rows_clinic, run, select, rows_url):
    """CSV has a heading, a row a finding, and numbers that read back as the very same numbers."""
    read = list(csv.DictReader(io.StringIO(run(rows_clinic, "findings", "-f", "csv").stdout)))
    selected = select(rows_url, f"SELECT * FROM finding_list {NEWEST_FIRST}")
    assert [float(row["probability"]) for row in read] == [row["probability"] for row in selected]
    assert {row["positive"] for row in read} == {"true", "false", ""}


def test_parquet_keeps_the_types(rows_clinic, run, tmp_path, select, rows_url):
    """Parquet, chosen by the file's ending, has numbers, flags with unknowns and moments with their zone."""
    import pandas as pd

    file = tmp_path / "findings.parquet"
    run(rows_clinic, "findings", "--output", file)
    frame = pd.read_parquet(file)
    selected = select(rows_url, f"SELECT * FROM finding_list {NEWEST_FIRST}")
    assert frame["probability"].tolist() == [row["probability"] for row in selected]
    assert str(frame["created_at"].dt.tz) == "UTC"
    assert frame["created_at"][0].isoformat() == selected[0]["created_at"].replace(".000000Z", "+00:00")
    assert frame["positive"].isna().sum() == sum(row["positive"] is None for row in selected)


def test_parquet_without_rows_still_has_its_columns(rows_clinic, run, tmp_path):
    """An empty result is a table with all columns and their types."""
    import pandas as pd

    file = tmp_path / "none.parquet"
    run(rows_clinic, "findings", "--patient", "nobody", "-o", file)
    frame = pd.read_parquet(file)
    assert len(frame) == 0
    assert frame["probability"].dtype == "float64"


def test_no_rows_in_each_format(rows_clinic, run):
    """Where nothing matches, a table says so, JSON is an empty list and CSV its heading."""
    none = (rows_clinic, "findings", "--patient", "nobody")
    assert run(*none).stdout == "Nothing matches.\n"
    assert json.loads(run(*none, "-f", "json").stdout) == []
    assert run(*none, "-f", "csv").stdout.startswith("finding_id,")


def test_a_table_shows_at_most_a_hundred_rows(rows_clinic, run, select, rows_url):
    """A table stops at a hundred rows and says how to see all; --limit 0 prints them, and JSON is never cut."""
    total = len(select(rows_url, "SELECT * FROM finding_list"))
    cut, whole = run(rows_clinic, "findings"), run(rows_clinic, "findings", "--limit", 0)
    assert len(cut.stdout.splitlines()) == 2 + 100
    assert "--limit 0" in cut.stderr
    assert len(whole.stdout.splitlines()) == 2 + total
    assert "--limit" not in whole.stderr
    assert len(json.loads(run(rows_clinic, "findings", "-f", "json", "--limit", 7).stdout)) == 7


def test_a_table_that_is_read_by_a_program_is_not_cut(rows_clinic, run):
    """Without a terminal all columns are printed and no text ends in an ellipsis, whatever COLUMNS says."""
    printed = run(rows_clinic, "findings").stdout
    assert "\u2026" not in printed
    assert printed.splitlines()[0].split() == [
        *("study", "date", "patient", "accession", "view", "label", "positive"),
        *("probability", "threshold", "global", "local", "fusion", "model", "beside"),
    ]


def test_filters_reach_the_database(rows_clinic, run, select, rows_url):
    """The options of `findings` choose what the same words choose in SQL."""
    first = select(rows_url, "SELECT * FROM finding_list WHERE positive LIMIT 1")[0]
    asked = {
        ("--label", "pleural thickening"): "label = 'Pleural_Thickening'",
        ("--positive",): "positive",
        ("--negative",): "NOT positive",
        ("--min-probability", "0.5", "--max-probability", "0.75"): "probability BETWEEN 0.5 AND 0.75",
        ("--date-from", "2025-12-05", "--date-to", "2025-12-08"): "study_date BETWEEN '2025-12-05' AND '2025-12-08'",
        ("--patient", first["patient_id"]): f"patient_id = '{first['patient_id']}'",
        ("--accession", first["accession_number"]): f"accession_number = '{first['accession_number']}'",
        ("--model", "large@1.1"): "model_name = 'large' AND model_version = '1.1'",
        ("--study", first["accession_number"]): f"study_key = '{first['study_key']}'",
    }
    for options, condition in asked.items():
        printed = json.loads(run(rows_clinic, "findings", *options, "-f", "json").stdout)
        assert printed == select(rows_url, f"SELECT * FROM finding_list WHERE {condition} {NEWEST_FIRST}"), options
        assert printed, options


def test_studies_are_chosen_by_state_and_date(rows_clinic, run):
    """The options of `studies` choose by state, dates, patient and accession number."""
    rows = json.loads(run(rows_clinic, "studies", "-f", "json").stdout)
    for state in ("read", "reported", "not read", "receiving"):
        chosen = json.loads(run(rows_clinic, "studies", "--state", state, "-f", "json").stdout)
        assert chosen == [row for row in rows if row["state"] == state]
    chosen = json.loads(run(rows_clinic, "studies", "--date-to", "2025-12-03", "-f", "json").stdout)
    assert chosen == [row for row in rows if row["study_date"] <= "2025-12-03"]
    with pytest.raises(UsageError, match="receiving, read, reported, not read"):
        run(rows_clinic, "studies", "--state", "lost")


def test_the_table_of_studies_says_what_was_found(rows_clinic, run):
    """A study that was read lists its positive labels or none; one that was not read gets a dash, never "none"."""
    rows = json.loads(run(rows_clinic, "studies", "-f", "json").stdout)
    lines = run(rows_clinic, "studies", "--limit", 0).stdout.splitlines()[2:]
    for row, line in zip(rows, lines, strict=True):
        if not row["files_analysed"]:
            assert " -" in line
            assert "none" not in line
        for label in (row["positive_labels"] or "").split("|"):
            assert label.replace("_", " ") in line


@pytest.mark.parametrize(
    ("positive", "printed"),
    [
        ({"No Finding": 0.91, "Mass": 0.55, "Effusion": 0.6}, "Effusion 0.60, Mass 0.55, No Finding 0.91"),
        ({"No Finding": 0.91}, "No Finding 0.91"),
        ({}, "none"),
    ],
)
def test_no_finding_stands_behind_what_was_found(tmp_path, factories, new_clinic, run, positive, printed):
    """A cell that is cut must not begin with No Finding where the model found something, in this image or another."""
    with open_database(new_clinic(tmp_path).database_url) as database, database.write() as session:
        file = factories.make_file(session, factories.make_study(session, 1), 1)
        reading = factories.make_inference(session, file, factories.make_model(session), random.Random(1))
        for finding in reading.findings:
            finding.positive = finding.label in positive
            finding.probability = positive.get(finding.label, 0.1)
    (line,) = run(tmp_path, "studies").stdout.splitlines()[2:]
    assert line.rstrip().endswith(f"  {printed}")


def test_show_tells_all_of_a_study(rows_clinic, run, select, rows_url):
    """`show` prints each image, each file with its outcome and reason, each reading, and each report."""
    study = select(rows_url, "SELECT * FROM study_summary WHERE files_analysed > 0 AND files_refused > 0")[0]
    printed = run(rows_clinic, "show", study["study_key"]).stdout
    for image in select(rows_url, f"SELECT * FROM instance WHERE study_id = {study['study_id']}"):
        assert image["sop_instance_uid"] in printed
    for word in (
        "ANALYSED",
        "REFUSED",
        "[wrong_view]",
        "2026-01-02 08:15:30",
        "attended region",
        "129 x 173 mm",
        "Pleural Thickening",
        "starter 1.0",
    ):
        assert word in printed
    assert (study["report_path"] or "None yet.") in printed


def test_reports_are_named_where_their_folder_is_now(tmp_path, factories, new_clinic, run):
    """Tables say where a report lies after a move of the folder; JSON is the row, which says where it was delivered."""
    with open_database(new_clinic(tmp_path).database_url) as database, database.write() as session:
        study = factories.make_study(session, 1)
        factories.make_file(session, study, 1)
        row = factories.make_report(session, study)
        session.flush()
        key, delivered = study.key, row.path
    settings = (tmp_path / "config.toml").read_text(encoding="utf-8")
    moved = settings.replace('reports = "reports"', f'reports = "{tmp_path / "other disk"}"')
    (tmp_path / "config.toml").write_text(moved, encoding="utf-8")
    for command in (["studies"], ["show", key]):
        printed = run(tmp_path, *command).stdout
        assert str(tmp_path / "other disk" / f"{key}-v1.pdf") in printed
        assert delivered not in printed
        assert delivered in run(tmp_path, *command, "-f", "json").stdout


def test_show_as_json_tells_the_same(rows_clinic, run, select, rows_url):
    """`show --format json` nests the rows of the tables, without heat maps."""
    study = select(rows_url, "SELECT * FROM study_summary WHERE files_analysed > 0")[0]
    shown = json.loads(run(rows_clinic, "show", study["study_instance_uid"], "-f", "json").stdout)
    assert shown["key"] == study["study_key"]
    readings = [i for instance in shown["instances"] for file in instance["files"] for i in file["inferences"]]
    assert max(f["probability"] for i in readings for f in i["findings"] if f["label"] == "Hernia") >= study["hernia"]
    assert all("heat_map" not in reading for reading in readings)
    with pytest.raises(UsageError, match="table or json"):
        run(rows_clinic, "show", study["study_key"], "-f", "csv")


def test_an_ambiguous_study_lists_the_candidates(rows_clinic, run):
    """A beginning that fits several studies is a usage error, whose exit code is 2."""
    with pytest.raises(UsageError, match="more than one") as caught:
        run(rows_clinic, "show", "1.2.826")
    assert caught.value.exit_code == 2


def test_quarantine_lists_what_is_kept_apart(rows_clinic, run, select, rows_url):
    """`quarantine list` has a row a quarantined file, and `quarantine show` its reason and where it lies."""
    listed = json.loads(run(rows_clinic, "quarantine", "list", "-f", "json").stdout)
    rows = select(rows_url, "SELECT * FROM received_file WHERE outcome = 'quarantined' ORDER BY id DESC")
    assert [row["id"] for row in listed] == [row["id"] for row in rows]
    shown = run(rows_clinic, "quarantine", "show", rows[0]["id"]).stdout
    assert rows[0]["reason"] in shown
    assert str(rows_clinic / "quarantine" / rows[0]["quarantine_path"]) in shown
    assert (
        json.loads(run(rows_clinic, "quarantine", "show", rows[0]["id"], "-f", "json").stdout)["sha256"]
        == rows[0]["sha256"]
    )


def test_what_cannot_be_requeued_is_not_told_to_be(tmp_path, run, factories, new_clinic):
    """Of a text, which `quarantine requeue` leaves where it is, `quarantine show` says what to do instead."""
    with open_database(new_clinic(tmp_path).database_url) as database, database.write() as session:
        film = factories.make_file(session, factories.make_study(session, 1), 1, ReasonCode.UNREADABLE_PIXELS)
        text = factories.make_file(session, None, 2, ReasonCode.UNRECOGNISED)
        session.flush()
        ids = film.id, text.id
    told = [" ".join(run(tmp_path, "quarantine", "show", file_id).stdout.split()) for file_id in ids]
    assert told[0].endswith(f"Try it again with: agcnn-clinic quarantine requeue {ids[0]}")
    assert "requeue " not in told[1]
    assert told[1].endswith("drop the corrected files into the inbox.")


def test_tables_fit_the_terminal(rows_clinic, on_terminals):
    """On a real terminal of any usual width no line is wider than it, and what a table is about is there."""
    from rich.cells import cell_len

    commands = [["findings", "--limit", "0"], ["studies"], ["quarantine", "list"], ["show", "P0001"]]
    heads = {"findings": "probability", "studies": "positive", "quarantine": "reason", "show": "Study"}
    for (width, command), lines in on_terminals(rows_clinic, (40, 60, 80, 100, 120, 160, 200), commands):
        assert max(map(cell_len, lines)) <= width, (width, command)
        assert any(heads[command] in line for line in lines[:2]) or width < 80, (width, command)


def test_show_cuts_no_label_on_a_narrow_terminal(rows_clinic, on_terminals):
    """Pneumonia and Pneumothorax begin alike: bars go first. No Finding stands last, as in a report."""
    from agcnn_models.labels import LABELS, display_name

    commands = [["show", "P0001"], ["review", "P0001", "--confirm", "--by", "A"], ["show", "P0001"]]
    for (width, command), lines in on_terminals(rows_clinic, (60, 80, 84), commands):
        if command == "show":
            table = [
                line.strip() for line in lines[next(at for at, line in enumerate(lines) if "\u2500" in line) + 1 :]
            ]
            shown = [
                next((label for label in map(display_name, LABELS) if row.startswith(label)), row) for row in table
            ]
            assert sorted(shown[: len(LABELS)]) == sorted(map(display_name, LABELS)), width
            assert shown[len(LABELS) - 1] == "No Finding"
            assert all(re.search(r"0\.\d{3}( |$)|not assessed", row) for row in table[: len(LABELS)]), width


def test_findings_is_lean(rows_clinic):
    """`findings` imports neither the network's libraries nor those for other formats, nor the object mapper."""
    program = (
        "import sys; from agcnn_clinic.cli.main import main\n"
        "sys.argv = ['agcnn-clinic', '--config', 'config.toml', 'findings', '--positive', '-f', 'csv']\n"
        "try:\n    main()\nfinally:\n"
        f"    heavy = {HEAVY}\n"
        "    print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=rows_clinic, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith("finding_id,")
