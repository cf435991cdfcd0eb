"""The ways in which senders write a view, and what is understood by them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from agcnn_clinic.dicom.orientation import NOT_ORIENTED, Orientation, orientation_of
from agcnn_clinic.dicom.views import (
    View,
    accepted_views,
    view_from_code,
    view_from_description,
    view_from_orientation,
    view_from_words,
)


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        (View.PA, ["PA", "PA_ERECT", "P->A", "P.A.", "POSTERO-ANTERIOR", "POSTEROANTERIOR", "PA CHEST", "PA 2V"]),
        (View.PA, ["Thorax p.a. stehend", "PA Standing", "PA1", "TORACE IN PIEDI PA", "ＰＡ", "PA INSPIRATION"]),
        (
            View.AP,
            ["ap", "AP SUPINE", "AP PORTABLE", "A->P", "ANTERO-POSTERIOR", "AP SEMI-ERECT", "AP DECUBITO SUPINO"],
        ),
        (View.FRONTAL, ["FRONTAL", "FRN", "PA/AP", "THORAX DE FACE", "FRONTALE"]),
        (View.LEFT_LATERAL, ["LL", "LLAT", "LLATERAL", "LATL", "L-L"]),
        (View.RIGHT_LATERAL, ["RL", "RLAT"]),
        (View.LATERAL, ["LATERAL", "L LAT", "PA/LAT", "LATERALE", "LATERO-LATERALE", "PROFIL", "PERFIL", "SEITLICH"]),
        (View.LATERAL, ["XTABLE", "X-TABLE", "CROSS TABLE", "SAGITTAL", "PA/AP/LAT"]),
        (View.LEFT_DECUBITUS, ["LLD", "AP LLD"]),
        (View.DECUBITUS, ["LEFT DECUBITUS", "DECUB", "AP DECUBITUS", "AP LLDECUB", "LATERAL DECUBITUS"]),
        (View.DECUBITUS, ["DORSAL DECUBITUS"]),
        (View.LEFT_OBLIQUE, ["LAO", "LPO"]),
        (View.RIGHT_OBLIQUE, ["RAO"]),
        (View.OBLIQUE, ["OBLIQUE", "PA OBL", "OBLICUA", "LEFT ANTERIOR OBLIQUE"]),
        (View.LORDOTIC, ["AP LORDOTIC", "LORD", "APICAL LORDOTIC"]),
        (View.OTHER, ["AP AXIAL", "TANGENTIAL", "SWIMMERS", "SPAIN", "CAPA", "L", "PA 45", "PA SPINE", "OTHER"]),
        (View.OTHER, ["DORSOVENTRAL", "VENTRODORSAL"]),
        (View.UNKNOWN, ["", "UNKNOWN", "N/A", "PORTABLE", "CHEST", "2 VIEWS", "SUPINE"]),
    ],
)
def test_view_positions_are_read_as_senders_write_them(view, texts):
    """Defined terms and what stands beside them; what is not understood is another view, and never a frontal one."""
    assert {text: view_from_words(text) for text in texts} == dict.fromkeys(texts, view)


@given(st.text())
def test_no_text_breaks_the_reading_of_words(text):
    """Any text has a view, if only an unknown one; a description never has a frontal one."""
    assert isinstance(view_from_words(text), View)
    assert view_from_description(text) not in accepted_views(["PA", "AP", "OTHER"])


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("CHEST LATERAL", View.LATERAL),
        ("Thorax lat", View.LATERAL),
        ("TORACE LL", View.LEFT_LATERAL),
        ("CHEST,OBL", View.OBLIQUE),
        ("胸部側面", View.LATERAL),
        ("CHEST AP LEFT DECUBITUS", View.DECUBITUS),
        ("Lordotic", View.LORDOTIC),
        ("CHEST PA AND LAT", View.UNKNOWN),
        ("PA/LAT", View.UNKNOWN),
        ("TORACE PA E LL", View.UNKNOWN),
        ("CHEST PA AND RLAT", View.UNKNOWN),
        ("Thorax face et profil", View.UNKNOWN),
        ("TORACE,FRN P->A", View.UNKNOWN),
        ("CHEST 2 VIEWS", View.UNKNOWN),
        ("TORACE IN DECUBITO SUPINO", View.UNKNOWN),
        ("Bilateral infiltrates, profile 3", View.UNKNOWN),
        ("House of Lord", View.UNKNOWN),
        ("", View.UNKNOWN),
    ],
)
def test_descriptions_speak_against_a_frontal_view_only_by_unmistakable_words(text, view):
    """One that names frontal and lateral views is of a whole study; frontal words alone say nothing."""
    assert view_from_description(text) is view


def test_of_the_standards_views_only_the_frontal_ones_pass():
    """CID 4010, each by its code and by its meaning under a code that nobody knows."""
    frontal = {"PosteroAnterior": View.PA, "AnteroPosterior": View.AP, "Frontal": View.FRONTAL}
    assert len(codes.cid4010.concepts) > 30
    for name, concept in codes.cid4010.concepts.items():
        for code in (concept.value, "99X"):
            view = view_from_code(code, concept.meaning)
            if name in frontal:
                assert view is frontal[name]
            else:
                assert view not in accepted_views(["PA", "AP"]), concept
                assert view is not View.UNKNOWN, concept


@pytest.mark.parametrize(
    ("value", "meaning", "view"),
    [
        ("R-10214", "", View.PA),
        ("R-40888", "", View.PA),
        ("R-10206", "", View.AP),
        ("R-10202", "", View.FRONTAL),
        ("R-102CD", "", View.LATERAL),
        ("R-10236", "", View.LEFT_LATERAL),
        ("G-A145", "", View.LATERAL),
        ("R-10238", "left oblique", View.OBLIQUE),
        ("R-10241", "axial", View.OTHER),
        ("R-10241", "", View.OTHER),
        ("", "", View.UNKNOWN),
    ],
)
def test_older_codes_are_read_too(value, meaning, view):
    """SNOMED RT; a code that is not known is read by its meaning, and is another view where that tells nothing."""
    assert view_from_code(value, meaning) is view


@pytest.mark.parametrize(
    ("stated", "view"),
    [
        ("L\\F", View.UNKNOWN),
        ("R\\H", View.UNKNOWN),
        ("F\\R", View.UNKNOWN),
        ("A\\F", View.LATERAL),
        ("P\\F", View.LATERAL),
        ("F\\A", View.LATERAL),
        ("p\\f", View.LATERAL),
        ("LA\\F", View.OBLIQUE),
        ("L\\FP", View.OBLIQUE),
        ("A", View.LATERAL),
        ("PA", View.UNKNOWN),
        ("LEFT\\FOOT", View.UNKNOWN),
        ("", View.UNKNOWN),
    ],
)
def test_a_film_that_shows_front_and_back_is_not_frontal(stated, view):
    """In whichever direction of the image they lie; a view that was put there is no direction."""
    assert view_from_orientation(orientation_of(re.split(r"\\", stated))) is view


@pytest.mark.parametrize(
    ("values", "orientation"),
    [
        (["L", "F"], Orientation(rows="L", columns="F")),
        (["rh", "F"], Orientation(rows="RH", columns="F")),
        (["LX", "F"], Orientation(rows="", columns="F")),
        (["LEFT", "FOOT"], NOT_ORIENTED),
        (["PA", "HF"], NOT_ORIENTED),
        (["L", "F", "H"], Orientation("L", "F")),
        (["L"], Orientation("L", "")),
    ],
)
def test_an_orientation_is_made_of_directions_alone(values, orientation):
    """First that of the rows, then that of the columns; what is no direction, or two at once, is not stated."""
    assert orientation_of(values) == orientation


def test_a_kind_of_view_stands_for_its_sides_and_they_for_it():
    """PA and AP are all that is frontal; a single side is not all that is lateral."""
    assert accepted_views(["pa", "AP"]) == {View.PA, View.AP, View.FRONTAL}
    assert accepted_views(["PA", "nonsense", ""]) == {View.PA}
    assert accepted_views(["LATERAL"]) == {View.LATERAL, View.LEFT_LATERAL, View.RIGHT_LATERAL}
    assert accepted_views(["DECUBITUS"]) == {View.DECUBITUS, View.LEFT_DECUBITUS, View.RIGHT_DECUBITUS}
    assert accepted_views(["OBLIQUE"]) == {View.OBLIQUE, View.LEFT_OBLIQUE, View.RIGHT_OBLIQUE}
    assert accepted_views(["LL", "other"]) == {View.LEFT_LATERAL, View.OTHER}
