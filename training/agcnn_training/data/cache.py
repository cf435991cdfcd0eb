"""Films at the recipe's size in one memory-mapped file, read once and gone on with after any interruption.

A cache is a folder of three files. ``pixels.u8`` holds uint8 [N, R, R]. ``journal.i64`` holds for each film the size
and the time of change that its file had when its pixels were written; zeros before that. ``cache.json`` says of which
files, by which method. A film counts as cached while its line of the journal is true of its file, and that line is
written after the pixels have reached the disk. So a run that is killed, a film that is exchanged and a film that could
not be read end the same way: what the journal does not say is read, and nothing else. Two runs that fill one cache at
the same time write the same bytes.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agcnn_models.settings import Preprocessing
from agcnn_training.data.pictures import Loading
from agcnn_training.data.squares import read_each, squashed, unreadable
from agcnn_training.errors import TrainingError, TrainingStopped

Pixels = NDArray[np.uint8]

_VERSION: Final = 2
"""Raised whenever ``squashed`` gives other pixels, or none any more, so that caches made before are made again."""

_BLOCK: Final = 512
"""Films between two entries in the journal: the most that an interruption costs."""

_IN_MEMORY: Final = 2**29


def read_pixels(paths: Sequence[Path], preprocessing: Preprocessing, loading: Loading) -> Tensor:
    """Read films as serving squashes them, rounded to eight bits: uint8 [N, 1, resize, resize].

    With a cache only what it lacks is read, and the result is a read-only view of its file. Without one all films are
    read into memory.

    Raises:
        TrainingError: films are missing or cannot be read (all are counted, the first ten named; the others stay in
            the cache), or the cache cannot be written, or the disk has no room for it.
        TrainingStopped: someone asked to stop.
    """
    side = preprocessing.resize
    if loading.cache is None:
        pixels: Pixels = np.empty((len(paths), side, side), np.uint8)
        _read(paths, np.arange(len(paths)), pixels, lambda _: None, preprocessing, loading)
        return torch.from_numpy(pixels).unsqueeze(1)
    cache = FilmCache.open(loading.cache, paths, side, loading)
    lacking = cache.lacking()
    if len(lacking):
        if len(lacking) < len(paths):
            loading.journal.say(f"{len(lacking):,} of {len(paths):,} films are not in the cache as they are now.")
        _read(paths, lacking, cache.writable(), cache.keep, preprocessing, loading)
    return cache.tensor()


def fits_in_memory(films: int, preprocessing: Preprocessing) -> bool:
    """Whether so few films that reading them anew in each run is no matter: half a gigabyte, 8,192 at 256 pixels."""
    return films * preprocessing.resize**2 <= _IN_MEMORY


@dataclass(frozen=True)
class FilmCache:
    """The pixels of some films, and which of them are true.

    Attributes:
        folder: where the three files lie.
        states: int64 [N, 2]: the size and the time of change (ns) of each film's file now; zeros where it is missing.
        side: of a film, R.
    """

    folder: Path
    states: NDArray[np.int64]
    side: int

    @classmethod
    def open(cls, root: Path, paths: Sequence[Path], side: int, loading: Loading) -> Self:
        """Find the cache of these films in a folder of caches, or make an empty one.

        Raises:
            TrainingError: it cannot be written, or the disk has no room for it.
        """
        names = hashlib.sha256("\n".join(str(path.absolute()) for path in paths).encode()).hexdigest()
        loader = (
            f"{loading.loader.__module__}.{getattr(loading.loader, '__qualname__', type(loading.loader).__qualname__)}"
        )
        identity = {"version": _VERSION, "films": len(paths), "names_sha256": names, "side": side, "loader": loader}
        cache = cls(root / f"{side}px-{names[:16]}", np.array([_state(path) for path in paths]).reshape(-1, 2), side)
        try:
            if cache.folder.exists() and not cache._is_sound(identity):
                loading.journal.say(f"The film cache {cache.folder} is damaged or of another version: it is made anew.")
                shutil.rmtree(cache.folder)
            if not cache.folder.exists():
                cache._make(identity)
        except OSError as error:
            raise TrainingError(
                f"The film cache {cache.folder} cannot be made ({error.strerror or error}): free disk space, or name "
                "another folder with --cache."
            ) from error
        return cache

    def lacking(self) -> NDArray[np.int64]:
        """Indices of the films that have to be read."""
        journal = np.fromfile(self.folder / "journal.i64", np.int64).reshape(-1, 2)
        return np.flatnonzero((journal != self.states).any(axis=1) | (self.states == 0).all(axis=1))

    def writable(self) -> Pixels:
        """All pixels, to be written to: uint8 [N, R, R]."""
        return np.memmap(self.folder / "pixels.u8", np.uint8, "r+", shape=(len(self.states), self.side, self.side))

    def keep(self, written: Sequence[int]) -> None:
        """Note the films whose pixels have been written, once these are on the disk."""
        with (self.folder / "pixels.u8").open("r+b") as file:
            os.fsync(file.fileno())
        journal = np.memmap(self.folder / "journal.i64", np.int64, "r+", shape=self.states.shape)
        journal[written] = self.states[written]
        journal.flush()

    def tensor(self) -> Tensor:
        """All pixels, to be read: uint8 [N, 1, R, R]."""
        shape = (len(self.states), 1, self.side, self.side)
        pixels = np.memmap(self.folder / "pixels.u8", np.uint8, "r", shape=shape)
        with warnings.catch_warnings():
            # torch knows no read-only tensors and warns of what a write would do; nobody writes to films.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(pixels)

    def _make(self, identity: dict[str, object]) -> None:
        size = self.states.shape[0] * self.side**2
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder.parent).free
        if size > free:
            raise TrainingError(
                f"The film cache needs {size / 1e9:.2f} GB and {self.folder.parent} has {free / 1e9:.2f} GB free: make "
                "room, or name another folder with --cache."
            )
        self.folder.mkdir()
        _allocate(self.folder / "pixels.u8", size)
        _allocate(self.folder / "journal.i64", self.states.nbytes)
        # Last: without this file the folder counts for nothing.
        (self.folder / "cache.json").write_text(json.dumps(identity, indent=2), encoding="utf-8")

    def _is_sound(self, identity: dict[str, object]) -> bool:
        sizes = {"pixels.u8": self.states.shape[0] * self.side**2, "journal.i64": self.states.nbytes}
        try:
            found = json.loads((self.folder / "cache.json").read_text(encoding="utf-8"))
            return found == identity and all((self.folder / name).stat().st_size == sizes[name] for name in sizes)
        except (FileNotFoundError, ValueError):
            return False


def _read(
    paths: Sequence[Path],
    lacking: NDArray[np.int64],
    pixels: Pixels,
    keep: Callable[[Sequence[int]], None],
    preprocessing: Preprocessing,
    loading: Loading,
) -> None:
    """Read the films of these indices into their places, telling ``keep`` of them block by block."""
    films = [paths[index] for index in lacking]
    failures: list[str] = []
    fresh: list[int] = []
    with closing(read_each(films, squashed, preprocessing, loading, ahead=_BLOCK)) as outcomes:
        for index, outcome in zip(lacking.tolist(), outcomes, strict=True):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                pixels[index] = outcome
                fresh.append(index)
            if len(fresh) == _BLOCK or loading.stop.made:
                keep(fresh)
                fresh = []
            if loading.stop.made:
                raise TrainingStopped("Stopped while films were read: --resume goes on from there.")
    if fresh:
        keep(fresh)
    if failures:
        raise unreadable(failures, len(paths))


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _allocate(path: Path, size: int) -> None:
    """Make a file of zeros that has its place on the disk: a memory map of one that has not dies of a full disk."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
