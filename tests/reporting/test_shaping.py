"""Texts of any origin: what is printed of them, and that they never run out of their field."""

import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.reporting.faces import WRITINGS, Face, Weight, missing_faces, preferred_faces
from agcnn_clinic.reporting.shaping import (
    MAX_MARKS,
    MAX_OF_A_CLASS,
    clean,
    fitted,
    is_whole,
    shape,
    text_width,
    wrapped,
)


def test_all_faces_are_installed() -> None:
    """The locked dependencies bring a font for every writing that is promised."""
    assert missing_faces() == []


@pytest.mark.parametrize(
    "hidden",
    [*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f", "\x00", "\x1b", "\x7f", "\ufeff", "\ud800"],
)
def test_controls_are_removed(hidden: str) -> None:
    """A control, an override of direction or half a surrogate pair leaves no trace."""
    assert clean(f"Ab{hidden}cd") == "Abcd"


def test_white_space_becomes_one_blank() -> None:
    """Line breaks and tabs cannot tear a line apart."""
    assert clean("  a\r\n\tb \u2028 c ") == "a b c"


def test_marks_do_not_pile_up() -> None:
    """A tower of accents is cut down before it covers the line above."""
    for marks in ("\u0301", "\u064e\u064f\u0651\u0652\u0670", "\u0301\u200d", "\u0301\u0323\u0902"):
        tower = "Z" + marks * 50 + "a"
        text = clean(tower)
        stacked = [unicodedata.combining(character) for character in text if unicodedata.combining(character)]
        assert 0 < len(stacked) <= MAX_MARKS
        assert max(map(stacked.count, stacked)) <= MAX_OF_A_CLASS
        assert text.endswith("a")
        assert not is_whole(tower)


@pytest.mark.parametrize(
    ("text", "face"),
    [
        ("Müller", Face.LATIN),
        ("Παπαδόπουλος", Face.LATIN),
        ("Иванов", Face.LATIN),
        ("محمد", Face.ARABIC),
        ("やまだ", Face.JAPANESE),
        ("山田太郎", Face.JAPANESE),
        ("김희중", Face.KOREAN),
        ("张伟", Face.CHINESE_SIMPLIFIED),
        ("臺灣", Face.JAPANESE),
        ("佢哋", Face.CHINESE_SIMPLIFIED),
    ],
)
def test_each_writing_has_its_face(text: str, face: Face) -> None:
    """Every character of a name is drawn with the face of its writing, and as a glyph of its own."""
    runs = shape(text).runs
    assert {run.face for run in runs} == {face}
    assert all(part.number != 0 for run in runs for cluster in run.clusters for part in cluster.parts)


def test_kana_and_hangul_decide_over_han() -> None:
    """The same Han character is drawn as the writing around it wants it."""
    assert preferred_faces("金 김")[-1] is Face.KOREAN
    assert preferred_faces("金 キム")[-1] is Face.JAPANESE


def test_unknown_characters_become_boxes() -> None:
    """What no font has is a visible box that still stands for its character."""
    clusters = [cluster for run in shape("a\u16a0b").runs for cluster in run.clusters]
    assert [cluster.text for cluster in clusters] == ["a", "\u16a0", "b"]
    assert clusters[1].parts[0].number == 0
    assert clusters[1].advance > 0


def test_every_promised_writing_is_printed_whole() -> None:
    """What doctor and the README name can be printed; what they do not is known not to be."""
    samples = {
        "Latin": "Müller Nguyễn Łódź",
        "Greek": "Παπαδόπουλος",
        "Cyrillic": "Іванов Ђорђе",
        "Devanagari": "राम शर्मा ज़ेंग फ़ेंग पढ़ें चीज़ें ज़ुंगे",
        "Arabic": "محمد گل‌پری ٹیپو عبد اللَّٰه كُرَّاً",
        "Chinese": "张伟 陳大文",
        "Japanese": "葛󠄀城 やまだ",
        "Korean": "김희중",
    }
    assert tuple(samples) == WRITINGS
    assert all(is_whole(text) for text in samples.values())
    assert all(clean(text) == unicodedata.normalize("NFC", text) for text in samples.values())
    assert not any(is_whole(text) for text in ("כהן", "สมชาย", "Անի", "外字\ue000"))


def test_arabic_is_joined_and_runs_from_right_to_left() -> None:
    """The first letter stands rightmost, and letters take their joined forms."""
    (run,) = shape("بيت").runs
    assert "".join(cluster.text for cluster in run.clusters) == "تيب"
    for cluster in run.clusters:
        alone = shape(cluster.text).runs[0].clusters[0]
        assert {part.number for part in cluster.parts} != {part.number for part in alone.parts}


def test_mixed_directions_keep_their_order() -> None:
    """Latin inside Arabic stays readable, and the runs change sides."""
    runs = ["".join(cluster.text for cluster in run.clusters) for run in shape("محمد ABC علي").runs]
    assert [run.strip() for run in runs if run.strip()] == ["يلع", "ABC", "دمحم"]


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("قفسه|ی سینه PA 2026-01-31 کد 123", ["123", "دک", "PA 2026-01-31", "هنیس یهسفق"]),
        ("Chest PA 2026-01-31 می|لاد 12 AP", ["Chest PA 2026-01-31", "12", "دالیم", "AP"]),
        ("|بی|بی 12", ["12", "یبیب"]),
    ],
)
def test_a_joiner_changes_no_direction(text: str, shown: list[str], joiner: str) -> None:
    """A Persian word with a joiner turns no Latin letter or figure round, whichever direction the line has."""
    line = shape(clean(text.replace("|", joiner)))
    runs = ["".join(cluster.text for cluster in run.clusters).replace(joiner, "").strip() for run in line.runs]
    assert [run for run in runs if run] == shown


