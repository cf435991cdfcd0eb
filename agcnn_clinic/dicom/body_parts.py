"""Body parts: the ways in which headers name the part that an image shows."""

from agcnn_clinic.dicom.words import words

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


def body_part_words(text: str) -> list[str]:
    """Return the body parts that a Body Part Examined names, in the standard's words; empty where it names none."""
    named = [_BODY_PART_SYNONYMS.get(word, word) for word in words(text)]
    return [word for word in named if word not in _NO_BODY_PART]
