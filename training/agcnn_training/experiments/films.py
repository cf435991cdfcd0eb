"""Figures of films: what the network attends to and says (Fig. 7), and how the region shrinks as tau grows (Fig. 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.special import expit

from agcnn_models import attention
from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_models.preprocessing import centre, resized
from agcnn_models.settings import Preprocessing
from agcnn_training.data.pictures import ImageLoader
from agcnn_training.data.source import Dataset
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.colours import BLUE
from agcnn_training.evaluation.localisation import lesion_edges, lesions_on
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.experiments.style import GREY, PALE, new_figure

_TOP: Final = 10
_BOX: Final = "#FFD400"  # bright on a dark film
_DRAWN: Final = "#56E0FF"


@dataclass(frozen=True)
class ShownFilm:
    """One film as the network sees it.

    Attributes:
        name: of the image.
        picture: float32 [S, S] in [0, 1].
        lesions: float64 [M, 4], what a radiologist drew: x_min, y_min, x_max, y_max in pixels of the picture.
    """

    name: str
    picture: NDArray[np.float32]
    lesions: NDArray[np.float64]


def choose_films(predictions: Predictions, count: int) -> tuple[str, ...]:
    """Draw films that bear a pathology, one a patient, the same each time; what the network says plays no part.

    Fewer than ``count`` when there are not as many.
    """
    bears = np.nansum(predictions.truth[:, : len(PATHOLOGIES)], axis=1) > 0
    films: dict[str, str] = {}
    for index in np.random.default_rng(0).permutation(np.flatnonzero(bears)):
        films.setdefault(predictions.patients[index], predictions.images[index])
    return tuple(sorted(list(films.values())[:count]))


def show_films(
    dataset: Dataset, names: Sequence[str], loader: ImageLoader, preprocessing: Preprocessing
) -> tuple[ShownFilm, ...]:
    """Read films as the network sees them.

    Raises:
        TrainingError: a film is not among the data, or cannot be read.
    """
    places = {row.image: path for row, path in zip(dataset.rows, dataset.paths, strict=True)}
    if missing := [name for name in names if name not in places]:
        raise TrainingError(f"{missing[0]} is not among the data: give the --data that the runs were trained on.")
    return tuple(
        ShownFilm(
            name=name,
            picture=centre(resized(loader(places[name]), preprocessing), preprocessing)[0].numpy(),
            lesions=lesion_edges(lesions_on([name], dataset.boxes), preprocessing),
        )
        for name in names
    )


def top_ten(title: str, films: Sequence[ShownFilm], predictions: Predictions) -> Figure:
    """Fig. 7: each film with its heat map and its region, above the ten labels that the network finds likeliest.

    A film's true labels are marked. Labels that the network never learnt, whose truth is not judged, are left out.
    """
    judged = np.flatnonzero(~np.isnan(predictions.truth).all(axis=0))
    figure = new_figure(2.15 * len(films) + 0.3, 5.4)
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(2, len(films), height_ratios=(1, 1.25))
    for column, film in enumerate(films):
        place = predictions.images.index(film.name)
        axes = figure.add_subplot(grid[0, column])
        _draw_film(axes, film)
        axes.set_title(film.name, fontsize=7)
        if predictions.heat_maps is not None and predictions.boxes is not None:
            _draw_attention(axes, predictions.heat_maps[place], predictions.boxes[place], predictions.size)
        for lesion in film.lesions:
            _draw_lesion(axes, lesion)
        _draw_labels(
            figure.add_subplot(grid[1, column]),
            expit(predictions.logits[predictions.headline][place].astype(np.float64)),
            predictions.truth[place],
            judged,
        )
    words = "blue, with a dot: true labels; yellow: attended region"
    drawn = "; dashed: drawn by a radiologist" if any(len(film.lesions) for film in films) else ""
    figure.supxlabel(f"probability of the ten likeliest labels ({words}{drawn})", fontsize=8.5)
    return figure


def regions(title: str, films: Sequence[ShownFilm], sweep: Mapping[float, Predictions]) -> Figure:
    """Fig. 8, beside its curve: for each tau the attended region, and below it the crop that the local branch sees."""
    figure = new_figure(1.12 * len(sweep) + 0.4, 2.3 * len(films) + 0.5)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(2 * len(films), len(sweep), squeeze=False)
    for row, film in enumerate(films):
        for column, (tau, predictions) in enumerate(sweep.items()):
            place = predictions.images.index(film.name)
            above, below = grid[2 * row, column], grid[2 * row + 1, column]
            _draw_film(above, film)
            if predictions.heat_maps is not None and predictions.boxes is not None:
                _draw_attention(above, predictions.heat_maps[place], predictions.boxes[place], predictions.size)
                _draw_picture(below, _crop(film.picture, predictions.boxes[place]))
            for lesion in film.lesions:
                _draw_lesion(above, lesion)
            if row == 0:
                above.set_title(f"tau {tau:g}")
        grid[2 * row, 0].set_ylabel("region", fontsize=8)
        grid[2 * row + 1, 0].set_ylabel("crop", fontsize=8)
    return figure


def _crop(picture: NDArray[np.float32], box: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the local branch sees of a picture [S, S], as the network itself cuts it."""
    image = torch.from_numpy(picture)[None, None]
    cut: NDArray[np.float32] = attention.crop(image, torch.from_numpy(box)[None], picture.shape[-1])[0, 0].numpy()
    return cut


