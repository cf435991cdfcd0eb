"""The ways in which senders write a body part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.dicom.body_parts import body_part_words, is_no_part


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHEST", ["CHEST"]),
        ("Chest PA", ["CHEST", "PA"]),
        ("CHEST2V", ["CHEST", "2", "V"]),
        ("TORAX", ["THORAX"]),
        ("T\u00d3RAX", ["THORAX"]),
        ("TO\u0301RAX", ["THORAX"]),
        ("THORACIC SPINE", ["THORACIC", "SPINE"]),
        ("RIBCAGE", ["RIBCAGE"]),
        ("PORT CHEST", ["CHEST"]),
        ("", []),
        ("UNKNOWN", []),
        ("胸部", ["CHEST"]),
    ],
)
def test_body_parts_are_words_of_the_standard(text, expected):
    """Several words are several parts, synonyms are translated, and what says nothing is nothing."""
    assert body_part_words(text) == expected


@given(st.text())
def test_no_text_breaks_the_reading_of_body_parts(text):
    """Any text has words in capitals, if only none."""
    assert all(word == word.upper() for word in body_part_words(text))


def test_views_and_qualifiers_are_no_parts_and_parts_are():
    """What may stand beside a chest."""
    assert all(
        map(is_no_part, ("PA", "LAT", "VIEWS", "2", "14", "X", "17", "ADULT", "ERECT", "AND", "RIGHT", "FIELDS"))
    )
    assert not any(map(is_no_part, ("SPINE", "WALL", "INLET", "THORACIC", "T", "ABDOMEN", "RIBS", "HEART")))
