"""Hostile headers: UIDs, names, lengths, Value Representations, depth, character sets, what stands before them."""

import struct
import zlib
from functools import partial

from pydicom import uid as uids
from seeds import body, dataset, file_meta, native, wrapped
from table import BROKEN, HEADER_BROKEN, READ, REFUSED, hostile

from agcnn_clinic.domain import ReasonCode

LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
UNDEFINED = 0xFFFFFFFF
PRIVATE = 0x00091001
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian, its length as said."""
    size = len(value) if length is None else length
    form = struct.pack("<HI", 0, size) if vr in LONG else struct.pack("<H", size & 0xFFFF)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + form + value


def with_element(name: str, tag: int, vr: bytes, value: bytes, length: int | None = None, **attributes) -> bytes:
    """A film with this element, in the place of what it had there."""
    made = dataset(name, **attributes)
    if tag in made:
        del made[tag]
    raw = element(tag, vr, value, length)
    return wrapped(body(made, raw=raw, before=tag), file_meta(made, uids.ExplicitVRLittleEndian))


def nested(depth: int, *, defined: bool) -> bytes:
    """Sequences in sequences; with lengths, or with delimiters."""
    if not defined:
        opened = element(PRIVATE, b"SQ", b"", UNDEFINED) + ITEM + struct.pack("<I", UNDEFINED)
        closed = ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
        return opened * depth + closed * depth
    sizes = [0]
    for _ in range(depth):
        sizes.append(sizes[-1] + 20)
    return b"".join(
        element(PRIVATE, b"SQ", b"", sizes[level] + 8) + ITEM + struct.pack("<I", sizes[level])
        for level in range(depth, -1, -1)
    )


def deflated(content: bytes) -> bytes:
    """A raw deflate stream."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def deflate_bomb(megabytes: int) -> bytes:
    """A deflated data set that inflates to so many megabytes of one private element."""
    made = dataset("bomb")
    size = megabytes * 2**20
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [deflater.compress(element(PRIVATE, b"OB", b"", size))]
    pieces += [deflater.compress(bytes(2**20)) for _ in range(megabytes)]
    return wrapped(b"".join([*pieces, deflater.flush()]), file_meta(made, uids.DeflatedExplicitVRLittleEndian))


def meta_of(syntax: bytes, group_length: int | None = None) -> bytes:
    """File Meta Information of a Transfer Syntax UID alone."""
    content = element(0x00020010, b"UI", syntax + bytes(len(syntax) % 2))
    return (
        element(0x00020000, b"UL", struct.pack("<I", len(content) if group_length is None else group_length)) + content
    )


def _uids() -> None:
    bad = {
        "path": b"../../../../etc/passwd",
        "path of digits": b"1.2/../../3.4",
        "nul inside": b"1.2.3\x004",
        "control characters": b"1.2.3\r\n4.5",
        "65 characters": b"1." + b"2" * 63,
        "64 kilobytes": b"1." + b"2" * 65000,
        "letters": b"1.2.abc",
        "empty": b"",
        "blank": b"    ",
        "two values": b"1.2.3\\1.2.4",
        "not ascii": b"1.2.\xd9\xa3\xe9",
        "markup": b"<b>1.2</b>",
        "sql": b"' OR 1=1 --",
        "dots": b"1..2",
    }
    for what, value in bad.items():
        for keyword, tag in (("SOP Instance", 0x00080018), ("Study Instance", 0x0020000D)):
            name = f"{keyword} UID {what}"
            hostile(name, ReasonCode.MISSING_ATTRIBUTE, partial(with_element, name, tag, b"UI", value))
        # The series is named by nobody: a bad one is left out.
        hostile(f"Series UID {what}", READ, partial(with_element, f"Series UID {what}", 0x0020000E, b"UI", value))
    for tag, what in ((0x00080018, "SOP Instance"), (0x0020000D, "Study Instance")):
        for number, vr in enumerate((b"SQ", b"FD", b"OB", b"UN", b"ZZ")):
            name = f"{what} UID with VR {vr.decode()}"
            hostile(name, BROKEN | READ, partial(with_element, name, tag, vr, b"1.2.3.%d\0" % (tag + number)))