@given(st.text(max_size=60))
def test_no_text_raises_and_none_is_lost(text: str) -> None:
    """Any text is shaped, and the clusters together stand for all of its characters."""
    cleaned = clean(text)
    line = shape(cleaned)
    told = "".join(cluster.text for run in line.runs for cluster in run.clusters)
    assert sorted(told) == sorted(cleaned)
    assert line.width >= 0


@given(st.text(max_size=120), st.floats(20, 300), st.sampled_from(Weight))
def test_fitted_fits(text: str, width: float, weight: Weight) -> None:
    """A shortened text is never wider than its field, and is a beginning of the text."""
    result = fitted(text, 9, width, weight)
    assert text_width(result, 9, weight) <= width + 1e-6
    assert result == clean(text) or clean(text).startswith(result.removesuffix("\u2026"))


@given(st.text(alphabet=st.sampled_from("abc WM\u5c71\u0645 "), max_size=80), st.floats(30, 200))
def test_wrapped_lines_fit_and_keep_the_text(text: str, width: float) -> None:
    """Wrapping loses nothing but blanks, and each line fits."""
    lines = wrapped(text, 9, width)
    assert "".join(lines).replace(" ", "") == clean(text).replace(" ", "")
    assert all(text_width(line, 9) <= width + 1e-6 for line in lines)


def test_wrapped_ends_in_an_ellipsis_beyond_its_lines() -> None:
    """More text than there is room for is cut visibly."""
    lines = wrapped("word " * 50, 9, 100, max_lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith("\u2026")


def test_memory_does_not_grow_with_the_texts_that_were_shaped() -> None:
    """A daemon prints UIDs and names without end: what one report needed does not stay for ever."""

    def print_studies(first: int) -> None:
        for number in range(first, first + 1500):
            shape(clean(f"1.2.826.0.1.3680043.8.498.{number:040}"))

    print_studies(0)
    tracemalloc.start()
    print_studies(1500)
    before, _ = tracemalloc.get_traced_memory()
    print_studies(3000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 500_000
