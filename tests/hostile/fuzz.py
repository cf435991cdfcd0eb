"""Sound files with a few bytes changed, by the thousand: `make fuzz MINUTES=5`, or `python tests/hostile/fuzz.py`.

A seed and a number make a file, so that every finding can be made again: `--seed SEED --again NUMBER FILE` writes it.
A finding is what is no outcome of a file: an error of another class, a crash, a loop, or memory beyond the limit.
"""

import argparse
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pngs
from headers import ITEM, element
from pixels import SHARED
from probe import survey
from pydicom import uid as uids
from seeds import FROM_SAMPLES, WRITTEN_HERE, body, chunk, chunks, dataset, file_meta, in_syntax, png, sampled, wrapped

from agcnn_clinic.analysis.normalise import PRELOAD
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ClinicError, ImageError
from agcnn_clinic.sandbox.pool import Sandbox

STEP = 5
"""The seeds are films of 48 x 48 pixels: most of a file is what can be broken."""
MIN_SIDE = 1
BATCH = 40
MEMORY_MB = 2048
"""The largest picture that is read, of 64 megapixels, takes 1.4 GB as a PNG with transparency."""
SECONDS = 30.0
INTERESTING = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
)


@dataclass
class Result:
    """What a run saw."""

    executions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, int] = field(default_factory=dict)
    """What escaped, and the number of the first file that did it."""
    peak_mb: float = 0.0


def _rich() -> bytes:
    """A film with what the gate and the pipeline look at: sequences, tables, spacing."""
    made = dataset("rich", step=STEP)
    made.PixelSpacing, made.PixelAspectRatio, made.ImagerPixelSpacing = [0.2, 0.1], [1, 1], [0.2, 0.1]
    made.PixelPaddingValue, made.RescaleSlope, made.RescaleIntercept = 0, 1, 0
    item = element(0x00283002, b"US", struct.pack("<3H", 256, 0, 12)) + element(0x00283006, b"OW", bytes(512))
    table = element(0x00283010, b"SQ", ITEM + struct.pack("<I", len(item)) + item)
    return wrapped(body(made, raw=table, before=0x00283010), file_meta(made, uids.ExplicitVRLittleEndian))


@cache
def sound_files() -> tuple[bytes, ...]:
    """The seeds: each syntax, a header full of what is looked at, PNGs of all kinds."""
    grey = np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1))
    made = [in_syntax("fuzz", syntax, STEP) for syntax in WRITTEN_HERE]
    made += [_rich(), _rich()]
    made += [png(grey), png((grey * 200).astype(np.uint16)), png(np.dstack([grey] * 3)), png(np.dstack([grey] * 4))]
    made += [pngs.png_of(pngs.header(48, 48, interlace=1), pngs.data(bytes(3000)), pngs.END), pngs.animated()]
    if (SHARED / "dicom-syntaxes").is_dir():
        made += [sampled("fuzz", syntax, SHARED / "dicom-syntaxes") for syntax in FROM_SAMPLES]
    return tuple(made)


def _flip(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice((1, 2, 6))):
        data[_place(chance, data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256)))


def _number(chance: random.Random, data: bytearray) -> None:
    """Overwrite what may be a length, a count or a size, in either byte order."""
    form = chance.choice(("<H", ">H", "<I", ">I"))
    value = chance.choice(INTERESTING) % (1 << 8 * struct.calcsize(form))
    place = _place(chance, data) & ~1
    data[place : place + struct.calcsize(form)] = struct.pack(form, value)


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[_place(chance, data) :]


