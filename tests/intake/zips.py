"""Zips for tests of intake: sound ones, and ones that no program would write."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.intake.disk import Watermark
from agcnn_clinic.intake.inbox import Inbox

DONE = ("unpacked", "unpacked")


def png_bytes(seed: int, side: int = 32) -> bytes:
    """A small grey PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name or ZipInfo, content) pairs."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return data.getvalue()


def drop(desk, content: bytes, name: str = "export.zip"):
    path = desk.config.inbox / name
    path.write_bytes(content)
    return path


def limited(desk, **limits) -> Inbox:
    """An inbox with other limits of [zip]."""
    config = desk.config.model_copy(update={"zip": desk.config.zip.model_copy(update=limits)})
    return Inbox(config, desk.intake, Watermark({}, 0))


def row(desk, name: str = "export.zip") -> ReceivedFile:
    return next(one for one in desk.rows() if one.original_name == name)


def row_count(desk) -> int:
    return len(desk.rows())


def stored(name: bytes, content: bytes, *, flags: int = 0, method: int = 0, declared=None, crc=None, packed=None):
    """A local header with its bytes, and the entry of the directory without its offset."""
    packed = content if packed is None else packed
    size = len(content) if declared is None else declared
    crc = zlib.crc32(content) if crc is None else crc
    fields = struct.pack("<HHHHHLLL", 20, flags, method, 0, 0x21, crc, len(packed), size)
    local = b"PK\x03\x04" + fields + struct.pack("<HH", len(name), 0) + name + packed
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHL", len(name), 0, 0, 0, 0, 0)
    return local, entry, name


def by_hand(*members, offsets=None, head: bytes = b"") -> bytes:
    """A zip of `stored` members; `offsets` lie about where they are."""
    body, entries = head, b""
    for number, (local, entry, name) in enumerate(members):
        at = len(body) if offsets is None else offsets[number]
        entries += entry + struct.pack("<L", at) + name
        body += local
    end = struct.pack("<HHHHLLH", 0, 0, len(members), len(members), len(entries), len(body), 0)
    return body + entries + b"PK\x05\x06" + end


IMAGE = png_bytes(7)
