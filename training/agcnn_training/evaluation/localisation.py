"""Whether a network looks where radiologists drew a lesion: its attended region and its heat map against their boxes.

The attended region is one per film and knows no label, so each lesion of a film is compared with the same region. How
often a region of that size would hit by chance depends on both sizes; so each measure stands beside the same measure
of a random box, as large as the attended one, averaged over every place in the network's field of view.

All boxes are edges (x_min, y_min, x_max, y_max) in pixels of the network's input, where those of a lesion may lie
outside: the centre crop cuts off the film's margin, and what it loses counts as missed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from agcnn_models.attention import upsample
from agcnn_models.labels import PATHOLOGIES
from agcnn_models.preprocessing import box_to_source
from agcnn_models.settings import Preprocessing
from agcnn_training.data.boxes import LesionBox
from agcnn_training.data.names import film_key
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.bootstrap import Interval, PatientDraws, draw_patients, percentile_interval
from agcnn_training.evaluation.predictions import Predictions

CUTS: Final = (0.1, 0.25, 0.5)
"""The usual ones (Wang et al. 2017, Table 4)."""
ALL: Final = "all"
POINTING: Final = "pointing"

_AT_ONCE: Final = 64


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


@dataclass(frozen=True)
class Hit:
    """One measure over the lesions of one label.

    Attributes:
        label: one of the pathologies, or "all".
        measure: "iou" (mean intersection over union), "iou>=0.1" and so on (share of lesions at least so well
            covered), "iobb>=0.1" and so on (intersection over the attended region, the detected box of Wang et al.
            2017), or "pointing" (whether the heat map's maximum lies in the lesion's box, without tolerance).
        lesions: how many.
        patients: how many have them.
        value: of the network.
        control: of a random box as large as the attended one; for pointing, of a random point.
        interval: of the difference, by bootstrap over patients.
    """

    label: str
    measure: str
    lesions: int
    patients: int
    value: float
    control: float
    interval: Interval

    @property
    def difference(self) -> float:
        """How much the network exceeds its control."""
        return self.value - self.control


@dataclass(frozen=True)
class Localisation:
    """What was found on the lesions of a set of films.

    Attributes:
        hits: each measure of each label, and of all lesions together.
        lesions: how many lesions there are.
        films: on how many films.
        lost: how many lie wholly outside the network's field of view, so can only be missed.
        cut: how many lie partly outside.
        attended: the mean share of the field of view that the attended region covers.
    """

    hits: tuple[Hit, ...]
    lesions: int
    films: int
    lost: int
    cut: int
    attended: float


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


def judge_localisation(
    predictions: Predictions, lesions: Lesions, preprocessing: Preprocessing, seed: int
) -> Localisation:
    """Compare where a network looked with where the lesions are.

    Args:
        predictions: of films; with boxes and heat maps.
        lesions: on some of these films.
        preprocessing: of the network, which says how input pixels lie on the film.
        seed: of the draws of patients.

    Raises:
        TrainingError: there are no lesions on these films, or the network attends to nothing.
    """
    if predictions.boxes is None or predictions.heat_maps is None:
        raise TrainingError("This network attends to no region: localisation can be measured on an AG-CNN only.")
    if not len(lesions.film):
        raise TrainingError("None of the boxes lies on a film of this set: give the boxes of these films.")
    size = predictions.size
    drawn = lesion_edges(lesions, preprocessing)
    inclusive = predictions.boxes[lesions.film].astype(np.float64)
    attended = inclusive + np.array([0, 0, 1, 1])  # the edges of those pixels
    values = dict(_from_areas(intersection(attended, drawn), area(attended), area(drawn)))
    values[POINTING] = pointing(predictions.heat_maps[lesions.film], drawn, size)
    controls = random_box_measures(attended, drawn, size)
    visible = area(np.clip(drawn, 0, size))  # what of each lies in the field of view
    controls[POINTING] = visible / size**2
    return Localisation(
        hits=tuple(_hits(values, controls, lesions, np.asarray(predictions.patients, dtype=np.str_), seed)),
        lesions=len(drawn),
        films=len(np.unique(lesions.film)),
        lost=int(np.sum(visible <= 0)),
        cut=int(np.sum((visible > 0) & (visible < area(drawn) - 1e-6))),
        attended=float(np.mean(area(attended)) / size**2),
    )


def lesion_edges(lesions: Lesions, preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Lesions [M, 4] as shares of the film -> edges [M, 4] in input pixels, by undoing ``box_to_source``."""
    whole = (0, 0, preprocessing.crop - 1, preprocessing.crop - 1)
    field = box_to_source(whole, preprocessing, height=1, width=1)  # what the network sees, as shares of the film
    corner, side = np.array([field.x_min, field.y_min] * 2), field.x_max - field.x_min
    return np.asarray((lesions.edges - corner) / side * preprocessing.crop)