def _texts() -> None:
    texts = {
        "control characters": b"A\x00B\x07C\x1b[2JD\r\nE\x7f",
        "path": b"../../../../tmp/owned",
        "not utf-8": b"\xff\xfe\xfa\x80^\xc3",
        "half surrogates": b"\xed\xa0\x80^\xed\xb0\x80",
        "64 kilobytes": b"A" * 65000,
        "a tower of accents": b"e" + b"\xcc\x81" * 30000,
        "bidi overrides": "\u202edlrow\u2066\u2067^\u200b\u200f\ufeff".encode(),
        "markup": b'<b><img src="/etc/passwd"/><a href="file:///etc/shadow">&amp;&#0;</b><para>',
        "formula": b'=HYPERLINK("http://x",1)',
        "sql": b"'; DROP TABLE study; --",
        "carets": b"^" * 600 + b"=" * 600,
        "percent and braces": b"%s%n%(x)s{0.__class__}{{7*7}}",
    }
    for what, value in texts.items():
        for keyword, tag, vr in (
            ("Patient Name", 0x00100010, b"PN"),
            ("Patient ID", 0x00100020, b"LO"),
            ("Institution", 0x00080080, b"LO"),
            ("Study Description", 0x00081030, b"LO"),
        ):
            name = f"{keyword} {what}"
            hostile(name, READ, partial(with_element, name, tag, vr, value))
    for what, value in texts.items():
        name = f"Modality {what}"
        hostile(name, ReasonCode.WRONG_MODALITY, partial(with_element, name, 0x00080060, b"CS", value))
        name = f"View Position {what}"
        hostile(name, READ | REFUSED, partial(with_element, name, 0x00185101, b"CS", value))
        name = f"Body Part {what}"
        hostile(name, READ | REFUSED, partial(with_element, name, 0x00180015, b"CS", value))


def _numbers() -> None:
    for keyword, tag in (("Rows", 0x00280010), ("Bits Stored", 0x00280101), ("Samples", 0x00280002)):
        for vr, value in (
            (b"LO", b"abc "),
            (b"DS", b"1e400 "),
            (b"IS", b"9" * 30),
            (b"IS", b"-240"),
            (b"SQ", b""),
            (b"FD", struct.pack("<d", float("nan"))),
            (b"US", b""),
            (b"US", b"\x01"),
            (b"US", b"\x00\x00"),
            (b"ZZ", b"\x01\x00"),
            (b"UN", b"\xf0\x00"),
            (b"US", struct.pack("<HHH", 240, 240, 240)),
        ):
            name = f"{keyword} as {vr.decode()} {value[:6].hex()}"
            hostile(name, BROKEN | READ | {ReasonCode.TOO_SMALL}, partial(with_element, name, tag, vr, value))
    for value in (b"2147483648", b"99999999999999999999", b"-1", b"0", b"1e3", b"two", b"2"):
        name = f"Frames {value.decode()}"
        padded = value + b" " * (len(value) % 2)
        hostile(name, READ | {ReasonCode.MULTI_FRAME}, partial(with_element, name, 0x00280008, b"IS", padded))


def _lengths() -> None:
    any_end = BROKEN | READ
    for what, raw in {
        "length past the end": element(PRIVATE, b"OB", b"abcd", 0xFFFFFFF0),
        "length of 2 GB": element(PRIVATE, b"UT", b"abcd", 0x7FFFFFFF),
        "odd length": element(PRIVATE, b"LO", b"abc"),
        "odd long length": element(PRIVATE, b"OB", b"abc"),
        "undefined length without an end": element(PRIVATE, b"UN", b"abcd", UNDEFINED),
        "undefined length of bytes": element(PRIVATE, b"OB", b"abcd", UNDEFINED),
        "sequence without an end": element(PRIVATE, b"SQ", b"", UNDEFINED),
        "item without an end": element(PRIVATE, b"SQ", ITEM + struct.pack("<I", UNDEFINED), UNDEFINED),
        "item past its sequence": element(PRIVATE, b"SQ", ITEM + struct.pack("<I", 5000), 8),
        "delimiter alone": SEQUENCE_END + bytes(4),
        "item alone": ITEM + bytes(4),
        "unknown VR": element(PRIVATE, b"ZZ", b"abcd"),
        "VR of nulls": element(PRIVATE, b"\0\0", b"abcd"),
        "tags out of order": element(0x00100099, b"LO", b"ab") + element(0x00080099, b"LO", b"ab"),
        "the same tag a thousand times": element(PRIVATE, b"LO", b"ab") * 1000,
        "the same UID twice": element(0x00080018, b"UI", b"1.2.3.4\0") * 2,
        "group length that lies": element(0x00090000, b"UL", struct.pack("<I", 0xFFFFFFFE)),
        "nothing but zeros": bytes(4096),
        "sequence 10,000 deep with lengths": nested(10_000, defined=True),
        "sequence 10,000 deep with delimiters": nested(10_000, defined=False),
        "sequence of 50,000 items": element(PRIVATE, b"SQ", (ITEM + bytes(4)) * 50_000),
        "100,000 elements": b"".join(
            element((0x0011 << 16) + number % 65536, b"LO", b"ab") for number in range(100_000)
        ),
    }.items():
        hostile(what, any_end, partial(native, what, raw=raw, before=PRIVATE))
    for depth in (900, 10_000):
        codes = nested(depth, defined=True)
        name = f"View Code Sequence {depth} deep"
        raw = element(0x00540220, b"SQ", ITEM + struct.pack("<I", len(codes)) + codes)
        hostile(name, any_end, partial(native, name, raw=raw, before=0x00540220, ViewPosition=""))


