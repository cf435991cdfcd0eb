"""Views: how the beam went through the chest, and the ways in which headers say so."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from agcnn_clinic.dicom.orientation import Orientation
from agcnn_clinic.dicom.words import CHEST_SYNONYMS, says_nothing, words


class View(StrEnum):
    """How the beam went through the chest, by the defined terms of View Position where there is one."""

    PA = "PA"
    AP = "AP"
    FRONTAL = "FRONTAL"
    """PA or AP."""
    LEFT_LATERAL = "LL"
    RIGHT_LATERAL = "RL"
    LATERAL = "LATERAL"
    """A lateral view of unstated side."""
    LEFT_DECUBITUS = "LLD"
    RIGHT_DECUBITUS = "RLD"
    DECUBITUS = "DECUBITUS"
    LEFT_OBLIQUE = "LLO"
    RIGHT_OBLIQUE = "RLO"
    OBLIQUE = "OBLIQUE"
    LORDOTIC = "LORDOTIC"
    OTHER = "OTHER"
    """A view is stated, and none of these is understood by it."""
    UNKNOWN = ""
    """No view is stated."""


class StatedView(NamedTuple):
    """What one attribute says of the view.

    Attributes:
        view: what is understood by it, never UNKNOWN.
        by: the attribute's name.
        written: what stands there, where it is a view's name or code.
    """

    view: View
    by: str
    written: str = ""


KINDS: dict[View, frozenset[View]] = {
    View.FRONTAL: frozenset({View.PA, View.AP}),
    View.LATERAL: frozenset({View.LEFT_LATERAL, View.RIGHT_LATERAL}),
    View.DECUBITUS: frozenset({View.LEFT_DECUBITUS, View.RIGHT_DECUBITUS}),
    View.OBLIQUE: frozenset({View.LEFT_OBLIQUE, View.RIGHT_OBLIQUE}),
}
"""Views of which the direction or the side is left open, and what they may be."""

_VIEW_CODES: dict[str, View] = {
    "272479007": View.PA,
    "R-40888": View.PA,
    "R-10214": View.PA,
    "399348003": View.AP,
    "R-10206": View.AP,
    "399033003": View.FRONTAL,
    "R-10202": View.FRONTAL,
    "399173006": View.LEFT_LATERAL,
    "R-10236": View.LEFT_LATERAL,
    "399198007": View.RIGHT_LATERAL,
    "R-10232": View.RIGHT_LATERAL,
    "399067008": View.LATERAL,
    "R-102CD": View.LATERAL,
    "399260004": View.LATERAL,
    "R-10224": View.LATERAL,
    "399352003": View.LATERAL,
    "R-10228": View.LATERAL,
    "30730003": View.LATERAL,
    "G-A145": View.LATERAL,
}
"""View Code Sequence (0054,0220) by Code Value, in SNOMED CT and the older SNOMED RT: of CID 4010 (PS3.16) the frontal
views, and the lateral ones for their names. Every other code is read by its meaning, or is another view."""

_PATIENT_CODES: dict[str, View] = {
    "102536004": View.LEFT_DECUBITUS,
    "F-10319": View.LEFT_DECUBITUS,
    "102535000": View.RIGHT_DECUBITUS,
    "F-10317": View.RIGHT_DECUBITUS,
    "32185000": View.DECUBITUS,
    "F-10318": View.DECUBITUS,
    "260450008": View.LORDOTIC,
    "R-40799": View.LORDOTIC,
}
"""Patient Orientation Modifier Code Sequence (0054,0412): what CID 20 has of postures that make another view. They may
stand in View Modifier Code Sequence (0054,0222), too."""

_WORDS: dict[str, View] = {
    "PA": View.PA,
    "AP": View.AP,
    **dict.fromkeys(
        ("FRONTAL", "FRONTALE", "FRONT", "FRN", "FRNT", "FRENTE", "FACE", "正面", "胸部正面"), View.FRONTAL
    ),
    **dict.fromkeys(("LL", "LLAT", "LLATERAL", "LATL", "LTLAT"), View.LEFT_LATERAL),
    **dict.fromkeys(("RL", "RLAT", "RLATERAL", "LATR", "RTLAT"), View.RIGHT_LATERAL),
    **dict.fromkeys(
        ("LAT", "XTABLE", "PROFIL", "PROFILE", "PROFILO", "PERFIL", "SEITLICH", "SEITL", "側面", "胸部側面"),
        View.LATERAL,
    ),
    "LLD": View.LEFT_DECUBITUS,
    "RLD": View.RIGHT_DECUBITUS,
    **dict.fromkeys(("LLO", "LAO", "LPO"), View.LEFT_OBLIQUE),
    **dict.fromkeys(("RLO", "RAO", "RPO"), View.RIGHT_OBLIQUE),
    "OBL": View.OBLIQUE,
    "LORD": View.LORDOTIC,
}
"""View Position (0018,5101): the defined terms of PS3.3 C.8.4.5 and C.8.11.5, and what senders write beside them.