def area(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area of boxes: edges [..., 4] -> [...]; 0 for a box turned inside out."""
    across, down = edges[..., 2] - edges[..., 0], edges[..., 3] - edges[..., 1]
    return np.asarray(np.maximum(across, 0) * np.maximum(down, 0))


def intersection(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area that boxes share: edges [..., 4] twice -> [...]."""
    first, last = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    return area(np.concatenate((first, last), axis=-1))


def pointing(heat_maps: NDArray[np.float16], drawn: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Whether the maximum of each enlarged heat map lies in the lesion's box: [M, h, w] and [M, 4] -> [M].

    Where several pixels share the maximum, the share of them that lie inside: a flat map points everywhere.
    """
    centres = np.arange(size) + 0.5
    hits = []
    for first in range(0, len(drawn), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        heat = upsample(torch.from_numpy(heat_maps[part].astype(np.float32)), size).numpy()  # [m, size, size]
        highest = heat >= heat.max(axis=(1, 2), keepdims=True)
        x_min, y_min, x_max, y_max = (edge[:, None] for edge in drawn[part].T)
        columns, rows = (centres >= x_min) & (centres < x_max), (centres >= y_min) & (centres < y_max)
        inside = np.einsum("mrc,mr,mc->m", highest, rows, columns, dtype=np.float64)
        hits.append(inside / highest.sum(axis=(1, 2)))
    return np.concatenate(hits)


def random_box_measures(
    attended: NDArray[np.float64], drawn: NDArray[np.float64], size: int
) -> dict[str, NDArray[np.float64]]:
    """What each measure would be on average if a box as large as the attended one lay anywhere in the field.

    Exact: the mean over every place at whole pixels, (size - width + 1) x (size - height + 1) of them.

    Args:
        attended: [M, 4] edges at whole pixels.
        drawn: [M, 4] edges of the lesions.
        size: the side of the field.

    Returns:
        By measure, [M].
    """
    each: list[dict[str, float]] = []
    for box, lesion in zip(attended, drawn, strict=True):
        across, down = (
            _overlaps(int(box[axis + 2] - box[axis]), lesion[axis], lesion[axis + 2], size) for axis in (0, 1)
        )
        shared = np.outer(down, across)
        each.append({name: float(found.mean()) for name, found in _from_areas(shared, area(box), area(lesion))})
    return {name: np.array([one[name] for one in each]) for name in each[0]}


def _overlaps(length: int, low: float, high: float, size: int) -> NDArray[np.float64]:
    """How much of [low, high] a stretch of that length covers, for each place that it can have in [0, size]."""
    first = np.arange(size - length + 1)
    return np.asarray(np.maximum(np.minimum(first + length, high) - np.maximum(first, low), 0), dtype=np.float64)


def _from_areas(
    shared: NDArray[np.float64], attended: NDArray[np.float64], drawn: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    iou, iobb = shared / (attended + drawn - shared), shared / attended
    yield "iou", iou
    for cut in CUTS:
        yield f"iou>={cut:g}", (iou >= cut).astype(np.float64)
    for cut in CUTS:
        yield f"iobb>={cut:g}", (iobb >= cut).astype(np.float64)


def _hits(
    values: Mapping[str, NDArray[np.float64]],
    controls: Mapping[str, NDArray[np.float64]],
    lesions: Lesions,
    patients: NDArray[np.str_],
    seed: int,
) -> Iterator[Hit]:
    """Each measure of all lesions, then of each label's."""
    labels = np.asarray(lesions.labels, dtype=np.str_)
    for label in (ALL, *(name for name in PATHOLOGIES if name in labels)):
        chosen = np.ones(len(labels), dtype=bool) if label == ALL else labels == label
        whose = patients[lesions.film[chosen]]
        draws = draw_patients(whose.tolist(), seed=seed)
        for measure, value in values.items():
            found, expected = value[chosen], controls[measure][chosen]
            yield Hit(
                label=label,
                measure=measure,
                lesions=len(found),
                patients=len(np.unique(whose)),
                value=float(found.mean()),
                control=float(expected.mean()),
                interval=_mean_interval(found - expected, draws),
            )


def _mean_interval(values: NDArray[np.float64], draws: PatientDraws) -> Interval:
    """Of a mean over lesions, when patients with all their lesions are drawn again."""
    return percentile_interval(draws.total(values) / draws.total(np.ones(len(values))))
