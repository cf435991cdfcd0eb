"""What a person types is a value and never part of a statement: quotes, wildcards and statements find nothing."""

import json

import pytest

from agcnn_clinic.database.tables import Base
from agcnn_clinic.errors import UsageError

HOSTILE = (
    "' OR 1=1 --",
    "x'; DROP TABLE finding; --",
    '" OR ""="',
    "%%%%%%%%",  # a model is also found by eight characters of its hash
    "________",
    "P____",
    "P%",
    "*",
    "\\",
    "%(patient)s :patient ?",
)
FILTERS = (
    ("studies", "--patient"),
    ("studies", "--accession"),
    ("findings", "--patient"),
    ("findings", "--accession"),
    ("findings", "--model"),
    ("audit list", "--user"),
)
NAMES = (
    ("show", ()),
    ("findings --study", ()),
    ("report", ()),
    ("review", ("--show",)),
    ("audit list --study", ()),
)
CHOICES = (("studies", "--state"), ("findings", "--label"), ("audit list", "--event"))


@pytest.fixture(scope="module")
def before(content):
    """What the clinic's tables held before anything hostile was asked for."""
    return content()


@pytest.fixture(scope="module")
def content(rows_url, select):
    """A function that gives every row of every table, but for the trail."""
    tables = [name for name in Base.metadata.tables if name != "audit_event"]
    return lambda: {name: select(rows_url, f"SELECT * FROM {name} ORDER BY 1") for name in tables}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("studies --date-from 01/31/2026", "'01/31/2026' is no day: .* as in 2026-01-31"),
        ("findings --date-to 2026-02-30", "'2026-02-30' is no day"),
        ("reanalyse --since 2026-01-31T14:30", "'2026-01-31T14:30' is no day"),
        ("audit list --since yesterday", "'yesterday' is no moment: .* as in 2026-01-31T14:30"),
        ("audit list --until 2026-01-31T25:00", "'2026-01-31T25:00' is no moment"),
    ],
)
def test_what_is_no_date_is_told_of_as_a_date_is_written(rows_clinic, run, command, sentence):
    """By an example, not by the signs of a format."""
    with pytest.raises(UsageError, match=sentence):
        run(rows_clinic, *command.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_filter_finds_only_what_is_written_so(rows_clinic, before, content, run, text):
    """No row of any listing is called so; none is shown, and no table has changed."""
    for command, option in FILTERS:
        found = run(rows_clinic, *command.split(), option, text, "--format", "json")
        assert json.loads(found.stdout) == [], (command, option)
    assert content() == before


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_of_a_study_is_no_pattern(rows_clinic, before, content, run, text):
    """No study is called so, not even as the beginning of a UID; a choice that is none is refused, too."""
    for command, options in NAMES:
        with pytest.raises(UsageError):
            run(rows_clinic, *command.split(), text, *options)
    for command, option in CHOICES:
        with pytest.raises(UsageError):
            run(rows_clinic, *command.split(), option, text)
    assert content() == before


@pytest.mark.parametrize("text", HOSTILE)
def test_a_review_of_an_image_called_so_is_refused(rows_clinic, before, content, run, text):
    """Nor is an image, a label or a verdict; what is stored is stored as text."""
    with pytest.raises(UsageError):
        run(rows_clinic, "review", "A00001", "--confirm", "--instance", text)
    with pytest.raises(UsageError):
        run(rows_clinic, "review", "A00001", "--set", f"{text}=present")
    assert content() == before
