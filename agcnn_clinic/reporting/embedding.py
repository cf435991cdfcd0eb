"""Glyphs in a PDF: each face becomes a small embedded font with exactly the glyphs that were drawn.

ReportLab embeds TrueType fonts by character, at their default weight, and shapes by lending out private code points,
so that Arabic cannot be copied out and the bytes depend on what was printed before. Here the text is shaped first, and
each document's fonts are made from its glyphs (PDF 32000-1, 9.7: a Type 0 font over a CIDFontType2, Identity-H).
"""

from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import newTable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from reportlab.pdfbase import pdfdoc
from reportlab.pdfgen.canvas import Canvas

from agcnn_clinic.reporting.faces import PER_EM, Face, Weight, at_weight
from agcnn_clinic.reporting.shaping import Cluster, Line, Part, Run

MAX_CURVE_ERROR = 1.0
"""In thousandths of the font size: how far a quadratic outline may be from the font's own cubic one."""
MARK = "\u25ba"
"""What the mark of a positive finding is called where a report is copied out or read aloud: a pointer to the right."""
_MARK_WIDTH = 800
_SYMBOLIC = 4
_NOT_DEFINED = Part(0, 0, 0)


class Typesetter:
    """Draws shaped lines on one canvas, and embeds the fonts that they need when the document is saved."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._fonts: dict[tuple[Face, Weight], _EmbeddedFont] = {}
        self._mark_font: _MarkFont | None = None

    def draw(self, line: Line, x: float, y: float, size: float) -> None:
        """Draw a line with its left end and baseline at (x, y), in the canvas's fill colour."""
        code = ["BT"]
        pen = x
        for run in line.runs:
            code += self._run(run, pen, y, size, line.weight)
            pen += sum(cluster.advance for cluster in run.clusters) * size / PER_EM
        self._canvas.addLiteral("\n".join([*code, "ET"]))

    def mark(self, x: float, y: float, size: float) -> None:
        """Draw `MARK` with its lower left corner at (x, y) and as high as `size`, in the canvas's fill colour."""
        if self._mark_font is None:
            self._mark_font = _MarkFont()
            self._canvas._doc.delayedFonts.append(self._mark_font)  # noqa: SLF001 (as for the others)
        name = self._mark_font.name
        self._canvas.addLiteral(f"BT\n{name} {_number(size)} Tf\n{_number(x)} {_number(y)} Td\n<01> Tj\nET")

    def _run(self, run: Run, x: float, y: float, size: float, weight: Weight) -> list[str]:
        font = self._font(run.face, weight)
        shown: list[str] = []
        codes = ""
        for cluster in run.clusters:
            codes += f"{font.code(cluster):04X}"
            # The width in the font is the glyph's own; kerning is the difference (9.4.3, the operator TJ).
            if kerning := font.width(cluster) - cluster.advance:
                shown += [f"<{codes}>", _number(kerning)]
                codes = ""
        if codes:
            shown.append(f"<{codes}>")
        return [
            f"{font.name} {_number(size)} Tf",
            f"1 0 0 1 {_number(x)} {_number(y)} Tm",
            f"[{' '.join(shown)}] TJ",
        ]

    def _font(self, face: Face, weight: Weight) -> "_EmbeddedFont":
        key = (face, weight)
        if key not in self._fonts:
            font = _EmbeddedFont(face, weight, len(self._fonts) + 1)
            self._fonts[key] = font
            self._canvas._doc.delayedFonts.append(font)  # noqa: SLF001 (where ReportLab's own fonts wait to be written)
        return self._fonts[key]


