"""Values of a data set as text that can be shown and stored: decoded, without control characters, bounded."""

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_value

MAX_LENGTH = 256
"""Longer than any value of the attributes that are read here may be (PS3.5 6.2: LO has 64 characters, PN 3 x 64)."""

_JOINERS = "\u200c\u200d"
"""Zero-width joiners belong to the spelling of Persian and Indic names; other format characters only disguise."""

_SEVERAL = (MultiValue, list, tuple)
_PLAIN = frozenset({"AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "US", "UT"})
"""What pydicom converts by its Value Representation alone: text, and small integers."""
_DATE = re.compile(r"(\d{4})[.:-]?(\d{2})[.:-]?(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.\d*)?", re.ASCII)


def clean(value: str) -> str:
    """Return text without control, format and unassigned characters, trimmed, at most `MAX_LENGTH` long."""
    # Bounded before it is looked at one by one: an attribute may be gigabytes long.
    bounded = value[: 4 * MAX_LENGTH]
    # Nearly every value is printable as a whole, and nothing that is printable is of one of those categories.
    if not bounded.isprintable():
        bounded = "".join(char for char in bounded if char in _JOINERS or unicodedata.category(char)[0] != "C")
    return bounded.strip()[:MAX_LENGTH].rstrip()


def value(dataset: Dataset, keyword: str) -> object:
    """Return an attribute as pydicom converts it, None where it is absent; most without making an element of it first.

    Raises:
        Exception: a broken value may raise anything.
    """
    element = cast(DataElement | RawDataElement | None, dataset.get_item(_tag(keyword)))
    if element is None:
        return None
    encodings = dataset.original_character_set
    if isinstance(element, RawDataElement) and element.VR in _PLAIN and encodings:
        return convert_value(element.VR, element, encodings)
    return dataset.get(keyword)


def values(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of an attribute as clean text, decoded by Specific Character Set (0008,0005).

    An attribute that is absent, empty or cannot be converted has none.
    """
    try:
        found = value(dataset, keyword)
        several: Iterable[object] = found if isinstance(found, _SEVERAL) else [found]
        return [clean(str(one)) for one in several if one is not None]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (pydicom converts on access, and a broken value may raise anything)
        return []


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute as one line, several values joined by a backslash as DICOM writes them."""
    found = values(dataset, keyword)
    return found[0] if len(found) == 1 else clean("\\".join(found))


def number(dataset: Dataset, keyword: str) -> int:
    """Return an integer attribute, 0 where it is absent, none, or of more than the 32 bits that DICOM knows."""
    found = values(dataset, keyword)
    try:
        value = int(found[0]) if found else 0
    except ValueError:
        return 0
    return value if abs(value) < 2**32 else 0


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return a decimal attribute's values, empty where one of them is no finite number."""
    try:
        found = [float(one) for one in values(dataset, keyword)]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def iso_date(value: str) -> str:
    """Return a DICOM date (DA, or the beginning of DT) as `2026-01-31`, empty where the calendar has no such day."""
    match = _DATE.match(value)
    try:
        return date(*map(int, match.groups())).isoformat() if match else ""
    except ValueError:
        return ""


def iso_time(value: str) -> str:
    """Return a DICOM time (TM) as `23:59:59`, as far as it is given; empty where it is none."""
    match = _TIME.match(value)
    if match is None:
        return ""
    parts = [part for part in match.groups() if part is not None]
    limits = (24, 60, 61)  # 60 is a leap second
    return ":".join(parts) if all(int(part) < limit for part, limit in zip(parts, limits, strict=False)) else ""