def _file_meta() -> None:
    def made(meta: bytes, name: str) -> bytes:
        return wrapped(body(dataset(name)), meta)

    for what, meta, ends_as in (
        ("no transfer syntax", element(0x00020012, b"UI", b"1.2.3\0"), READ),
        ("no file meta", b"", READ),
        ("transfer syntax unknown", meta_of(b"1.2.840.10008.1.2.77"), {ReasonCode.UNSUPPORTED_SYNTAX}),
        ("transfer syntax private", meta_of(b"1.2.3.4.5.6"), {ReasonCode.UNSUPPORTED_SYNTAX}),
        ("transfer syntax path", meta_of(b"../../../etc/passwd"), {ReasonCode.UNSUPPORTED_SYNTAX}),
        ("transfer syntax of video", meta_of(uids.MPEG2MPML.encode()), {ReasonCode.UNSUPPORTED_SYNTAX} | BROKEN),
        ("transfer syntax is a SOP class", meta_of(b"1.2.840.10008.5.1.4.1.1.1"), {ReasonCode.UNSUPPORTED_SYNTAX}),
        ("transfer syntax says big endian", meta_of(uids.ExplicitVRBigEndian.encode()), BROKEN | READ | REFUSED),
        ("transfer syntax says implicit", meta_of(uids.ImplicitVRLittleEndian.encode()), BROKEN | READ | REFUSED),
        ("transfer syntax says deflated", meta_of(uids.DeflatedExplicitVRLittleEndian.encode()), BROKEN),
        ("transfer syntax says JPEG 2000", meta_of(uids.JPEG2000Lossless.encode()), BROKEN),
        ("group 0002 length too long", meta_of(b"1.2.840.10008.1.2.1\0", 0xFFFFFFFF), BROKEN | READ),
        ("group 0002 length too short", meta_of(b"1.2.840.10008.1.2.1\0", 1), BROKEN | READ),
        ("group 0002 element of 4 GB", element(0x00020102, b"OB", b"", 0xFFFFFFFE), BROKEN | READ),
    ):
        hostile(what, ends_as, partial(made, meta, what))
    hostile("deflated 600 MB", ReasonCode.UNREADABLE_HEADER, partial(deflate_bomb, 600))
    hostile(
        "deflated garbage",
        HEADER_BROKEN,
        lambda: wrapped(b"\xff" * 500, meta_of(uids.DeflatedExplicitVRLittleEndian.encode())),
    )
    hostile(
        "deflated nothing",
        HEADER_BROKEN,
        lambda: wrapped(deflated(b""), meta_of(uids.DeflatedExplicitVRLittleEndian.encode())),
    )


