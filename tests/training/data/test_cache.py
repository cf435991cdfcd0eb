"""The film cache: what is in it is what serving sees, and no interruption costs more than a block of films."""

import io
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from agcnn_models.preprocessing import resized
from agcnn_models.settings import Preprocessing
from agcnn_training.data import cache as cache_module
from agcnn_training.data.cache import fits_in_memory, read_pixels
from agcnn_training.data.pictures import Loading, read_picture
from agcnn_training.data.squares import squashed
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.progress import Journal, StopRequest

SMALL = Preprocessing(resize=40, crop=32)
Drawer = Callable[[Path, int], None]
GOLDEN = [[16, 96, 177, 124], [130, 210, 34, 114], [195, 70, 150, 230], [104, 183, 84, 88]]


class CountingLoader:
    """Reads films and remembers which."""

    def __init__(self, after: Callable[[int], None] = lambda _: None) -> None:
        self.read: list[str] = []
        self._after = after

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """Read one film."""
        self.read.append(path.name)
        self._after(len(self.read))
        return read_picture(path)


@pytest.fixture
def paths(tmp_path: Path, draw: Drawer) -> list[Path]:
    """Eight small films."""
    for index in range(8):
        draw(tmp_path / "films" / f"{index}.png", index)
    return sorted((tmp_path / "films").iterdir())


def cached(paths: Sequence[Path], loader: Callable = read_picture, **options) -> torch.Tensor:
    """Read through the cache that lies beside the films."""
    loading = Loading(loader, workers=2, cache=paths[0].parent.parent / "cache", **options)
    return read_pixels(paths, SMALL, loading)


def test_cached_films_are_what_is_read_without_a_cache(paths: list[Path]) -> None:
    """Pixel for pixel, in the order that was asked for, and no warning on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = cached(paths[::-1])
    assert torch.equal(stored, read_pixels(paths[::-1], SMALL, Loading()))
    assert stored.shape == (8, 1, 40, 40)
    assert stored.dtype == torch.uint8


@settings(max_examples=20)
@given(st.integers(5, 90), st.integers(5, 90), st.integers(0, 99))
def test_a_stored_film_is_serving_to_half_a_grey_level(height: int, width: int, seed: int) -> None:
    """Whatever the film's shape, the stored value is the nearest of 256 to what ``resized`` gives."""
    picture = np.random.default_rng(seed).random((height, width), np.float32)
    stored = squashed(Path("film"), lambda _: picture, SMALL)
    served = resized(picture, SMALL)[0].numpy()
    assert np.abs(stored / 255 - served).max() <= 0.5 / 255 + 1e-6


def test_the_version_stands_for_these_pixels() -> None:
    """Where this fails, squashing has changed: raise ``_VERSION`` and write the new values here."""
    picture = (np.indices((53, 37)).sum(axis=0) * 7 % 256 / 255).astype(np.float32)
    stored = squashed(Path("film"), lambda _: picture, Preprocessing(resize=16, crop=16))
    assert cache_module._VERSION == 2
    assert stored[::5, ::5].tolist() == GOLDEN


def test_a_whole_cache_is_not_read_again(paths: list[Path]) -> None:
    """The second run opens no film."""
    loader = CountingLoader()
    first = cached(paths, loader)
    loader.read.clear()
    assert torch.equal(cached(paths, loader), first)
    assert loader.read == []


def test_only_a_changed_film_is_read_again(paths: list[Path], draw: Drawer) -> None:
    """A film that is exchanged, even for one of the same size, takes its own place anew, and a sentence says so."""
    loader = CountingLoader()
    cached(paths, loader)
    loader.read.clear()
    draw(paths[3], 100)
    os.utime(paths[3], ns=(1, 1))
    output = io.StringIO()
    stored = cached(paths, loader, journal=Journal(Console(file=output)))
    assert loader.read == [paths[3].name]
    assert "1 of 8 films are not in the cache as they are now" in output.getvalue()
    assert torch.equal(stored, read_pixels(paths, SMALL, Loading()))


def test_another_list_is_another_cache(paths: list[Path]) -> None:
    """Fewer films, or another size, leave the first cache whole."""
    loader = CountingLoader()
    whole = cached(paths, loader)
    assert torch.equal(cached(paths[2:], loader), whole[2:])
    larger = Preprocessing(resize=48, crop=40)
    assert read_pixels(paths, larger, Loading(loader, cache=paths[0].parent.parent / "cache")).shape[-1] == 48
    loader.read.clear()
    assert torch.equal(cached(paths, loader), whole)
    assert loader.read == []


@pytest.mark.parametrize("name", ["pixels.u8", "journal.i64", "cache.json"])
@pytest.mark.parametrize("content", [None, b"x"])
def test_a_damaged_cache_is_made_anew(paths: list[Path], name: str, content: bytes | None) -> None:
    """Whichever of its files is lost or cut: all films are read again, said in a sentence, never trusted."""
    whole = cached(paths).clone()
    (file,) = (paths[0].parent.parent / "cache").rglob(name)
    file.unlink() if content is None else file.write_bytes(content)
    output = io.StringIO()
    assert torch.equal(cached(paths, journal=Journal(Console(file=output))), whole)
    assert "is made anew" in output.getvalue()


