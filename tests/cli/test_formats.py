"""Values as CSV and JSON, and foreign text made harmless."""

import csv
import io
import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.cli.formats import Column, as_json, csv_cell, printable, write_csv, write_json

ANY_TEXT = st.text(st.characters(codec="utf-8"))


@given(text=ANY_TEXT)
def test_printable_text_has_no_control_characters(text):
    """Whatever comes in, nothing that a terminal would obey comes out, and as many characters as came in."""
    made = printable(text)
    assert len(made) == len(text)
    assert all(char.isprintable() or char.isspace() or char in "\u200c\u200d" for char in made)
    assert not set(made) & {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029", "\u202e"}


@pytest.mark.parametrize("name", ["Müller, Jürgen", "山田 太郎", "Παπαδόπουλος", "علی\u200cرضا", "a\u00a0b", "O'Neill"])
def test_names_print_as_themselves(name):
    """Letters of any script, with the joiners that belong to them, are left alone."""
    assert printable(name) == name


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\u2409=1"),
        ("\r=1", "'\u240d=1"),
        ("\uff1d1", "'\uff1d1"),
        ("A=1", "A=1"),
        ("", ""),
        (-0.5, -0.5),
        (-3, -3),
        (None, None),
        (True, "true"),
    ],
)
def test_csv_cells(value, cell):
    """Text that begins like a formula is marked as text; numbers, also negative ones, stay numbers."""
    assert csv_cell(value) == cell


@given(rows=st.lists(st.fixed_dictionaries({"text": ANY_TEXT, "number": st.floats(allow_nan=False)})))
def test_csv_reads_back(rows):
    """Any text and number is read back from CSV as it was printed."""
    sink = io.BytesIO()
    write_csv(rows, [Column("text"), Column("number")], sink)
    read = list(csv.DictReader(io.StringIO(sink.getvalue().decode(), newline="")))
    assert [row["text"] for row in read] == [csv_cell(row["text"]) for row in rows]
    assert [float(row["number"]) for row in read] == [row["number"] for row in rows]


@given(rows=st.lists(st.fixed_dictionaries({"text": ANY_TEXT, "flag": st.none() | st.booleans()})))
def test_json_reads_back(rows):
    """Any row is read back from JSON as it was, and no line holds a character that a terminal would obey."""
    sink = io.BytesIO()
    write_json(rows, [Column("text"), Column("flag")], sink)
    printed = sink.getvalue().decode()
    assert json.loads(printed) == rows
    assert not set(printed) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(0x7F, 0xA0)), "\u202e"}


def test_json_of_moments_and_broken_text():
    """A moment is ISO 8601 in UTC, and half a character pair is escaped instead of ending in an error."""
    berlin = datetime(2026, 1, 5, 9, 0, tzinfo=timezone(timedelta(hours=1)))
    assert as_json({"at": berlin, "name": "a\ud800"}) == '{"at": "2026-01-05T08:00:00.000000Z", "name": "a\\ud800"}'


def test_json_has_no_nan():
    """A number that JSON cannot say is an error, not a file that no other program reads."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("nan"))
