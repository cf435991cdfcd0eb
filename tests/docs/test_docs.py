"""The documents say what the program does."""

import re
from pathlib import Path

import pytest
import typer

from agcnn_clinic.cli.main import app
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.views import finding_list, review_list, study_summary
from agcnn_clinic.domain import NOT_ABOUT_THE_BYTES, REASONS, Outcome, ReasonCode, Warn
from agcnn_clinic.domain import WARNINGS as WARNING_SENTENCES

ROOT = Path(__file__).resolve().parents[2]
DATABASE = (ROOT / "docs" / "DATABASE.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("view", [finding_list, study_summary, review_list], ids=lambda view: view.name)
def test_every_column_of_a_view_is_documented_in_order(view):
    """docs/DATABASE.md lists exactly the columns that there are."""
    section = DATABASE.split(f"## {view.name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| \w+ \| (.+) \|$", section, flags=re.MULTILINE)
    assert rows == [(column.name, column.comment) for column in view.columns]


def test_every_reason_is_documented_and_leads_to_an_outcome():
    """Each reason code has an outcome, a sentence with advice, and a line in docs/DATABASE.md."""
    assert set(REASONS) == set(ReasonCode)
    for code, (outcome, sentence) in REASONS.items():
        assert outcome is not Outcome.PENDING
        assert sentence.endswith(".")
        assert f"| {outcome} | {code} | {sentence} |" in DATABASE


def test_the_reasons_that_do_not_speak_for_the_bytes_are_documented():
    """Who sends a file again must know whether it is looked at again."""
    listed = DATABASE.split("is judged anew:")[1].split(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == NOT_ABOUT_THE_BYTES


def test_every_remark_has_a_sentence():
    """The report can print each remark."""
    assert set(WARNING_SENTENCES) == set(Warn)


def test_the_settings_file_holds_every_option_with_its_default():
    """config.toml is the reference manual: complete, and true about the defaults."""
    assert load_config(ROOT / "config.toml").model_dump() == Config().model_dump()


def test_every_setting_has_a_comment():
    """Above each option, or above the group it stands in, a line says what it does."""
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            above = lines[:number]
            while above and above[-1] and not above[-1].startswith(("#", "[")):
                above.pop()
            assert above, line
            assert above[-1].startswith("#"), line


def test_the_readme_names_every_command():
    """A command that the README does not show is one that nobody finds."""
    group = typer.main.get_command(app)
    for name in group.commands:
        assert re.search(rf"agcnn-clinic [^\n]*\b{name}\b|make {name}\b", README), name


@pytest.mark.parametrize("document", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")]))
def test_every_link_leads_to_a_file(document):
    """Relative links of the documents are not broken."""
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