Dorsoventral and ventrodorsal, which would be frontal, are left out: nearly all films that say so are of animals.
"""

_STEMS: tuple[tuple[re.Pattern[str], View], ...] = (
    (re.compile("DECUB"), View.DECUBITUS),
    (re.compile("LORDO"), View.LORDOTIC),
    (re.compile("^(LATERA(?!LIT)|LATERO|MEDIOLATERA|SAGIT)"), View.LATERAL),
    (re.compile("OBLI[QCK]"), View.OBLIQUE),
)
"""The same by what begins or makes up a word, in several languages: LATERALE, LATERO-LATERAL, LLDECUB, OBLICUA."""

_FIRST_TO_LAST = (
    # "LATERAL DECUBITUS" is a decubitus, "AP LORDOTIC" is lordotic, and "PA/LAT" is no frontal view for certain.
    View.LEFT_DECUBITUS,
    View.RIGHT_DECUBITUS,
    View.DECUBITUS,
    View.LORDOTIC,
    View.LEFT_LATERAL,
    View.RIGHT_LATERAL,
    View.LATERAL,
    View.LEFT_OBLIQUE,
    View.RIGHT_OBLIQUE,
    View.OBLIQUE,
    View.OTHER,
    View.FRONTAL,
    View.PA,
    View.AP,
)
_FRONTAL = frozenset({View.FRONTAL, View.PA, View.AP})
_LATERAL = frozenset({View.LATERAL, View.LEFT_LATERAL, View.RIGHT_LATERAL})

_MISTAKABLE = frozenset({"RL", "LORD", "PROFILE"})
"""Views where a view is asked for; in a description they may be a side, a name, the settings of a console."""


def view_of_word(word: str) -> View:
    """Return the view that one word names, UNKNOWN where it names none."""
    if word in _WORDS:
        return _WORDS[word]
    return next((view for stem, view in _STEMS if stem.search(word)), View.UNKNOWN)


def view_from_words(text: str) -> View:
    """Return the view that a View Position names.

    UNKNOWN where it names none, as "PORTABLE"; OTHER where a word of it is not understood.
    """
    said = [word for word in words(text) if not says_nothing(word)]
    known = {"CHEST", "THORAX", "LUNG", "LUNGS", *CHEST_SYNONYMS}
    return _first({view_of_word(word) or View.OTHER for word in said if word not in known})


def view_from_description(text: str) -> View:
    """Return the view, none of the frontal ones, that a description names by an unmistakable word; else UNKNOWN.

    A description is no place for a view, so it can speak against a frontal one and never for it. One that names
    frontal and lateral views is of a study that has both.
    """
    named = {view_of_word(word) for word in words(text) if word not in _MISTAKABLE} - {View.UNKNOWN}
    view = _first(named - _FRONTAL)
    return View.UNKNOWN if view in _LATERAL and named & _FRONTAL else view


def view_from_code(value: str, meaning: str) -> View:
    """Return the view that an item of View Code Sequence names: by its code, else by its meaning, else OTHER."""
    if value in _VIEW_CODES:
        return _VIEW_CODES[value]
    return view_from_words(meaning) or (View.OTHER if value else View.UNKNOWN)


def view_from_modifier(value: str, meaning: str) -> View:
    """Return the view, none of the frontal ones, that a modifier of a view or of the patient's placing makes of it.

    UNKNOWN where it makes none: most say how much of the film is exposed, or how the patient breathes.
    """
    return _PATIENT_CODES.get(value) or view_from_description(meaning)


def view_from_orientation(orientation: Orientation) -> View:
    """Return the view that Patient Orientation speaks of, UNKNOWN for the frontal ones, too.

    Rows or columns that run to the front or the back show a side, whichever way the film lies: LATERAL. Where the
    front or the back is not their first direction the view is OBLIQUE.
    """
    stated = [one for one in orientation if one]
    if any(one[0] in "AP" for one in stated):
        return View.LATERAL
    return View.OBLIQUE if any(set(one) & set("AP") for one in stated) else View.UNKNOWN


def accepted_views(listed: Iterable[str]) -> frozenset[View]:
    """Return all that a list of views stands for: LATERAL for both sides, PA and AP for FRONTAL."""
    names = {name.upper() for name in listed}
    views = {view for view in View if view and view in names}
    views |= {one for kind in views & KINDS.keys() for one in KINDS[kind]}
    return frozenset(views | {kind for kind, members in KINDS.items() if members <= views})


def _first(named: set[View]) -> View:
    if named >= KINDS[View.FRONTAL]:
        named = {*named, View.FRONTAL}
    return next((view for view in _FIRST_TO_LAST if view in named), View.UNKNOWN)
