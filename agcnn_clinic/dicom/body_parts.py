"""Body parts: the ways in which headers name the part that an image shows."""

from agcnn_clinic.dicom.views import view_of_word
from agcnn_clinic.dicom.words import CHEST_SYNONYMS, NOT_STATED, PART_QUALIFIERS, words

_REGION_CODES: dict[str, str] = {
    "816094009": "CHEST",
    "51185008": "CHEST",
    "T-D3000": "CHEST",
    "39607008": "LUNG",
    "T-28000": "LUNG",
}
"""Anatomic Region Sequence (0008,2218) by Code Value, in SNOMED CT and the older SNOMED RT: what CID 4 (PS3.16) has of
chest and lung. Every other code is read by its meaning."""

_NOT_A_PART = NOT_STATED | {"OTHER", "PORT", "PORTABLE"}


def region_part(value: str, meaning: str) -> str:
    """Return the part that an item of Anatomic Region Sequence names: by its code, else by its meaning."""
    return _REGION_CODES.get(value) or meaning or value


def body_part_words(text: str) -> list[str]:
    """Return the words of a Body Part Examined, parts in the standard's words; empty where it names none."""
    said = [CHEST_SYNONYMS.get(word, word) for word in words(text)]
    return [word for word in said if word not in _NOT_A_PART]


def is_no_part(word: str) -> bool:
    """Tell whether a word beside a part is none: a view, a number or size, or a qualifier that changes nothing."""
    return word in PART_QUALIFIERS or word.isdigit() or word == "X" or bool(view_of_word(word))
