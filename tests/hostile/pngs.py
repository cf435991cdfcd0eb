"""Hostile PNGs: bombs, chunks that lie, kinds of pixels that films do not have."""

import io
import struct
import zlib
from functools import partial

import numpy as np
from PIL import Image
from seeds import SIDE, chunk, film, png, png_of, stored
from table import BROKEN, HEADER_BROKEN, PIXELS_BROKEN, READ, REFUSED, hostile

from agcnn_clinic.domain import ReasonCode

CANARY = b"Kanarienvogel^Quetzalcoatl"


def header(width: int = SIDE, height: int = SIDE, bits: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """An IHDR chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))


def data(pixels: bytes | None = None) -> bytes:
    """An IDAT chunk: of the film, or of these filtered rows."""
    if pixels is None:
        pixels = b"".join(b"\0" + row.tobytes() for row in stored(8))
    return chunk(b"IDAT", zlib.compress(pixels))


END = chunk(b"IEND", b"")


def inflating(megabytes: int) -> bytes:
    """A zlib stream that inflates to so much."""
    deflater = zlib.compressobj(9)
    return b"".join([*(deflater.compress(bytes(2**20)) for _ in range(megabytes)), deflater.flush()])


def with_chunk(name: str, kind: bytes, content: bytes, *, after_data: bool = False) -> bytes:
    """The film with one chunk more, and a comment that makes each file another."""
    more = chunk(kind, content)
    marked = chunk(b"tEXt", b"Comment\0" + name.encode("latin-1", "replace"))
    return png_of(header(), marked, *([data(), more] if after_data else [more, data()]), END)


def of_pixels(pixels: np.ndarray, **options) -> bytes:
    """Other pixels as a PNG."""
    return png(pixels, **options)


def animated() -> bytes:
    """An animated PNG of two frames."""
    out = io.BytesIO()
    frames = [Image.fromarray(stored(8)), Image.fromarray(np.flipud(stored(8)))]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


def _sizes() -> None:
    for width, height in ((65_535, 65_535), (46_341, 46_341), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (0, 0), (0, 240)):
        ends_as = HEADER_BROKEN | PIXELS_BROKEN | {ReasonCode.TOO_LARGE, ReasonCode.TOO_SMALL}
        hostile(f"PNG of {width} x {height}", ends_as, partial(png_of, header(width, height), data(), END))
    hostile(
        "PNG of 2999 x 2999 zeros",
        {ReasonCode.BLANK},
        lambda: png_of(header(2999, 2999, 1), data(bytes(376 * 2999)), END),
    )
    hostile("PNG of 2999 x 2999 that ends at once", PIXELS_BROKEN, partial(png_of, header(2999, 2999), data(), END))
    hostile("PNG of 20000 x 20000 zeros", ReasonCode.TOO_LARGE, partial(png_of, header(20000, 20000), data(), END))
    hostile(
        "PNG with 500 MB too much in it",
        READ | PIXELS_BROKEN | {ReasonCode.BLANK},
        lambda: png_of(header(), chunk(b"IDAT", inflating(500)), END),
    )


def _chunks() -> None:
    bomb = inflating(200)
    ends = READ | HEADER_BROKEN | PIXELS_BROKEN
    for what, kind, content in (
        ("zTXt of 200 MB", b"zTXt", b"Comment\0\0" + bomb),
        ("iTXt of 200 MB", b"iTXt", b"Comment\0\1\0\0\0" + bomb),
        ("iCCP of 200 MB", b"iCCP", b"icc\0\0" + bomb),
        ("tEXt of 8 MB", b"tEXt", b"Comment\0" + b"x" * 8_000_000),
        ("tEXt with a name", b"tEXt", b"Author\0" + CANARY),
        ("tEXt without a key", b"tEXt", b""),
        ("iTXt cut off", b"iTXt", b"Comment\0\1"),
        ("zTXt of another method", b"zTXt", b"Comment\0\7abc"),
        ("iCCP that is none", b"iCCP", b"icc\0\0" + zlib.compress(b"no profile")),
        ("eXIf that is none", b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        ("pHYs cut off", b"pHYs", b"\0"),
        ("tRNS too long", b"tRNS", bytes(4000)),
        ("gAMA of 0", b"gAMA", bytes(4)),
        ("cHRM cut off", b"cHRM", b"\0"),
        ("PLTE of grey", b"PLTE", bytes(768)),
        ("PLTE of 2 bytes", b"PLTE", bytes(2)),
        ("acTL of 2^32 frames", b"acTL", b"\xff" * 8),
        ("acTL of no frames", b"acTL", bytes(8)),
        ("fcTL alone", b"fcTL", b"\xff" * 26),
        ("a critical chunk nobody knows", b"ABCD", b"x"),
        ("a chunk of nulls", b"\0\0\0\0", b"x"),
        ("a second IHDR", b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 16, 6, 0, 0, 0)),
    ):
        for after in (False, True):
            name = f"PNG with {what}{' after its data' if after else ''}"
            hostile(
                name,
                ends | {ReasonCode.MULTI_FRAME, ReasonCode.TOO_LARGE},
                partial(with_chunk, name, kind, content, after_data=after),
            )
    many = b"".join(chunk(b"tEXt", b"k%d\0v" % number) for number in range(50_000))
    hostile("PNG with 50,000 text chunks", ends, partial(png_of, header(), many, data(), END))
    for what, pieces in {
        "nothing but its signature": (),
        "no IHDR": (data(), END),
        "no IDAT": (header(), END),
        "no IEND": (header(), data()),
        "IHDR cut off": (chunk(b"IHDR", b"\0\0\0\xf0"),),
        "IHDR of length 2^32": (chunk(b"IHDR", b"", length=0xFFFFFFFF),),
        "IDAT of length 2^31": (header(), chunk(b"IDAT", zlib.compress(bytes(500)), length=2**31 - 1)),
        "IDAT of no length": (header(), chunk(b"IDAT", b""), END),
        "wrong checksum of IHDR": (b"".join([header()[:-4], b"\0\0\0\0"]), data(), END),
        "wrong checksum of IDAT": (header(), data()[:-4] + b"\0\0\0\0", END),
        "wrong checksum of IEND": (header(), data(), END[:-4] + b"\0\0\0\0"),
        "wrong sum of its stream": (header(), chunk(b"IDAT", zlib.compress(bytes(241 * 240))[:-4] + b"\0\0\0\0"), END),
        "noise for data": (header(), chunk(b"IDAT", bytes(range(256)) * 50), END),
        "rows that end early": (header(), data(bytes(1000)), END),
        "a filter nobody knows": (header(), data(b"\x09".ljust(241, b"x") * 240), END),
        "a depth of 3": (header(bits=3), data(), END),
        "a colour type of 5": (header(colour=5), data(), END),
        "16 bit cut off": (header(bits=16), data(), END),
        "an interlace of 7": (header(interlace=7), data(), END),
        "interlaced but not": (header(interlace=1), data(), END),
        "another compression": (chunk(b"IHDR", struct.pack(">IIBBBBB", 240, 240, 8, 0, 9, 9, 0)), data(), END),
        "palette without a palette": (header(colour=3), data(), END),
        "colour type 2, too short": (header(colour=2), data(), END),
        "a ZIP behind it": (header(), data(), END, b"PK\3\4" + bytes(500)),
    }.items():
        hostile(f"PNG: {what}", ends | REFUSED, partial(png_of, *pieces))


def _kinds() -> None:
    grey = stored(8)
    colour = np.stack([grey, np.flipud(grey), np.fliplr(grey)], axis=2)
    for what, ends_as, make in (
        ("16 bit", READ, partial(of_pixels, (film() * 65535).astype(np.uint16))),
        ("RGB of grey", READ, partial(of_pixels, np.stack([grey] * 3, axis=2))),
        ("RGBA of grey", READ, partial(of_pixels, np.stack([grey] * 4, axis=2))),
        ("RGB", {ReasonCode.COLOUR}, partial(of_pixels, colour)),
        ("1 bit", REFUSED, lambda: png_of(header(bits=1), data(bytes(31 * 240)), END)),
        ("wholly transparent", REFUSED, partial(of_pixels, np.dstack([grey] * 3 + [np.zeros_like(grey)]))),
        ("animated", {ReasonCode.MULTI_FRAME}, animated),
    ):
        hostile(f"PNG {what}", ends_as, make)


def _truncated() -> None:
    whole = png()
    for tenth in range(10):
        hostile(f"PNG cut at {tenth} tenths", BROKEN, partial(whole.__getitem__, slice(0, len(whole) * tenth // 10)))


for _part in (_sizes, _chunks, _kinds, _truncated):
    _part()