def _preambles() -> None:
    for what, head in {
        "PE": b"MZ\x90\0\3\0\0\0",
        "ELF": b"\x7fELF\2\1\1\0",
        "HTML": b"<html><script>alert(1)</script>",
        "ZIP": b"PK\3\4\x14\0\0\0",
        "PDF": b"%PDF-1.7\n",
        "shell": b"#!/bin/sh\nrm -rf /\n",
        "TIFF": b"II*\0\x08\0\0\0",
    }.items():
        name = f"preamble {what}"
        hostile(name, READ, partial(native, name, preamble=head.ljust(128, b"\0")))
        ends_as = {ReasonCode.ZIP_DAMAGED} if what == "ZIP" else HEADER_BROKEN
        hostile(f"{what} alone", ends_as, partial(head.ljust, 700, b"\x01"))
    hostile("no preamble", READ, lambda: body(dataset("no preamble")))
    hostile("no preamble, implicit", READ, lambda: body(dataset("no preamble, implicit"), implicit=True))
    hostile("nothing", {ReasonCode.EMPTY_FILE, ReasonCode.UNRECOGNISED}, bytes)
    hostile("one byte", ReasonCode.UNRECOGNISED, lambda: b"D")
    hostile("prefix alone", HEADER_BROKEN, lambda: bytes(128) + b"DICM")
    hostile("prefix and noise", HEADER_BROKEN | BROKEN, lambda: bytes(128) + b"DICM" + bytes(range(256)) * 40)
    hostile("prefix and zeros", HEADER_BROKEN | BROKEN, lambda: bytes(128) + b"DICM" + bytes(10_000))
    hostile("file meta alone", HEADER_BROKEN, lambda: wrapped(b"", meta_of(b"1.2.840.10008.1.2.1\0")))
    hostile("begins like a data set", HEADER_BROKEN, lambda: b"\x08\0\x05\0CS\x0a\0" + b"\xff" * 300)


CHARACTER_SETS = {
    **dict.fromkeys(
        ("", "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127"),
        b"M\xfcller^J\xf6rg",
    ),
    **dict.fromkeys(("ISO_IR 126", "ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 166"), b"\xc4\xe9\xef^\xc1"),
    "ISO_IR 13": b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3",
    "ISO_IR 192": "山田^太郎=Παπαδόπουλος".encode(),
    "GB18030": "王^小东".encode("gb18030"),
    "GBK": "王^小东".encode("gbk"),
    "\\ISO 2022 IR 87": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    "ISO 2022 IR 13\\ISO 2022 IR 87": b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
    "\\ISO 2022 IR 159": b"X^\x1b$(D\x22\x2f\x1b(B",
    "\\ISO 2022 IR 149": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
    "\\ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    **{
        f"\\ISO 2022 IR {number}": b"A\x1b-A\xe9^B"
        for number in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 166)
    },
}
"""Specific Character Set (PS3.3 C.12.1.1.2) with a name in it."""

BROKEN_CHARACTER_SETS = {
    "ISO_IR 999": b"M\xfcller",
    "../../etc": b"M\xfcller",
    "ISO_IR 192\\ISO 2022 IR 87": b"\x1b$B;3ED",
    "ISO 2022 IR 87": b"\x1b$B;3",
    "\\ISO 2022 IR 87": b"\x1b\x1b\x1b$$$BB",
    "\\ISO 2022 IR 149": b"\x1b$)C\xff",
    "GB18030": b"\x81\x30\x81",
    "GB18030\\ISO_IR 192": b"\xff\xff",
    "ISO_IR 192 ": b"\xf8\x88\x80\x80\x80",
    "\\" * 200: b"M\xfcller",
    "undefined": b"x",
    "rot13": b"Uryyb",
    "zlib": b"\x78\x9c",
    "unicode_escape": b"\\ud800",
    "utf_7": b"+2AA-",
    "idna": b"xn--" * 2000,
}


def _character_sets() -> None:
    for kind, table in (("", CHARACTER_SETS), ("broken ", BROKEN_CHARACTER_SETS)):
        for number, (terms, name_bytes) in enumerate(table.items()):
            name = f"{kind}character set {number} {terms[:40].strip()}".replace("\\", "+").replace("/", "-")
            hostile(name, READ, partial(_with_character_set, name, terms, name_bytes))


def _with_character_set(name: str, terms: str, person: bytes) -> bytes:
    made = dataset(name, SpecificCharacterSet=None, PatientName=None)
    for keyword in (
        "InstitutionName",
        "StudyDescription",
        "PatientComments",
        "ReferringPhysicianName",
        "PatientAddress",
    ):
        del made[keyword]
    content = body(made)
    raw = element(0x00080005, b"CS", terms.encode() + b" " * (len(terms) % 2))
    before_name = content.index(struct.pack("<HH", 0x0010, 0x0020))
    person += b" " * (len(person) % 2)
    content = raw + content[:before_name] + element(0x00100010, b"PN", person) + content[before_name:]
    return wrapped(content, file_meta(made, uids.ExplicitVRLittleEndian))


for _part in (_uids, _texts, _numbers, _lengths, _file_meta, _preambles, _character_sets):
    _part()
