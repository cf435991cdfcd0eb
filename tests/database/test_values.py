"""Text and JSON that come from people: every database takes them, and gives back the same."""

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from agcnn_clinic.database import views
from agcnn_clinic.database.queries import find_study
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.database.values import storable, storable_json
from agcnn_clinic.database.views import FindingFilter, StudyFilter
from agcnn_clinic.errors import DatabaseError, UsageError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOSTILE, CLEANED = "a\0b\ud800c\udcff", "a\ufffdb\ufffdc\ufffd"
"""What a study.toml's escape, a wrong charset or a byte on the command line may bring, and what is kept of it."""

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(st.characters(exclude_categories=())))
def test_storable_text_is_unicode_and_changes_nothing_else(text):
    """What is kept can be written as UTF-8 and holds no NUL; all other characters stay where they are."""
    kept = storable(text)
    kept.encode()
    assert "\0" not in kept
    assert len(kept) == len(text)
    assert all(a == b or (a == "\0" or "\ud800" <= a <= "\udfff") for a, b in zip(text, kept, strict=True))


@given(JSON_VALUES)
def test_storable_json_is_json_as_the_standard_has_it(value):
    """No NaN, no infinity, no NUL and no lone surrogate, however deep; what has none of them is kept as it is."""

    def refuse(constant):
        raise AssertionError(constant)

    text = storable_json(value)
    read = json.loads(text, parse_constant=refuse)
    json.dumps(read, ensure_ascii=False).encode()
    assert "\\u0000" not in json.dumps(read).replace("\\\\", "")
    if "NaN" not in (plain := json.dumps(value)) and "Infinity" not in plain and storable(plain) == plain:
        assert storable_json(read) == text


@pytest.mark.both_databases
def test_hostile_text_is_kept_readable(database, factories):
    """A NUL or a lone surrogate in a name or a header neither stops the row nor any view that shows it later."""
    with database.write() as session:
        study = factories.make_study(session, 1, patient_name=HOSTILE, patient_id=HOSTILE)
        file = factories.make_file(session, study, 1, view_position=HOSTILE, name=HOSTILE)
        file.details = {HOSTILE: [HOSTILE, float("nan")]}
        factories.make_inference(session, file, factories.make_model(session), random.Random(1))
    with database.connection() as connection:
        found = list(views.findings(connection, FindingFilter(patient=HOSTILE)))
        assert len(found) == 15
        assert {(row["patient_name"], row["view_position"]) for row in found} == {(CLEANED, CLEANED)}
        assert len(list(views.studies(connection, StudyFilter(patient=HOSTILE), now=NOW, quiet_seconds=30))) == 1
    with database.session() as session:
        assert session.query(ReceivedFile).one().details == {CLEANED: [CLEANED, None]}
        assert find_study(session, HOSTILE).patient_id == CLEANED


@pytest.mark.both_databases
def test_what_is_no_text_finds_nothing(database):
    """A byte that is no text, as a command line may hold it, is a name that nothing has."""
    with database.session() as session, pytest.raises(UsageError, match="There is no study"):
        find_study(session, "P\udcff")
    with database.connection() as connection:
        for wanted in (FindingFilter(study="\udcff"), FindingFilter(model="\udcff"), FindingFilter(accession="\0")):
            assert not list(views.findings(connection, wanted))


@pytest.mark.both_databases
def test_a_file_of_many_gigabytes_has_its_size(database, factories):
    """A size beyond 32 bits is stored: such a file goes to quarantine unread, with a row."""
    with database.write() as session:
        factories.make_file(session, None, 1).size = 5 * 2**32
    with database.session() as session:
        assert session.query(ReceivedFile).one().size == 5 * 2**32


@pytest.mark.both_databases
def test_text_sorts_by_its_bytes(database, factories):
    """The order of no language: capitals before small letters, an accent behind all of ASCII."""
    names = ["B", "a", "Z", "b", "\u00e4", "a b", "a_b", "\U0001f600", "\uffee"]
    with database.write() as session:
        for number, name in enumerate(names):
            factories.make_study(session, number, patient_id=name)
    with database.session() as session:
        found = [study.patient_id for study in session.query(Study).order_by(Study.patient_id)]
    assert found == sorted(names, key=str.encode)


@pytest.mark.sqlite_only("a server takes no such text")
def test_a_text_that_another_program_has_spoilt_is_not_repeated(database, execute, factories):
    """A name in Latin-1, written past the clinic: the error says in which column, and not whose it is."""
    with database.write() as session:
        factories.make_study(session, 1)
    execute(database.url, "UPDATE study SET patient_name = CAST(x'4dfc6c6c65724a616e65' AS TEXT)")
    with pytest.raises(DatabaseError, match=r"column 'patient_name'.*restore") as caught, database.session() as session:
        session.scalars(select(Study)).all()
    assert "Jane" not in str(caught.value)