def _remove(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    del data[place : place + chance.choice((1, 2, 4, 8, 100))]


def _repeat(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    piece = data[place : place + chance.choice((1, 2, 8, 64, 500))]
    data[place:place] = piece * chance.choice((1, 2, 50))


def _splice(chance: random.Random, data: bytearray) -> None:
    other = chance.choice(sound_files())
    place, there = _place(chance, data), chance.randrange(len(other))
    data[place : place + chance.choice((0, 20, 300))] = other[there : there + chance.choice((4, 40, 400, 4000))]


def _chunks(chance: random.Random, data: bytearray) -> None:
    """Change what is in a PNG's chunks, with checksums that are right."""
    if not data.startswith(b"\x89PNG"):
        return _number(chance, data)
    pieces = []
    for kind, content in chunks(bytes(data)):
        changed = bytearray(content)
        if changed and chance.random() < 0.4:
            chance.choice((_flip, _set, _number, _cut))(chance, changed)
        pieces += [chunk(kind, bytes(changed))] * chance.choice((1, 1, 1, 1, 0, 2))
    chance.shuffle(pieces) if chance.random() < 0.1 else None
    data[:] = pngs.png_of(*pieces)
    return None


MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _set, _number, _number, _number, _cut, _remove, _repeat, _splice, _chunks),
)


def _place(chance: random.Random, data: bytearray) -> int:
    """Somewhere: as often among the first kilobyte as in all the rest, where the pixels are."""
    return chance.randrange(max(1, min(len(data), chance.choice((200, 1200, len(data))))))


def made(seed: int, number: int) -> bytes:
    """The file of a seed and a number."""
    chance = random.Random(f"{seed} {number}")
    data = bytearray(chance.choice(sound_files()))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        if data:
            chance.choice(MUTATIONS)(chance, data)
    return bytes(data)


def fuzz(seconds: float, seed: int, folder: Path, most: int = sys.maxsize) -> Result:
    """Read mutated files for so long, or so many of them, in child processes.

    Args:
        seconds: how long.
        seed: what the files follow from.
        folder: where they may be written.
        most: the number of files after which to end.
    """
    result, until = Result(), time.monotonic() + seconds
    with Sandbox(1, SECONDS, MEMORY_MB, PRELOAD) as sandbox:
        while time.monotonic() < until and result.executions < most:
            numbers = range(result.executions, min(result.executions + BATCH, most))
            paths = [folder / f"{number % BATCH}" for number in numbers]
            for path, number in zip(paths, numbers, strict=True):
                path.write_bytes(made(seed, number))
            for number, (end, peak) in zip(numbers, _ends(sandbox, paths), strict=True):
                result.outcomes[end] += 1
                result.peak_mb = max(result.peak_mb, peak)
                if end.startswith("!") or end in (ReasonCode.CRASHED, ReasonCode.DEADLINE, ReasonCode.MEMORY):
                    result.findings.setdefault(end, number)
            result.executions += len(numbers)
    return result


def _ends(
    sandbox: Sandbox, paths: list[Path], look: Callable[[list[str], int], list[tuple[str, float]]] = survey
) -> list[tuple[str, float]]:
    """How each file ended; where a child does not survive a batch, one by one."""
    try:
        return sandbox.run(look, [str(path) for path in paths], MIN_SIDE)
    except ImageError as error:
        if len(paths) == 1:
            return [(f"!{error.code}: {error.detail}", 0.0)]
    except ClinicError as error:
        return [(f"!{type(error).__name__}", 0.0)] * len(paths)
    return [_ends(sandbox, [path], look)[0] for path in paths]


def main() -> int:
    """Run, and print what was seen; exit status 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--again", nargs=2, metavar=("NUMBER", "FILE"), help="write one file of the seed")
    arguments = parser.parse_args()
    if arguments.again:
        Path(arguments.again[1]).write_bytes(made(arguments.seed, int(arguments.again[0])))
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        result = fuzz(arguments.minutes * 60, arguments.seed, Path(folder))
    lines = [f"{end:22} {count:8}" for end, count in result.outcomes.most_common()]
    lines += [f"{result.executions} files, seed {arguments.seed}, most memory of a child {result.peak_mb:.0f} MB"]
    again = f"python tests/hostile/fuzz.py --seed {arguments.seed} --again"
    lines += [f"FOUND {what}: {again} {number} FILE" for what, number in result.findings.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
