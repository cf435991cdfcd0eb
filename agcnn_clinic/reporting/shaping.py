"""From a string of any origin to glyphs in the order in which they are drawn.

Names come from other hospitals' systems: they hold every script, and now and then control characters, a line break,
or an override of direction that would make a text read as something else. `clean` removes what cannot be printed
honestly; `shape` never raises on what is left: a character that no font has becomes a visible box.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import uharfbuzz as hb
from bidi import algorithm as bidi

from agcnn_clinic.reporting.faces import PER_EM, Face, Weight, at_weight, face_of, preferred_faces

MAX_TEXT = 1000
"""Characters of one string that are printed; more than any attribute of DICOM that is printed may hold."""
MAX_MARKS, MAX_OF_A_CLASS = 3, 2
"""Marks stacked on one character, and those of one combining class: a tower would run over the lines above and below.

Vocalised Arabic has three (shadda, vowel sign, superscript alef). Devanagari's vowel signs are of class 0: they do not
stack, but have places of their own.
"""
ELLIPSIS = "\u2026"
NO_BREAK = "\u00a0"
"""A blank at which `wrapped` breaks no line; it is printed as any other."""
_MEANINGLESS = frozenset({"Cs", "Co", "Cn"})
"""Surrogates, private and unassigned code points: what is meant by them is known where they come from, if anywhere."""
_UNPRINTABLE = _MEANINGLESS | {"Cc", "Cf"}
"""And controls, the overrides of direction among them (Cf)."""
_REMEMBERED_TEXTS = 1024
"""Those that every report has, and those of the report in hand; the other texts of a report are its own."""
_JOINERS = frozenset("\u200c\u200d")
_NO_GLYPH = 0
"""The number of the box in every font."""
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


class Part(NamedTuple):
    """A glyph of the font, at its place inside a cluster."""

    number: int
    dx: float
    dy: float


@dataclass(frozen=True)
class Cluster:
    """What is drawn for the smallest piece of text that cannot be drawn apart: a letter with its accents, a ligature.

    It becomes one glyph of the embedded font, so that copying the text out again gives exactly `text`.
    """

    parts: tuple[Part, ...]
    text: str
    advance: float


@dataclass(frozen=True)
class Run:
    """Clusters of one face, from left to right whatever the direction of the writing."""

    face: Face
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True)
class Line:
    """A shaped text: runs from left to right; the width is in thousandths of the font size."""

    runs: tuple[Run, ...]
    width: float
    weight: Weight


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def clean(text: str) -> str:
    """A text that can be printed on one line: composed, without controls, with each white space as one blank.

    Beyond `MAX_TEXT` it ends in an ellipsis.
    """
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + ELLIPSIS
    return re.sub(" +", " ", _without_towers(_printable(text))).strip()


def _printable(text: str) -> str:
    """A text composed (NFC), without controls, each white space a blank."""
    kept: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        if character.isspace() and character != NO_BREAK:
            kept.append(" ")
        elif unicodedata.category(character) not in _UNPRINTABLE or character in _JOINERS:
            kept.append(character)
    return "".join(kept)


def _without_towers(text: str) -> str:
    """A text without the marks that would stack too high on a character."""
    kept: list[str] = []
    stacked: list[int] = []
    for character in text:
        combining = unicodedata.combining(character)
        if combining:
            if len(stacked) == MAX_MARKS or stacked.count(combining) == MAX_OF_A_CLASS:
                continue
            stacked.append(combining)
        elif unicodedata.category(character) not in ("Mn", "Me") and character not in _JOINERS:
            stacked = []
        kept.append(character)
    return "".join(kept)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def shape(text: str, weight: Weight = Weight.REGULAR) -> Line:
    """Shape one line of text, already `clean`, with kerning, ligatures, joining and the order of both directions."""
    runs: list[Run] = []
    levels = _levels(text)
    faces = _faces(text)
    pieces = [
        (level, face, "".join(text[i] for i in group))
        for (level, face), group in groupby(range(len(text)), key=lambda i: (levels[i], faces[i]))
    ]
    for level, face, piece in _visual_order(pieces):
        runs.append(_shape_run(piece, face, weight, right_to_left=bool(level % 2)))
    return Line(tuple(runs), sum(cluster.advance for run in runs for cluster in run.clusters), weight)


def is_whole(text: str) -> bool:
    """Whether every character of a text is printed as itself: none as a box, none left out but controls."""
    if text.isascii():
        return True
    if any(unicodedata.category(character) in _MEANINGLESS for character in text[:MAX_TEXT]):
        return False
    printable = _printable(text[:MAX_TEXT])
    if _without_towers(printable) != printable:
        return False
    drawn = (part for run in shape(clean(text)).runs for cluster in run.clusters for part in cluster.parts)
    return all(part.number != _NO_GLYPH for part in drawn)


def _faces(text: str) -> list[Face]:
    preferred = preferred_faces(text)
    faces: list[Face] = []
    for character in text:
        # A blank, a mark or a joiner stays with what it follows, so that words are not torn into runs.
        follows = character == " " or character in _JOINERS or unicodedata.combining(character)
        if follows and faces and face_of(character, faces[-1:]) is not None:
            faces.append(faces[-1])
        else:
            # Without a font for it, the Latin face's own box stands for the character.
            faces.append(face_of(character, preferred) or Face.LATIN)
    return faces


def _levels(text: str) -> list[int]:
    """The embedding level of each character by the Unicode Bidirectional Algorithm (UAX #9): odd is right to left.

    Rule X9 takes joiners out of the text; each then gets the level of the character before it (UAX #9, 5.2), so that
    it stays in the word whose letters it keeps apart or together.
    """
    if not any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return [0] * len(text)
    storage = bidi.get_empty_storage()
    base = bidi.get_base_level(text)
    storage["base_level"], storage["base_dir"] = base, ("L", "R")[base]
    bidi.get_embedding_levels("".join(character for character in text if character not in _JOINERS), storage)
    bidi.explicit_embed_and_overrides(storage)
    bidi.resolve_weak_types(storage)
    bidi.resolve_neutral_types(storage, debug=False)
    bidi.resolve_implicit_levels(storage, debug=False)
    resolved = (int(entry["level"]) for entry in storage["chars"])
    levels: list[int] = []
    for character in text:
        levels.append((levels[-1] if levels else base) if character in _JOINERS else next(resolved))
    return levels


def _visual_order(pieces: list[tuple[int, Face, str]]) -> list[tuple[int, Face, str]]:
    """Rule L2 of UAX #9 over whole runs: from the highest level down to 1, reverse what is at it or above."""
    ordered = list(pieces)
    for level in range(max((piece[0] for piece in ordered), default=0), 0, -1):
        start = 0
        while start < len(ordered):
            end = start
            while end < len(ordered) and ordered[end][0] >= level:
                end += 1
            ordered[start:end] = reversed(ordered[start:end])
            start = max(end, start + 1)
    return ordered


def _shape_run(text: str, face: Face, weight: Weight, *, right_to_left: bool) -> Run:
    buffer = hb.Buffer()
    buffer.cluster_level = hb.BufferClusterLevel.MONOTONE_GRAPHEMES
    buffer.add_str(text)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if right_to_left else "ltr"
    hb.shape(at_weight(face, weight), buffer, {})
    glyphs = list(zip(buffer.glyph_infos, buffer.glyph_positions, strict=True))
    starts = sorted({info.cluster for info, _ in glyphs})
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    clusters = []
    for start, members in groupby(glyphs, key=lambda glyph: int(glyph[0].cluster)):
        parts, pen = [], 0.0
        for info, position in members:
            parts.append(Part(info.codepoint, pen + position.x_offset, position.y_offset))
            pen += position.x_advance
        clusters.append(_cluster(tuple(parts), text[start : ends[start]], pen))
    return Run(face, tuple(clusters))


@lru_cache(maxsize=8192)
def _cluster(parts: tuple[Part, ...], text: str, advance: float) -> Cluster:
    """One object for equal clusters: texts are many, and made of few letters."""
    return Cluster(parts, text, advance)


def text_width(text: str, size: float, weight: Weight = Weight.REGULAR) -> float:
    """The width of a text in the unit of the font size."""
    return shape(text, weight).width * size / PER_EM


def fitted(text: str, size: float, width: float, weight: Weight = Weight.REGULAR) -> str:
    """The text, shortened to an ellipsis where it is wider than `width`."""
    text = clean(text)
    if text_width(text, size, weight) <= width:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + ELLIPSIS, size, weight) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS


def wrapped(
    text: str, size: float, width: float, weight: Weight = Weight.REGULAR, *, max_lines: int | None = None
) -> list[str]:
    """The text in lines no wider than `width`, broken at blanks, inside a word only where the word alone is too wide.

    Beyond `max_lines` the last line ends in an ellipsis. A text without anything to print gives no line.
    """
    blank = text_width(" ", size, weight)
    lines: list[str] = []
    current, used = "", 0.0
    for word in _words(clean(text), size, width, weight):
        extent = text_width(word, size, weight)
        if current and used + blank + extent > width:
            lines.append(current)
            current, used = word, extent
        else:
            current, used = (f"{current} {word}", used + blank + extent) if current else (word, extent)
    if current:
        lines.append(current)
    if max_lines is not None and len(lines) > max_lines:
        rest = " ".join(lines[max_lines - 1 :])
        lines = [*lines[: max_lines - 1], fitted(rest, size, width, weight)]
    return [line.replace(NO_BREAK, " ") for line in lines]


def _words(text: str, size: float, width: float, weight: Weight) -> list[str]:
    words: list[str] = []
    for word in text.split(" "):
        rest = word
        while text_width(rest, size, weight) > width and len(rest) > 1:
            cut = len(rest) - 1
            while cut > 1 and text_width(rest[:cut], size, weight) > width:
                cut = cut * 3 // 4 if text_width(rest[:cut], size, weight) > 2 * width else cut - 1
            cut = max(cut, 1)
            words.append(rest[:cut])
            rest = rest[cut:]
        if rest:
            words.append(rest)
    return words
