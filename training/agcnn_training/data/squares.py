"""Films as squares, made side by side, ahead of whoever takes them: rounded for training, exact for measuring."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from agcnn_models.preprocessing import centre, resized
from agcnn_models.settings import Preprocessing
from agcnn_training.data.parallel import on_each
from agcnn_training.data.pictures import ImageLoader, Loading
from agcnn_training.errors import TrainingError

Value = TypeVar("Value", np.uint8, np.float32)

AHEAD: Final = 512
"""The most squares that are in memory at once: of 224 pixels as float32 some 100 MB."""

_NAMED: Final = 10
"""How many unreadable films an error names."""


def squashed(path: Path, loader: ImageLoader, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read one film as caches hold it: uint8 [resize, resize], within half a grey level of what serving sees."""
    square = resized(loader(path), preprocessing)[0].numpy()
    return np.asarray((square * 255).round().clip(0, 255).astype(np.uint8))


def exact(path: Path, loader: ImageLoader, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Read one film as serving sees it, before it is standardised: float32 [crop, crop] in [0, 1]."""
    square = centre(resized(loader(path), preprocessing), preprocessing)
    return np.ascontiguousarray(square[0].numpy())


def read_each(
    paths: Sequence[Path],
    make: Callable[[Path, ImageLoader, Preprocessing], NDArray[Value]],
    preprocessing: Preprocessing,
    loading: Loading,
    ahead: int = AHEAD,
) -> Generator[NDArray[Value] | str]:
    """The square that ``make`` makes of each film, in order; of a film that cannot be read the sentence that says why.

    At most ``ahead`` films are read before they are taken. Close it when it is not taken to its end.

    Raises:
        TrainingError: a process that reads films died.
    """
    work = partial(_attempt, make=make, loader=loading.loader, preprocessing=preprocessing)
    with closing(on_each(work, paths, loading.workers, ahead)) as squares:
        yield from loading.journal.steps(squares, len(paths), "reading films")


def unreadable(sentences: Sequence[str], films: int) -> TrainingError:
    """One error for all films that cannot be read; the first ten are named."""
    if len(sentences) == 1:
        return TrainingError(sentences[0])
    named = "\n".join(sentences[:_NAMED])
    more = f"\nand {len(sentences) - _NAMED:,} more" if len(sentences) > _NAMED else ""
    return TrainingError(f"{len(sentences):,} of {films:,} films cannot be read:\n{named}{more}")


def _attempt(
    path: Path,
    make: Callable[[Path, ImageLoader, Preprocessing], NDArray[Value]],
    loader: ImageLoader,
    preprocessing: Preprocessing,
) -> NDArray[Value] | str:
    try:
        return make(path, loader, preprocessing)
    except TrainingError as error:
        return str(error)
    except ValueError as error:
        return f"The image {path} cannot be used ({error}): replace it, or take its row out of the table."
