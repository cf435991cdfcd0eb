"""The words of code strings and descriptions, and which of them say nothing of the view or of the body part."""

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+|\d+")
_ACCENTS = re.compile(r"[\u0300-\u036f]")

_ONE_NOTION = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bP A\b|\bPOSTER(?:O|IO|IOR) ?ANT(?:ERI(?:OR|EUR)E?)?\b", "PA"),
        (r"\bA P\b|\bANTER(?:O|IO|IOR) ?POST(?:ERI(?:OR|EUR)E?)?\b", "AP"),
        (r"\bL L\b", "LL"),
        (r"\b(?:X|CROSS) ?TABLE\b", "XTABLE"),
        (r"\bX RAY\b", "XRAY"),
        (r"\bN A\b", "NA"),
        # Romance languages: lying on the back. Turned round, it is English and a view with a horizontal beam.
        (r"\bDECUBIT\w+ (?:DORSALE?|SUPIN\w*)\b", "SUPINE"),
    )
)
"""What is written with something between its parts, and the word that it is: P->A, POSTERO-ANTERIOR, L-L."""

_QUALIFIERS = (
    # How the patient is placed
    "ERECT UPRIGHT STANDING SITTING SEATED LYING SUPINE PRONE RECUMBENT",
    "SEMI SEMIERECT SEMIUPRIGHT SEMISUPINE SEMIRECUMBENT STEHEN SITZEN LIEGEN",
    "STEHEND SITZEND LIEGEND DEBOUT ASSIS COUCHE PIEDI SEDUTO SUPINO ORTOSTASI PIE BIPEDESTACION SENTADO",
    # Where, and with what; WALL is not here: the chest has one
    "PORTABLE PORT PORTATIL MOBILE BED BEDSIDE BETT LETTO LIT STRETCHER STAND WALLSTAND BUCKY GRID",
    "ICU NICU INCUBATOR INTENSIV",
    # How the patient breathes
    "INSPIRATION INSPIRATORY INSP EXPIRATION EXPIRATORY EXP",
    # How many, and of whom
    "V VW VIEW VIEWS PROJECTION PROJ SINGLE ONE TWO ADULT CHILD INFANT PEDIATRIC PAEDIATRIC PED PEDS",
    "NEONATE NEONATAL NEWBORN BABY MALE FEMALE",
    # What an image is, and what joins words
    "CR DR XR XRAY FILM RADIOGRAPH RADIOGRAPHY DIGITAL ROUTINE STANDARD STD GENERAL EXAM",
    "AND OR OF THE IN UND IM DE DI EN ET E Y",
)
_OF_A_PART = "BOTH ENTIRE WHOLE PAIR FIELD FIELDS LEFT RIGHT L R"
"""What may stand beside a part and says how much of it is meant."""
QUALIFIERS: frozenset[str] = frozenset(word for line in _QUALIFIERS for word in line.split())
"""Words that may stand beside a frontal view or beside the chest and change neither."""

PART_QUALIFIERS: frozenset[str] = QUALIFIERS | frozenset(_OF_A_PART.split())
"""The same, and those that may stand beside the chest alone: PA R may be an oblique view, RIGHT LUNG is a lung."""
NOT_STATED: frozenset[str] = frozenset(
    {"UNKNOWN", "NONE", "UNDEFINED", "UNSPECIFIED", "NA", "NULL", "NOT", "SPECIFIED"}
)
"""What senders write where they have nothing to say."""

CHEST_SYNONYMS: dict[str, str] = {
    "CXR": "CHEST",
    "BRUST": "CHEST",
    "胸部": "CHEST",
    "THX": "THORAX",
    "TORAX": "THORAX",
    "TORACE": "THORAX",
    "LUNGE": "LUNG",
    "LUNGEN": "LUNGS",
    "POUMON": "LUNG",
    "POUMONS": "LUNGS",
    "PULMON": "LUNG",
    "PULMONES": "LUNGS",
    "POLMONE": "LUNG",
    "POLMONI": "LUNGS",
}
"""Words for Body Part Examined (0018,0015) that are none of PS3.16 Annex L, and what they stand for.

An adjective is none of them: THORACIC may be a spine, an inlet or a wall.
"""


def words(text: str) -> list[str]:
    """Return the words of a text in capitals and without accents: letters apart from digits, whatever stands between.

    What is one notion is one word: `P->A` is PA.
    """
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).upper())
    joined = " ".join(_WORD.findall(plain))
    for pattern, word in _ONE_NOTION:
        joined = pattern.sub(word, joined)
    return joined.split()


def says_nothing(word: str) -> bool:
    """Tell whether a word speaks neither of the view nor of the body part. A single digit numbers or counts views."""
    # Of more digits who knows: PA 45 is an angle.
    return word in QUALIFIERS or word in NOT_STATED or (word.isdigit() and len(word) == 1)
