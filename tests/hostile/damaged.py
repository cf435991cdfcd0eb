"""How often damage to a lossless JPEG is told, by the clinic and by pylibjpeg: `python tests/hostile/damaged.py`."""

import random
from collections import Counter
from collections.abc import Callable

import libjpeg
import numpy as np
from imagecodecs import jpeg8_encode

from agcnn_clinic.dicom.decode import _lossless_jpeg

STREAMS = 1500
HEADER_BYTES = 700
"""What is left alone: a broken header is told by everyone."""


def smooth() -> bytes:
    """A stream of 300 x 280 pixels of 12 bits: waves with a little noise."""
    rows, columns = np.mgrid[0:300, 0:280]
    noise = np.random.default_rng(0).integers(0, 8, rows.shape)
    pixels = ((np.sin(columns / 40) + np.cos(rows / 30) + 2) * 900 + noise).astype(np.uint16)
    return bytes(jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12))


def damaged(sound: bytes, number: int, chance: random.Random) -> bytes:
    """A bit flipped, 50 bytes replaced, or up to 3,000 cut out, in turn."""
    data = bytearray(sound)
    place = chance.randrange(HEADER_BYTES, len(data) - 100)
    if number % 3 == 0:
        data[place] ^= 1 << chance.randrange(8)
    elif number % 3 == 1:
        data[place : place + 50] = chance.randbytes(50)
    else:
        del data[place : place + chance.randrange(1, 3000)]
    return bytes(data)


def tells(decode: Callable[[bytes], object], stream: bytes) -> bool:
    """Whether decoding it fails."""
    try:
        decode(stream)
    except Exception:  # noqa: BLE001 (of any class)
        return True
    return False


def by_the_clinic(stream: bytes) -> object:
    """As `decode.stored_values` goes about it."""
    values = _lossless_jpeg(stream)
    return libjpeg.decode(stream) if values is None else values


if __name__ == "__main__":
    chance, sound = random.Random(3), smooth()
    told: Counter[str] = Counter()
    for number in range(STREAMS):
        stream = damaged(sound, number, chance)
        for name, decode in (("the clinic", by_the_clinic), ("pylibjpeg", libjpeg.decode)):
            told[name] += tells(decode, stream)
    for name, count in told.items():
        print(f"{name}: {count} of {STREAMS}")  # noqa: T201