KILLED = """
import os, signal, sys
from pathlib import Path
from agcnn_models.settings import Preprocessing
from agcnn_training.data import cache
from agcnn_training.data.pictures import Loading, read_picture

cache._BLOCK = 3
count = 0

def load(path):
    global count
    count += 1
    if count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_picture(path)

paths = sorted(Path(sys.argv[1]).iterdir())
cache.read_pixels(paths, Preprocessing(resize=40, crop=32), Loading(load, workers=1, cache=Path(sys.argv[2])))
"""


def test_a_killed_run_goes_on(paths: list[Path]) -> None:
    """SIGKILL at the eighth film: the two blocks of three that were noted are not read again."""
    folder = paths[0].parent
    done = subprocess.run([sys.executable, "-c", KILLED, folder, folder.parent / "cache"], check=False)
    assert done.returncode == -signal.SIGKILL
    loader = CountingLoader()
    # A cache belongs to its loader, by name.
    loader.__module__, loader.__qualname__ = "__main__", "load"
    stored = cached(paths, loader)
    assert sorted(loader.read) == [path.name for path in paths[6:]]
    assert torch.equal(stored, read_pixels(paths, SMALL, Loading()))


def test_a_stopped_run_goes_on(paths: list[Path]) -> None:
    """Ctrl-C while films are read ends in a sentence, and what was read is kept."""
    stop = StopRequest()

    def ask(count: int) -> None:
        stop.made = count >= 3

    with pytest.raises(TrainingStopped, match="--resume"):
        read_pixels(paths, SMALL, Loading(CountingLoader(ask), 1, paths[0].parent.parent / "cache", stop=stop))
    loader = CountingLoader()
    cached(paths, loader)
    assert 1 <= len(loader.read) < 8


def test_all_unreadable_films_are_named_and_the_others_kept(paths: list[Path]) -> None:
    """A missing, an empty and a cut film are in one error; after they are mended only they are read."""
    whole = cached(paths).clone()
    contents = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[2].write_bytes(b"")
    paths[5].write_bytes(contents[5][:-300])
    with pytest.raises(TrainingError, match=r"(?s)3 of 8 films.*0\.png is missing.*2\.png.*5\.png") as caught:
        cached(paths)
    assert "more" not in str(caught.value)
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert torch.equal(cached(paths), whole)


def test_of_many_unreadable_films_ten_are_named(tmp_path: Path) -> None:
    """Twelve missing films are counted, not listed."""
    with pytest.raises(TrainingError, match=r"(?s)12 of 12 films cannot be read:.*and 2 more"):
        read_pixels([tmp_path / f"{index:02d}.png" for index in range(12)], SMALL, Loading())


def test_a_full_disk_is_known_before_reading(paths: list[Path]) -> None:
    """Where the disk has no room for the cache no film is read, and the sentence says what to do."""
    loader = CountingLoader()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))  # the kernel refuses what goes beyond
    try:
        with pytest.raises(TrainingError, match="free disk space, or name another folder with --cache"):
            cached(paths, loader)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert loader.read == []
    cached(paths, loader)
    assert len(loader.read) == 8


def test_too_small_a_disk_is_measured(tmp_path: Path) -> None:
    """A cache larger than what is free says both sizes; nothing is written."""
    states = np.broadcast_to(np.zeros(2, np.int64), (32_000_000_000, 2))
    with pytest.raises(TrainingError, match=r"needs 51200\.00 GB and .* GB free"):
        cache_module.FilmCache(tmp_path / "films", states, 40)._make({})
    assert list(tmp_path.iterdir()) == []


def test_processes_read_what_threads_read(tmp_path: Path, draw: Drawer) -> None:
    """Many files whose decoders may hold the interpreter lock are read by processes, to the same pixels."""
    draw(tmp_path / "film.png", 0)
    names = [tmp_path / f"{index}.dcm" for index in range(200)]  # named so, but read as what they are
    for index, path in enumerate(names):
        draw(tmp_path / "film.png", index % 3)
        path.write_bytes((tmp_path / "film.png").read_bytes())
    apart = read_pixels(names, SMALL, Loading(workers=2))
    assert torch.equal(apart[:3], read_pixels(names[:3], SMALL, Loading(workers=1)))
    assert torch.equal(apart, apart[torch.arange(200) % 3])


def test_small_tables_stay_in_memory() -> None:
    """The 2,889 films that come for testing do; all of ChestX-ray14 does not."""
    paper = Preprocessing(resize=256, crop=224)
    assert fits_in_memory(2_889, paper)
    assert not fits_in_memory(112_120, paper)
