"""Lesions that radiologists drew, on the films of a set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agcnn_training.data.boxes import LesionBox
from agcnn_training.data.names import film_key


@dataclass(frozen=True)
class Lesions:
    """M lesions.

    Attributes:
        film: int64 [M], on which film of the set each lies.
        labels: the finding of each.
        edges: float64 [M, 4], x_min, y_min, x_max, y_max as shares of the film's width and height.
    """

    film: NDArray[np.int64]
    labels: tuple[str, ...]
    edges: NDArray[np.float64]


def lesions_on(images: Sequence[str], boxes: Iterable[LesionBox]) -> Lesions:
    """The lesions on the films of a set, found by name without its ending: NIH's boxes say .png, copies may not."""
    index = {film_key(image): film for film, image in enumerate(images)}
    found = [(index[name], box) for box in boxes if (name := film_key(box.image)) in index]
    return Lesions(
        film=np.array([film for film, _ in found], dtype=np.int64),
        labels=tuple(box.label for _, box in found),
        edges=np.array(
            [(box.x, box.y, box.x + box.width, box.y + box.height) for _, box in found], dtype=np.float64
        ).reshape(-1, 4),
    )
