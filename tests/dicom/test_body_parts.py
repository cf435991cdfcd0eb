"""The ways in which senders write a body part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.dicom.body_parts import body_part_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHEST", ["CHEST"]),
        ("Chest PA", ["CHEST", "PA"]),
        ("TORAX", ["THORAX"]),
        ("RIBCAGE", ["RIBCAGE"]),
        ("", []),
        ("UNKNOWN", []),
    ],
)
def test_body_parts_are_words_of_the_standard(text, expected):
    """Several words are several parts, synonyms are translated, and what says nothing is nothing."""
    assert body_part_words(text) == expected


@given(st.text())
def test_no_text_breaks_the_reading_of_body_parts(text):
    """Any text has words in capitals, if only none."""
    assert all(word == word.upper() for word in body_part_words(text))
