"""Text from files in what is printed and exported, and text from the command line in what is asked of the database."""

import csv
import io
import json
import random

import pytest

from agcnn_clinic.database.session import open_database
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ClinicError

ESCAPES = "\x1b[31mRed^\x07Bell\x9b2J\u202e<b>&[bold]"
COMMANDS = ("findings", "studies", "show P0001", "quarantine list", "quarantine show 2")
FORMATS = ("table", "csv", "json")
FORMULAS = (
    *("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"),
    '=HYPERLINK("http://x")',
    "=cmd|'/C calc'!A0",
)
EXPORTS = (
    ("studies",),
    ("findings",),
    ("findings", "--reviewed"),
    ("quarantine", "list"),
)
INJECTIONS = (
    *("' OR 1=1 --", "'; DROP TABLE study; --", '" OR ""="', "x' UNION SELECT * FROM model --"),
    *("%", "_", "\\", "*"),
)
FILTERS = (
    ("studies", "--patient"),
    ("studies", "--accession"),
    ("findings", "--patient"),
    ("findings", "--accession"),
    ("findings", "--model"),
    ("findings", "--study"),
    ("findings", "--label"),
    ("studies", "--state"),
    ("show",),
    ("report",),
)


@pytest.fixture(scope="module")
def hostile_clinic(tmp_path_factory, factories, new_clinic):
    """A clinic in which every free text holds escape sequences, markup or a formula."""
    folder = tmp_path_factory.mktemp("hostile")
    config = new_clinic(folder)
    with open_database(config.database_url) as database, database.write() as session:
        study = factories.make_study(
            session,
            1,
            patient_name=ESCAPES,
            patient_id="P0001",
            accession_number="=HYPERLINK(1)",
            study_description=ESCAPES,
            institution_name="@institution",
        )
        file = factories.make_file(session, study, 1, name=ESCAPES)
        factories.make_inference(session, file, factories.make_model(session, ESCAPES), random.Random(0))
        broken = factories.make_file(session, study, 2, ReasonCode.UID_CONFLICT, name=ESCAPES)
        broken.details = {"differing": [ESCAPES]}
    return folder


@pytest.mark.parametrize(
    ("command", "form"),
    [(command, form) for command in COMMANDS for form in FORMATS if form != "csv" or "show" not in command],
)
def test_foreign_text_cannot_command_a_terminal(hostile_clinic, run, command, form):
    """No control character and no direction override of a name or description is printed as itself."""
    printed = run(hostile_clinic, *command.split(), "--format", form).stdout
    assert not {char for char in printed if not char.isprintable()} - {"\n"}


def test_markup_is_only_text(hostile_clinic, run):
    """A patient called [bold] or <b>& is printed as that."""
    for command in ("studies",), ("show", "P0001"):
        assert "<b>&[bold]" in run(hostile_clinic, *command).stdout


def test_json_gives_back_the_very_text(hostile_clinic, run):
    """In JSON control characters are escaped, not lost."""
    (row,) = json.loads(run(hostile_clinic, "studies", "-f", "json").stdout)
    assert row["patient_name"] == ESCAPES


def test_no_cell_runs_as_a_formula(hostile_clinic, run):
    """In CSV a text that begins like a formula begins with an apostrophe."""
    (row,) = csv.DictReader(io.StringIO(run(hostile_clinic, "studies", "-f", "csv").stdout))
    assert row["accession_number"] == "'=HYPERLINK(1)"


@pytest.fixture(scope="module")
def formula_clinic(tmp_path_factory, factories, new_clinic):
    """A clinic in which every text of a study, a file and a model is a formula."""
    folder = tmp_path_factory.mktemp("formulas")
    config = new_clinic(folder)
    with open_database(config.database_url) as database, database.write() as session:
        texts = ("patient_id", "patient_name", "accession_number", "study_description", "institution_name")
        for number, formula in enumerate(FORMULAS):
            everywhere = dict.fromkeys((*texts, "referring_physician_name", "study_date", "study_time"), formula)
            study = factories.make_study(session, number, **everywhere)
            file = factories.make_file(session, study, 2 * number, view_position=formula, name=formula)
            model = factories.make_model(session, formula, formula)
            factories.make_inference(session, file, model, random.Random(0))
            bad = factories.make_file(session, study, 2 * number + 1, ReasonCode.UNREADABLE_PIXELS, name=formula)
            bad.reason = formula
    return folder


@pytest.mark.parametrize("command", EXPORTS, ids=" ".join)
def test_no_cell_of_an_export_is_a_formula(formula_clinic, run, command):
    """Whatever a sender wrote, a spreadsheet shows it as text; numbers stay numbers."""
    done = run(formula_clinic, *command, "--format", "csv", "--limit", "0")
    rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    assert len(rows) > (1 if "--reviewed" not in command else 0)
    for cell in (cell for row in rows[1:] for cell in row):
        if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")):
            float(cell)


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("command", FILTERS, ids=" ".join)
def test_a_filter_is_a_value_and_never_sql(rows_clinic, run, command, text):
    """What is asked for matches nothing, or is refused with a sentence; the tables are all there afterwards."""
    before = run(rows_clinic, "studies", "--format", "csv", "--limit", "0").stdout
    said = _said(run, rows_clinic, *command, text)
    assert "Nothing matches" in said or said.startswith("refused")
    assert "OperationalError" not in said
    assert "syntax" not in said
    assert run(rows_clinic, "studies", "--format", "csv", "--limit", "0").stdout == before


def _said(run, folder, *command):
    """What a command prints; `refused:` and its sentence where it ends in an error."""
    try:
        done = run(folder, *command)
    except ClinicError as error:
        return f"refused: {error}"
    return done.stdout if done.exit_code == 0 else f"refused: {done.stderr}"
