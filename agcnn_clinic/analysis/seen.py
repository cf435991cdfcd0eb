"""What the network sees of a picture: small, and made without torch, so that the process that decoded it can."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agcnn_clinic.domain import Picture
from agcnn_models.settings import Preprocessing
from agcnn_models.shrinking import centre_margin, square


@dataclass(frozen=True, eq=False)
class NetworkFilm:
    """All of a picture that the network sees.

    Attributes:
        grey: float32 [crop, crop] in [0, 1].
        height, width: of the picture, in pixels.
    """

    grey: NDArray[np.float32]
    height: int
    width: int

    def __post_init__(self) -> None:
        """Refuse what no network may be given; NaN is refused too. It may come from a process that a file took over."""
        grey = self.grey
        if grey.ndim != 2 or not grey.size or not (grey.min() >= 0 and grey.max() <= 1):
            raise ValueError("What the network sees is [crop, crop] in [0, 1].")
        if self.height < 1 or self.width < 1:
            raise ValueError("A picture has pixels.")

    def fits(self, preprocessing: Preprocessing) -> bool:
        """Whether it has the size that a model takes."""
        return self.grey.shape == (preprocessing.crop, preprocessing.crop)


def network_film(picture: Picture, preprocessing: Preprocessing) -> NetworkFilm:
    """Return what the network sees of a picture of any size, before it is standardised."""
    margin = centre_margin(preprocessing.resize, preprocessing.crop)
    middle = slice(margin, margin + preprocessing.crop)
    whole = square(picture.pixels, preprocessing.resize)
    return NetworkFilm(np.ascontiguousarray(whole[middle, middle]), *picture.pixels.shape)
