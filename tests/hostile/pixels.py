"""Hostile pixels: sizes that lie, kinds that radiographs do not have, streams that claim to be what they are not."""

import os
import struct
from functools import partial
from pathlib import Path

from headers import element, with_element
from pydicom import uid as uids
from seeds import (
    FROM_SAMPLES,
    SEQUENCE_END,
    WRITTEN_HERE,
    encapsulated,
    in_syntax,
    item,
    native,
    sampled,
    stored,
    stream,
)
from table import BROKEN, PIXELS_BROKEN, READ, REFUSED, hostile

from agcnn_clinic.domain import ReasonCode

SHARED = Path(os.environ.get("AGCNN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
"""The folder of real films, as in tests/conftest.py: this is also run without pytest."""


def _claims() -> None:
    for rows, columns in ((46_341, 46_341), (65_535, 65_535), (65_535, 1), (1, 65_535)):
        name = f"claims {columns} x {rows}"
        ends_as = {ReasonCode.PIXEL_LENGTH, ReasonCode.TOO_LARGE, ReasonCode.TOO_SMALL, ReasonCode.ASPECT_RATIO}
        hostile(name, ends_as, partial(native, name, Rows=rows, Columns=columns))
        for syntax in WRITTEN_HERE[4:]:
            name = f"claims {columns} x {rows} in {syntax.name}"
            make = partial(encapsulated, name, syntax, item(b"") + item(stream(syntax)) + SEQUENCE_END)
            ends_as = PIXELS_BROKEN | {ReasonCode.TOO_LARGE, ReasonCode.TOO_SMALL}
            hostile(name, ends_as, partial(make, Rows=rows, Columns=columns))
    for what, attributes, ends_as in (
        ("32 bit", {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, PIXELS_BROKEN),
        ("64 bit", {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, PIXELS_BROKEN),
        ("1 bit", {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, PIXELS_BROKEN),
        ("12 bits allocated", {"BitsAllocated": 12}, PIXELS_BROKEN),
        ("no bits allocated", {"BitsAllocated": 0}, PIXELS_BROKEN),
        ("65535 bits allocated", {"BitsAllocated": 65535}, PIXELS_BROKEN),
        ("no bits stored", {"BitsStored": 0}, PIXELS_BROKEN),
        ("17 bits stored", {"BitsStored": 17}, PIXELS_BROKEN),
        ("high bit 99", {"HighBit": 99}, READ),
        ("high bit 0", {"HighBit": 0}, READ),
        ("no high bit", {"HighBit": None}, READ),
        ("4 samples", {"SamplesPerPixel": 4}, PIXELS_BROKEN),
        ("65535 samples", {"SamplesPerPixel": 65535}, PIXELS_BROKEN),
        ("no samples", {"SamplesPerPixel": 0}, PIXELS_BROKEN),
        ("3 samples of grey", {"SamplesPerPixel": 3}, PIXELS_BROKEN),
        ("RGB cut off", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, PIXELS_BROKEN),
        ("YBR_FULL_422 cut off", {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}, PIXELS_BROKEN),
        ("RGB of one sample", {"PhotometricInterpretation": "RGB"}, PIXELS_BROKEN),
        ("palette colour", {"PhotometricInterpretation": "PALETTE COLOR"}, {ReasonCode.COLOUR}),
        ("photometric unknown", {"PhotometricInterpretation": "MONOCHROME9"}, READ | PIXELS_BROKEN),
        ("photometric 64 kilobytes", {"PhotometricInterpretation": "M" * 65000}, PIXELS_BROKEN),
        ("planar configuration 9", {"PlanarConfiguration": 9}, READ | PIXELS_BROKEN),
        ("pixel representation 7", {"PixelRepresentation": 7}, READ),
        ("signed", {"PixelRepresentation": 1}, READ | REFUSED),
        ("no rows", {"Rows": 0}, BROKEN),
        ("rows missing", {"Rows": None}, BROKEN),
        ("no pixel data", {"PixelData": None}, PIXELS_BROKEN),
        ("empty pixel data", {"PixelData": b""}, PIXELS_BROKEN),
        ("one byte of pixel data", {"PixelData": b"\1\2"}, PIXELS_BROKEN),
        ("pixel data twice as long", {"PixelData": stored().tobytes() * 2}, READ),
        ("float pixels", {"PixelData": None, "FloatPixelData": bytes(4 * 240 * 240)}, PIXELS_BROKEN),
        ("double pixels", {"PixelData": None, "DoubleFloatPixelData": bytes(8 * 240 * 240)}, PIXELS_BROKEN),
    ):
        hostile(what, ends_as, partial(native, what, **attributes))
    for vr in (b"SQ", b"UT", b"LO", b"US", b"UN", b"ZZ", b"OF"):
        name = f"pixel data with VR {vr.decode()}"
        hostile(name, BROKEN | READ, partial(with_element, name, 0x7FE00010, vr, stored().tobytes()[:60_000]))
    name = "native pixel data of undefined length"
    hostile(name, BROKEN, partial(with_element, name, 0x7FE00010, b"OW", stored().tobytes(), 0xFFFFFFFF))


def _fragments() -> None:
    syntax = uids.JPEG2000Lossless
    frame = stream(syntax)
    ends = PIXELS_BROKEN | READ
    for what, pixel_data in {
        "no item": b"",
        "no item, delimiter": SEQUENCE_END,
        "offset table alone": item(b"") + SEQUENCE_END,
        "no offset table": item(frame) + SEQUENCE_END,
        "empty fragments": item(b"") + item(b"") * 1000 + SEQUENCE_END,
        "no delimiter": item(b"") + item(frame),
        "offset past the end": item(struct.pack("<I", 0xFFFFFFF0)) + item(frame) + SEQUENCE_END,
        "offsets that turn back": item(struct.pack("<4I", 0, 400, 100, 0)) + item(frame) + SEQUENCE_END,
        "offset table of 3 bytes": item(b"\0\0\0") + item(frame) + SEQUENCE_END,
        "fragment past the end": item(b"") + item(frame, 0x7FFFFFFF),
        "fragment of undefined length": item(b"") + item(frame, 0xFFFFFFFF) + SEQUENCE_END,
        "fragment of odd length": item(b"") + item(frame + bytes(1 - len(frame) % 2)) + SEQUENCE_END,
        "100,000 fragments": item(b"") + b"".join(map(item, [b"\xff\x4f"] * 100_000)) + SEQUENCE_END,
        "fragments of two bytes": item(b"")
        + b"".join(item(frame[at : at + 2]) for at in range(0, len(frame), 2))
        + SEQUENCE_END,
        "no items but noise": bytes(range(256)) * 8,
        "item in an item": item(b"") + item(item(frame)) + SEQUENCE_END,
    }.items():
        hostile(f"fragments: {what}", ends, partial(encapsulated, f"fragments: {what}", syntax, pixel_data))


def _streams() -> None:
    """Streams whose own header claims something else, or too much."""

    def stream_file(name: str, syntax: str, data: bytes, **attributes) -> bytes:
        bits = 8 if syntax == uids.JPEGBaseline8Bit else 12
        return encapsulated(
            name, syntax, item(b"") + item(data + bytes(len(data) % 2)) + SEQUENCE_END, bits=bits, **attributes
        )

    jpeg, j2k, jls, rle, exact = map(
        stream,
        (uids.JPEGBaseline8Bit, uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.RLELossless, uids.JPEGLosslessSV1),
    )
    sof, exact_sof = jpeg.index(b"\xff\xc0"), exact.index(b"\xff\xc3")
    siz = j2k.index(b"\xff\x51")
    jls_sof = jls.index(b"\xff\xf7")

    def at(data: bytes, place: int, new: bytes) -> bytes:
        return data[:place] + new + data[place + len(new) :]

    huge = struct.pack(">HH", 65535, 65535)
    tiles = siz + 2 + 2 + 2 + 16  # XTsiz, YTsiz (ITU-T T.800 A.5.1)
    ends = PIXELS_BROKEN | READ | {ReasonCode.BLANK, ReasonCode.SATURATED}
    for what, syntax, data in (
        ("JPEG claims 65535 x 65535", uids.JPEGBaseline8Bit, at(jpeg, sof + 5, huge)),
        ("JPEG claims 0 lines", uids.JPEGBaseline8Bit, at(jpeg, sof + 5, bytes(2))),
        ("JPEG claims 255 components", uids.JPEGBaseline8Bit, at(jpeg, sof + 9, b"\xff")),
        ("JPEG claims 16 bit", uids.JPEGBaseline8Bit, at(jpeg, sof + 4, b"\x10")),
        (
            "JPEG second frame header",
            uids.JPEGBaseline8Bit,
            jpeg[:sof] + jpeg[sof : sof + 13] + at(jpeg, sof + 5, huge)[sof:],
        ),
        ("JPEG thumbnail before it", uids.JPEGBaseline8Bit, b"\xff\xd8\xff\xe1\x00\x08" + b"\xff\xc0" * 3 + jpeg[2:]),
        ("JPEG segment of no length", uids.JPEGBaseline8Bit, jpeg[:2] + b"\xff\xe0\x00\x00" + jpeg[2:]),
        ("JPEG without tables", uids.JPEGBaseline8Bit, jpeg.replace(b"\xff\xc4", b"\xff\xfe")),
        ("JPEG without a quantisation table", uids.JPEGBaseline8Bit, jpeg.replace(b"\xff\xdb", b"\xff\xfe")),
        ("JPEG endless fill bytes", uids.JPEGBaseline8Bit, b"\xff\xd8" + b"\xff" * 2_000_000),
        ("JPEG restart interval of 1", uids.JPEGBaseline8Bit, jpeg[:sof] + b"\xff\xdd\x00\x04\x00\x01" + jpeg[sof:]),
        ("JPEG in the place of JPEG 2000", uids.JPEG2000Lossless, jpeg),
        ("PNG in the place of JPEG", uids.JPEGBaseline8Bit, b"\x89PNG\r\n\x1a\n" + bytes(500)),
        ("lossless JPEG claims 65535 x 65535", uids.JPEGLosslessSV1, at(exact, exact_sof + 5, huge)),
        ("lossless JPEG claims 255 components", uids.JPEGLosslessSV1, at(exact, exact_sof + 9, b"\xff")),
        ("lossless JPEG claims 17 bit", uids.JPEGLosslessSV1, at(exact, exact_sof + 4, b"\x11")),
        ("lossless JPEG claims 2 bit", uids.JPEGLosslessSV1, at(exact, exact_sof + 4, b"\x02")),
        ("lossless JPEG without tables", uids.JPEGLosslessSV1, exact.replace(b"\xff\xc4", b"\xff\xfe")),
        ("lossless JPEG with predictor 9", uids.JPEGLossless, at(exact, exact.index(b"\xff\xda") + 7, b"\x09")),
        (
            "lossless JPEG second frame header",
            uids.JPEGLosslessSV1,
            exact[:exact_sof] + exact[exact_sof : exact_sof + 13] + at(exact, exact_sof + 5, huge)[exact_sof:],
        ),
        (
            "lossless JPEG restart interval of 1",
            uids.JPEGLosslessSV1,
            exact[:exact_sof] + b"\xff\xdd\x00\x04\x00\x01" + exact[exact_sof:],
        ),
        ("lossless JPEG noise", uids.JPEGLosslessSV1, exact[:200] + bytes(range(255)) * 60 + b"\xff\xd9"),
        ("J2K in the place of JPEG", uids.JPEGBaseline8Bit, j2k),
        ("J2K claims 2^31", uids.JPEG2000Lossless, at(j2k, siz + 6, struct.pack(">II", 2**31, 2**31))),
        ("J2K claims 46341", uids.JPEG2000Lossless, at(j2k, siz + 6, struct.pack(">II", 46341, 46341))),
        ("J2K offset beyond its size", uids.JPEG2000Lossless, at(j2k, siz + 14, struct.pack(">II", 2**31, 2**31))),
        (
            "J2K shifted by 2^31",
            uids.JPEG2000Lossless,
            at(j2k, siz + 6, struct.pack(">IIII", 2**31 + 240, 2**31 + 240, 2**31, 2**31)),
        ),
        ("J2K tiles of one pixel", uids.JPEG2000Lossless, at(j2k, tiles, struct.pack(">II", 1, 1))),
        ("J2K tiles of no size", uids.JPEG2000Lossless, at(j2k, tiles, bytes(8))),
        ("J2K tiles of 2^32", uids.JPEG2000Lossless, at(j2k, tiles, b"\xff" * 8)),
        ("J2K 16384 components", uids.JPEG2000Lossless, at(j2k, siz + 38, struct.pack(">H", 16384))),
        ("J2K no components", uids.JPEG2000Lossless, at(j2k, siz + 38, bytes(2))),
        ("J2K 38 bits", uids.JPEG2000Lossless, at(j2k, siz + 40, b"\x25")),
        ("J2K subsampled", uids.JPEG2000Lossless, at(j2k, siz + 41, b"\xff\xff")),
        ("J2K sampling of 0", uids.JPEG2000Lossless, at(j2k, siz + 41, b"\x00\x00")),
        (
            "J2K second SIZ",
            uids.JPEG2000Lossless,
            j2k[: siz + 43] + at(j2k[siz : siz + 43], 6, b"\xff" * 8) + j2k[siz + 43 :],
        ),
        ("J2K zeros", uids.JPEG2000Lossless, j2k[:200] + bytes(len(j2k) - 202) + b"\xff\xd9"),
        ("JPEG-LS claims 65535 x 65535", uids.JPEGLSLossless, at(jls, jls_sof + 5, huge)),
        ("JPEG-LS claims 2 bit", uids.JPEGLSLossless, at(jls, jls_sof + 4, b"\x02")),
        ("JPEG-LS claims 255 components", uids.JPEGLSLossless, at(jls, jls_sof + 9, b"\xff")),
        ("JPEG-LS zeros", uids.JPEGLSLossless, jls[:40] + bytes(len(jls) - 42) + b"\xff\xd9"),
        ("RLE without segments", uids.RLELossless, bytes(64)),
        ("RLE 15 segments", uids.RLELossless, struct.pack("<I", 15) + rle[4:]),
        ("RLE 2^32 segments", uids.RLELossless, b"\xff" * 4 + rle[4:]),
        ("RLE offsets past the end", uids.RLELossless, rle[:4] + struct.pack("<15I", *[0xFFFFFFF0] * 15) + rle[64:]),
        ("RLE offsets into its header", uids.RLELossless, rle[:4] + struct.pack("<15I", *[4] * 15) + rle[64:]),
        ("RLE of one byte", uids.RLELossless, rle[:1]),
        ("RLE expands to too much", uids.RLELossless, rle[:64] + b"\x81\xff" * 30_000),
        ("RLE literal past its end", uids.RLELossless, rle[:64] + b"\x7f"),
    ):
        hostile(what, ends, partial(stream_file, what, syntax, data))
    # A stream may agree with its header, and be no larger than the limit, and still be a lie about what follows.
    for syntax, place, width in ((uids.JPEG2000Lossless, siz + 6, ">II"), (uids.JPEGLSLossless, jls_sof + 5, ">HH")):
        name = f"agrees on 2999 x 2999 in {syntax.name}"
        data = at(stream(syntax), place, struct.pack(width, 2999, 2999))
        hostile(name, ends | REFUSED, partial(stream_file, name, syntax, data, Rows=2999, Columns=2999))
    for syntax, sound, place in ((uids.JPEGBaseline8Bit, jpeg, sof), (uids.JPEGLosslessSV1, exact, exact_sof)):
        name = f"agrees on 2999 x 2999 in {syntax.name}"
        data = at(sound, place + 5, struct.pack(">HH", 2999, 2999))
        hostile(name, PIXELS_BROKEN, partial(stream_file, name, syntax, data, Rows=2999, Columns=2999))


def _pipeline() -> None:
    """Windows, tables, spacing and padding that arithmetic does not survive."""
    sequence = partial(_lut_file)
    for what, attributes, ends_as in (
        ("spacing 1e300 to 1e-300", {"PixelSpacing": ["1e300", "1e-300"]}, READ | REFUSED),
        ("spacing 1 to 1e6", {"PixelSpacing": ["1", "1000000"]}, {ReasonCode.TOO_LARGE} | READ),
        ("aspect 1 to 2147483647", {"PixelAspectRatio": ["1", "2147483647"]}, {ReasonCode.TOO_LARGE} | READ),
        ("spacing of 0", {"PixelSpacing": ["0", "0"]}, READ),
        ("slope 1e308", {"RescaleSlope": "1e308", "RescaleIntercept": "-1e308"}, READ | REFUSED),
        ("slope 1e-308", {"RescaleSlope": "1e-308", "RescaleIntercept": "0"}, READ | REFUSED),
        ("window of 1e-308", {"WindowWidth": "1e-308"}, READ | REFUSED),
        ("window of 1e308", {"WindowWidth": "1e308", "WindowCenter": "-1e308"}, READ | REFUSED),
        ("window of 0", {"WindowWidth": "0"}, READ),
        ("window of minus 1", {"WindowWidth": "-1"}, READ),
        ("a thousand windows", {"WindowWidth": ["400"] * 1000, "WindowCenter": ["40"] * 1000}, READ | REFUSED),
        ("padding 65535", {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 0}, READ | REFUSED),
    ):
        hostile(what, ends_as, partial(native, what, **attributes))
    for keyword, tag in (
        ("window centre", 0x00281050),
        ("window width", 0x00281051),
        ("slope", 0x00281053),
        ("spacing", 0x00280030),
        ("padding", 0x00280120),
    ):
        for value in (b"1e400 ", b"nan ", b"inf\\inf ", b"-inf\\nan", b"1e308\\1e-308", b"9" * 254, b"\xff\xfe"):
            name = f"{keyword} {value[:12]!r}"
            hostile(name, READ | REFUSED | PIXELS_BROKEN, partial(with_element, name, tag, b"DS", value))
    for what, descriptor, size in (
        ("no entries", (0, 0, 16), 0),
        ("65536 entries that are not there", (0, 0, 16), 100),
        ("no bits", (4096, 0, 0), 8192),
        ("65535 bits", (4096, 0, 65535), 8192),
        ("all zero", (4096, 0, 16), 8192),
        ("first value 65535", (4096, 65535, 12), 8192),
        ("odd number of bytes", (4096, 0, 8), 4097),
    ):
        for tag in (0x00283000, 0x00283010):
            name = f"lookup table {tag:08x}: {what}"
            hostile(name, READ | REFUSED | PIXELS_BROKEN, partial(sequence, name, tag, descriptor, bytes(size)))


def _lut_file(name: str, tag: int, descriptor: tuple[int, ...], data: bytes) -> bytes:
    table = element(0x00283002, b"US", struct.pack("<3H", *descriptor)) + element(0x00283006, b"OW", data)
    return with_element(name, tag, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table)


def _truncated() -> None:
    # What is left may be nothing, a header, or a film without its end: never a reading.
    ends_as = BROKEN
    for syntax in WRITTEN_HERE:
        for tenth in range(10):
            name = f"{syntax.name} cut at {tenth} tenths"
            hostile(name, ends_as, partial(_cut, partial(in_syntax, name, syntax), tenth))
    samples = SHARED / "dicom-syntaxes"
    if samples.is_dir():
        for syntax in FROM_SAMPLES:
            for tenth in range(10):
                name = f"{syntax} cut at {tenth} tenths"
                hostile(name, ends_as, partial(_cut, partial(sampled, name, syntax, samples), tenth))


def _cut(make, tenth: int) -> bytes:
    whole = make()
    return whole[: len(whole) * tenth // 10]


def _kept() -> None:
    """Files of others that are known to harm readers."""
    if (SHARED / "dicom-malformed").is_dir():
        for path in sorted((SHARED / "dicom-malformed").iterdir()):
            hostile(f"malformed {path.name}", BROKEN | REFUSED, path.read_bytes)


for _part in (_claims, _fragments, _streams, _pipeline, _truncated, _kept):
    _part()