class _EmbeddedFont:
    """The clusters of one face and weight in one document: a code for each picture and the text that it stands for."""

    def __init__(self, face: Face, weight: Weight, number: int) -> None:
        self.name = f"/T{number}"
        self._face = face
        self._weight = weight
        tag = "".join(chr(ord("A") + (number // 26**place) % 26) for place in range(6))
        self._base_font = f"{tag}+Noto-{face.name.title().replace('_', '')}-{weight.name.title()}"
        self._codes: dict[tuple[tuple[Part, ...], str], int] = {((_NOT_DEFINED,), ""): 0}

    def code(self, cluster: Cluster) -> int:
        return self._codes.setdefault((cluster.parts, cluster.text), len(self._codes))

    def width(self, cluster: Cluster) -> int:
        return _width(self._face, self._weight, cluster.parts)

    def addObjects(self, doc: pdfdoc.PDFDocument) -> None:  # noqa: N802 (ReportLab's name)
        """Write the font's objects: called by ReportLab when the document is saved."""
        drawn = [parts for parts, _ in self._codes]
        font_file = pdfdoc.PDFStream(
            content=_font_program(self._face, self._weight, drawn), filters=[pdfdoc.PDFZCompress]
        )
        to_unicode = pdfdoc.PDFStream(
            content=_to_unicode([text for _, text in self._codes]), filters=[pdfdoc.PDFZCompress]
        )
        widths = [_width(self._face, self._weight, parts) for parts in drawn]
        extents = at_weight(self._face, self._weight).get_font_extents("ltr")
        name = self.name[1:]
        descriptor = _dictionary(
            Type="/FontDescriptor",
            FontName="/" + self._base_font,
            Flags=_SYMBOLIC,
            FontBBox=pdfdoc.PDFArray([-PER_EM, -PER_EM, 2 * PER_EM, 2 * PER_EM]),
            ItalicAngle=0,
            Ascent=extents.ascender,
            Descent=extents.descender,
            CapHeight=714,
            StemV=80,
            FontFile2=doc.Reference(font_file, f"file:{name}"),
        )
        descendant = _dictionary(
            Type="/Font",
            Subtype="/CIDFontType2",
            BaseFont="/" + self._base_font,
            CIDSystemInfo=_dictionary(
                Registry=pdfdoc.PDFString("Adobe"), Ordering=pdfdoc.PDFString("Identity"), Supplement=0
            ),
            FontDescriptor=doc.Reference(descriptor, f"descriptor:{name}"),
            DW=PER_EM,
            W=pdfdoc.PDFArray([0, pdfdoc.PDFArray(widths)]),
            CIDToGIDMap="/Identity",
        )
        doc.idToObject["BasicFonts"].dict[name] = doc.Reference(
            _dictionary(
                Type="/Font",
                Subtype="/Type0",
                BaseFont="/" + self._base_font,
                Encoding="/Identity-H",
                DescendantFonts=pdfdoc.PDFArray([doc.Reference(descendant, f"descendant:{name}")]),
                ToUnicode=doc.Reference(to_unicode, f"unicode:{name}"),
            ),
            f"font:{name}",
        )


class _MarkFont:
    """A font of one glyph, `MARK`, which the Latin face lacks (PDF 32000-1, 9.6.5: a Type 3 font)."""

    name = "/Mark"

    def addObjects(self, doc: pdfdoc.PDFDocument) -> None:  # noqa: N802 (ReportLab's name)
        """Write the font's objects: called by ReportLab when the document is saved."""
        box = f"0 0 {_MARK_WIDTH} {PER_EM}"
        outline = f"0 0 m 0 {PER_EM} l {_MARK_WIDTH} {PER_EM // 2} l f"
        glyph = pdfdoc.PDFStream(content=f"{_MARK_WIDTH} 0 {box} d1\n{outline}".encode("ascii"))
        to_unicode = pdfdoc.PDFStream(content=_to_unicode(["", MARK], code_bytes=1), filters=[pdfdoc.PDFZCompress])
        doc.idToObject["BasicFonts"].dict[self.name[1:]] = doc.Reference(
            _dictionary(
                Type="/Font",
                Subtype="/Type3",
                FontBBox=pdfdoc.PDFArray([0, 0, _MARK_WIDTH, PER_EM]),
                FontMatrix=pdfdoc.PDFArray([1 / PER_EM, 0, 0, 1 / PER_EM, 0, 0]),
                CharProcs=_dictionary(mark=doc.Reference(glyph, "glyph:Mark")),
                Encoding=_dictionary(Type="/Encoding", Differences=pdfdoc.PDFArray([1, "/mark"])),
                FirstChar=1,
                LastChar=1,
                Widths=pdfdoc.PDFArray([_MARK_WIDTH]),
                Resources=_dictionary(),
                ToUnicode=doc.Reference(to_unicode, "unicode:Mark"),
            ),
            "font:Mark",
        )


def _dictionary(**entries: Any) -> pdfdoc.PDFDictionary:
    return pdfdoc.PDFDictionary(entries)


@lru_cache(maxsize=8192)
def _width(face: Face, weight: Weight, parts: tuple[Part, ...]) -> int:
    return sum(int(at_weight(face, weight).get_glyph_h_advance(part.number)) for part in parts)


class _Outline(NamedTuple):
    """One cluster as a font's `glyf` table holds it, and what the other tables say of it."""

    data: bytes
    x_min: int
    y_min: int
    x_max: int
    y_max: int
    points: int
    contours: int


@lru_cache(maxsize=8192)
def _outline(face: Face, weight: Weight, parts: tuple[Part, ...]) -> _Outline:
    """One cluster at its weight, as quadratic curves, whatever the font holds.

    Packed once: that takes longer than all else that a document's fonts need.
    """
    drawn = TTGlyphPen(None)
    quadratic = Cu2QuPen(drawn, MAX_CURVE_ERROR)
    for part in parts:
        placed = TransformPen(quadratic, (1, 0, 0, 1, part.dx, part.dy))
        at_weight(face, weight).draw_glyph_with_pen(part.number, placed)
    outline = drawn.glyph()
    data = outline.compile(None)
    if not data:
        return _Outline(data, 0, 0, 0, 0, 0, 0)
    box = outline.xMin, outline.yMin, outline.xMax, outline.yMax
    return _Outline(data, *box, len(outline.coordinates), outline.numberOfContours)


def _font_program(face: Face, weight: Weight, drawn: list[tuple[Part, ...]]) -> bytes:
    """A TrueType font with the given glyphs in the given order, and the tables that PDF asks for (9.9, Table 126)."""
    names = [".notdef", *(f"g{code}" for code in range(1, len(drawn)))]
    outlines = [_outline(face, weight, parts) for parts in drawn]
    widths = [_width(face, weight, parts) for parts in drawn]
    builder = FontBuilder(PER_EM, isTTF=True)
    # What the library would find out by unpacking every glyph is known.
    builder.font.recalcBBoxes = builder.font.recalcTimestamp = False
    builder.setupGlyphOrder(names)
    builder.font["loca"] = newTable("loca")
    builder.font["glyf"] = table = newTable("glyf")
    table.glyphOrder = names
    table.glyphs = {name: Glyph(outline.data) for name, outline in zip(names, outlines, strict=True)}
    metrics = [(width, outline.x_min) for width, outline in zip(widths, outlines, strict=True)]
    builder.setupHorizontalMetrics(dict(zip(names, metrics, strict=True)))
    inked = [(width, outline) for width, outline in zip(widths, outlines, strict=True) if outline.contours]
    builder.setupHorizontalHeader(
        ascent=1069,
        descent=-293,
        advanceWidthMax=max(widths),
        minLeftSideBearing=min((outline.x_min for _, outline in inked), default=0),
        minRightSideBearing=min((width - outline.x_max for width, outline in inked), default=0),
        xMaxExtent=max((outline.x_max for _, outline in inked), default=0),
        numberOfHMetrics=len(names),
    )
    builder.setupMaxp()
    maxima = builder.font["maxp"]
    maxima.numGlyphs = len(names)
    maxima.maxPoints = max(outline.points for outline in outlines)
    maxima.maxContours = max(outline.contours for outline in outlines)
    head = builder.font["head"]
    head.created = head.modified = 0
    head.magicNumber = 0x5F0F3CF5
    head.xMin = min((outline.x_min for _, outline in inked), default=0)
    head.yMin = min((outline.y_min for _, outline in inked), default=0)
    head.xMax = max((outline.x_max for _, outline in inked), default=0)
    head.yMax = max((outline.y_max for _, outline in inked), default=0)
    buffer = BytesIO()
    builder.font.save(buffer)
    return buffer.getvalue()


def _to_unicode(texts: list[str], code_bytes: int = 2) -> bytes:
    """The CMap from codes to text (PDF 32000-1, 9.10.3), at most a hundred entries a block."""
    digits = 2 * code_bytes
    entries = [f"<{code:0{digits}X}> <{_utf16(text)}>" for code, text in enumerate(texts) if text]
    blocks = [
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar"
        for block in (entries[start : start + 100] for start in range(0, len(entries), 100))
    ]
    head = (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        f"1 begincodespacerange\n<{'0' * digits}> <{'F' * digits}>\nendcodespacerange\n"
    )
    tail = "\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend"
    return (head + "\n".join(blocks) + tail).encode("ascii")


def _utf16(text: str) -> str:
    return text.encode("utf-16-be").hex().upper()


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"
