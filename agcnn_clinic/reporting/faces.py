"""The typefaces of a report, and which of them has the glyph for a character.

All are variable Noto fonts under the SIL Open Font License, taken from installed packages: nothing depends on the
fonts of the machine, so that a report looks the same, byte for byte, wherever it is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import uharfbuzz as hb

from agcnn_clinic.errors import StorageError

PER_EM = 1000
"""The unit of all advances, offsets and outlines: thousandths of the font size, as PDF has it."""


class Weight(IntEnum):
    """How heavy the strokes are, on the fonts' own `wght` axis."""

    REGULAR = 400
    SEMIBOLD = 600


@dataclass(frozen=True)
class Source:
    """Where a typeface lies: a file of an installed package, and its number inside a collection."""

    package: str
    file: str
    index: int = 0


_CJK = ("manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc")


class Face(Enum):
    """A typeface, by the writing that it is for. Han characters look different in each of the last four."""

    LATIN = Source("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf")
    """Latin, Greek, Cyrillic; and Devanagari, which lies in the same file."""
    ARABIC = Source("fontpkg_noto_sans_arabic", "files/NotoSansArabic[wdth,wght].ttf")
    JAPANESE = Source(*_CJK, 0)
    KOREAN = Source(*_CJK, 1)
    CHINESE_SIMPLIFIED = Source(*_CJK, 2)
    CHINESE_TRADITIONAL = Source(*_CJK, 3)


WRITINGS = ("Latin", "Greek", "Cyrillic", "Devanagari", "Arabic", "Chinese", "Japanese", "Korean")
"""What the faces are for. Text in any other writing is printed as boxes, and the report says of which fields."""


def font_file(face: Face) -> Path | None:
    """The file that holds a face; None where its package is not installed."""
    spec = find_spec(face.value.package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / face.value.file
    return path if path.is_file() else None


def missing_faces() -> list[Face]:
    """The faces that are not installed: text in their writing would be printed as boxes."""
    return [face for face in Face if font_file(face) is None]


@cache
def opened(face: Face) -> hb.Face | None:
    """A face, read once in a process; None where it is not installed.

    Raises:
        StorageError: the Latin face is missing, without which there is no report.
    """
    path = font_file(face)
    if path is None:
        if face is Face.LATIN:
            raise StorageError(f"The font package {face.value.package} is missing; install the project again.")
        return None
    return hb.Face(hb.Blob.from_file_path(str(path)), face.value.index)


@cache
def at_weight(face: Face, weight: Weight) -> hb.Font:
    """A face at one weight, scaled to `PER_EM`, for shaping and for outlines."""
    found = opened(face)
    if found is None:
        raise StorageError(f"The font package {face.value.package} is missing; install the project again.")
    font = hb.Font(found)
    font.scale = (PER_EM, PER_EM)
    font.set_variations({"wght": float(weight)})
    return font


@cache
def _coverage(face: Face) -> frozenset[int]:
    found = opened(face)
    return frozenset() if found is None else frozenset(found.unicodes)


def face_of(character: str, preferred: Sequence[Face]) -> Face | None:
    """The first of the preferred faces that has the character; None when none has."""
    code = ord(character)
    return next((face for face in preferred if code in _coverage(face)), None)


_KANA = range(0x3040, 0x3100)
_HANGUL = (range(0x1100, 0x1200), range(0x3130, 0x3190), range(0xAC00, 0xD7B0))
_HAN = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x32000))
_HAN_FACES = (
    ("shift_jis", Face.JAPANESE),
    ("gb2312", Face.CHINESE_SIMPLIFIED),
    ("big5", Face.CHINESE_TRADITIONAL),
)


def preferred_faces(text: str) -> tuple[Face, ...]:
    """The faces to try for a text, best first.

    One code point is drawn differently in Japan, Korea and China. Kana or Hangul in the text decide; else the first
    national character set that has all of its Han characters does. A name that all three could write is taken
    as Japanese, since DICOM names in Han characters alone come from there most often.
    """
    if any(ord(c) in _KANA for c in text):
        east = Face.JAPANESE
    elif any(ord(c) in block for c in text for block in _HANGUL):
        east = Face.KOREAN
    else:
        han = "".join(c for c in text if any(ord(c) in block for block in _HAN))
        east = next((face for codec, face in _HAN_FACES if _encodes(codec, han)), Face.CHINESE_SIMPLIFIED)
    return Face.LATIN, Face.ARABIC, east


def _encodes(codec: str, text: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
