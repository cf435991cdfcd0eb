"""The parts of the standard that decide what an image is, as data."""

import re
from enum import StrEnum

from pydicom import uid as uids

IMAGE_CLASSES: dict[str, str] = {
    uids.ComputedRadiographyImageStorage: "CR",
    uids.DigitalXRayImageStorageForPresentation: "DX",
    uids.DigitalXRayImageStorageForProcessing: "DX for processing",
    uids.SecondaryCaptureImageStorage: "SC",
    uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: "multi-frame SC, grey, 8 bit",
    uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: "multi-frame SC, grey, 16 bit",
    uids.MultiFrameTrueColorSecondaryCaptureImageStorage: "multi-frame SC, colour",
}
"""SOP classes (PS3.4 B.5) that may hold a plain radiograph; frames and colour are looked at apart."""

ALWAYS_LOSSY: frozenset[str] = frozenset(
    {
        uids.JPEGBaseline8Bit,
        uids.JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",  # Spectral Selection, retired
        "1.2.840.10008.1.2.4.55",  # Full Progression, retired
    }
)
"""Transfer syntaxes (PS3.5 A.4) that cannot be lossless; of the others Lossy Image Compression (0028,2110) speaks."""

DECODED_AS: dict[str, str] = {
    "1.2.840.10008.1.2.4.53": uids.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.55": uids.JPEGExtended12Bit,
}
"""Retired JPEG syntaxes that pydicom registers no decoder for. A JPEG stream says its own process (ITU-T T.81 B.2.2),
and libjpeg follows it, so they decode under the name of a syntax of the same family."""


class View(StrEnum):
    """How the beam went through the chest, by the defined terms of View Position where there is one."""

    PA = "PA"
    AP = "AP"
    LEFT_LATERAL = "LL"
    RIGHT_LATERAL = "RL"
    LATERAL = "LATERAL"
    """A lateral view of unstated side."""
    LEFT_DECUBITUS = "LLD"
    RIGHT_DECUBITUS = "RLD"
    LEFT_OBLIQUE = "LLO"
    RIGHT_OBLIQUE = "RLO"
    OBLIQUE = "OBLIQUE"
    LORDOTIC = "LORDOTIC"
    UNKNOWN = ""


VIEW_CODES: dict[str, View] = {
    "R-10214": View.PA,
    "272479007": View.PA,
    "R-10206": View.AP,
    "399348003": View.AP,
    "R-10236": View.LEFT_LATERAL,
    "399173006": View.LEFT_LATERAL,
    "R-10232": View.RIGHT_LATERAL,
    "399198007": View.RIGHT_LATERAL,
    "399067008": View.LATERAL,
    "R-10224": View.LATERAL,
    "399260004": View.LATERAL,
    "R-10228": View.LATERAL,
    "399352003": View.LATERAL,
    "399182000": View.OBLIQUE,
    "399135007": View.OBLIQUE,
    "399356000": View.OBLIQUE,
    "399006002": View.OBLIQUE,
    "399038007": View.OBLIQUE,
}
"""View Code Sequence (0054,0220) by Code Value: CID 4010 (PS3.16) in SNOMED CT and the older SNOMED RT."""

_VIEW_WORDS: tuple[tuple[View, frozenset[str]], ...] = (
    # In this order: "AP LORDOTIC" is lordotic, and "PA/LAT" is no frontal view for certain.
    (View.LEFT_LATERAL, frozenset({"LL", "LLAT"})),
    (View.RIGHT_LATERAL, frozenset({"RL", "RLAT"})),
    (View.LATERAL, frozenset({"LATERAL", "LAT", "SAGITTAL"})),
    (View.LEFT_DECUBITUS, frozenset({"LLD"})),
    (View.RIGHT_DECUBITUS, frozenset({"RLD"})),
    (View.LEFT_OBLIQUE, frozenset({"LLO", "LAO", "LPO"})),
    (View.RIGHT_OBLIQUE, frozenset({"RLO", "RAO", "RPO"})),
    (View.OBLIQUE, frozenset({"OBLIQUE", "OBL"})),
    (View.LORDOTIC, frozenset({"LORDOTIC"})),
    (View.PA, frozenset({"PA", "POSTEROANTERIOR"})),
    (View.AP, frozenset({"AP", "ANTEROPOSTERIOR"})),
)
"""View Position (0018,5101): the defined terms of PS3.3 C.8.4.5 and C.8.11.5, and what senders write beside them."""

_LATERAL_DIRECTIONS = frozenset({"A", "P"})
"""Patient Orientation (0020,0020; PS3.3 C.7.6.1.1.1): rows that run to the front or the back show a side."""

_BODY_PART_SYNONYMS: dict[str, str] = {
    "CXR": "CHEST",
    "THX": "THORAX",
    "TORAX": "THORAX",
    "TORACE": "THORAX",
    "TORACIC": "THORAX",
    "THORACIC": "THORAX",
    "BRUST": "CHEST",
    "POUMON": "LUNG",
    "POUMONS": "LUNGS",
    "PULMON": "LUNG",
    "PULMONES": "LUNGS",
}
"""Words for Body Part Examined (0018,0015) that are none of PS3.16 Annex L, and what they stand for."""

_NO_BODY_PART = frozenset({"", "UNKNOWN", "NONE", "OTHER", "UNDEFINED", "UNSPECIFIED", "NA", "PORT", "PORTABLE"})


def words(text: str) -> list[str]:
    """Return the words of a code string in capitals: letters and digits, whatever stands between them."""
    return re.findall(r"[^\W_]+", text.upper())


def view_from_words(text: str) -> View:
    """Return the view that a View Position names, UNKNOWN where it names none."""
    found = set(words(text))
    return next((view for view, names in _VIEW_WORDS if names & found), View.UNKNOWN)


def view_from_orientation(directions: tuple[str, ...]) -> View:
    """Return LATERAL where Patient Orientation says that the rows run from front to back, else UNKNOWN."""
    return View.LATERAL if directions and directions[0][:1] in _LATERAL_DIRECTIONS else View.UNKNOWN


def body_part_words(text: str) -> list[str]:
    """Return the body parts that a Body Part Examined names, in the standard's words; empty where it names none."""
    named = [_BODY_PART_SYNONYMS.get(word, word) for word in words(text)]
    return [word for word in named if word not in _NO_BODY_PART]