def _draw_picture(axes: Axes, picture: NDArray[np.float32]) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_film(axes: Axes, film: ShownFilm) -> None:
    _draw_picture(axes, film.picture)
    side = film.picture.shape[0]
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_ylim(side - 0.5, -0.5)


def _draw_attention(axes: Axes, heat: NDArray[np.float16], box: NDArray[np.int64], size: int) -> None:
    """The heat map as a veil that thickens with the heat, and the region around its hottest part."""
    fine = attention.upsample(torch.from_numpy(heat.astype(np.float32))[None], size)[0].numpy()
    axes.imshow(fine, cmap="inferno", vmin=0, vmax=1, alpha=0.55 * fine.clip(0, 1))
    x_min, y_min, x_max, y_max = (int(edge) for edge in box)
    corner, width, height = (x_min - 0.5, y_min - 0.5), x_max - x_min + 1, y_max - y_min + 1
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=_BOX, linewidth=1.4))


def _draw_lesion(axes: Axes, edges: NDArray[np.float64]) -> None:
    x_min, y_min, x_max, y_max = edges
    axes.add_patch(
        Rectangle(
            (x_min - 0.5, y_min - 0.5), x_max - x_min, y_max - y_min,
            fill=False, edgecolor=_DRAWN, linewidth=1.2, linestyle="--",
        )
    )  # fmt: skip


def _draw_labels(
    axes: Axes, probabilities: NDArray[np.float64], truth: NDArray[np.float32], judged: NDArray[np.int64]
) -> None:
    """The likeliest of the judged labels as bars, each with its name and its probability on it."""
    order = np.argsort(-probabilities[judged], kind="stable")[:_TOP]
    for line, label in enumerate(judged[order]):
        true = truth[label] > 0.5
        axes.barh(line, probabilities[label], height=0.82, color=BLUE if true else PALE, alpha=0.45 if true else 1)
        colour, weight = (BLUE, "bold") if true else (GREY, "normal")
        name = ("\N{BLACK CIRCLE} " if true else "") + display_name(LABELS[label])
        axes.text(0.02, line, name, ha="left", va="center", fontsize=7, color=colour, fontweight=weight)
        said = f"{probabilities[label]:.3f}"
        axes.text(1.0, line, said, ha="right", va="center", fontsize=7, color=colour, fontweight=weight)
    axes.set_xlim(0, 1)
    axes.set_ylim(_TOP - 0.5, -0.5)
    axes.set_axis_off()
