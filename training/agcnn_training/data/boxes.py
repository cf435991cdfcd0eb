"""Lesion boxes: where radiologists drew findings on films, for measuring attention and never for training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agcnn_models.labels import PATHOLOGIES
from agcnn_training.data.names import film_key
from agcnn_training.data.records import Columns, Record, read_records
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError

# Our names, then those in NIH's BBox_List_2017.csv, whose header names four columns "Bbox [x,y,w,h]".
_COLUMNS: Final[Columns] = {
    "image": ("image", "Image Index"),
    "label": ("label", "Finding Label"),
    "x": ("x", "Bbox [x"),
    "y": ("y",),
    "width": ("width", "w"),
    "height": ("height", "h]"),
    "film_width": ("film_width",),
    "film_height": ("film_height",),
    "of_nih": ("Bbox [x",),
}
_FILM_SIDES: Final = ("film_width", "film_height")
_NEEDED: Final = ("image", "label", "x", "y", "width", "height")
_NIH_SIDE: Final = 1024.0
"""NIH measured its boxes on the films as published, 1024 pixels a side."""

_SYNONYMS: Final = {"Infiltrate": "Infiltration"}
_ROUNDING: Final = 1e-3
"""How far a box may reach beyond its film, as a share of it, before it counts as wrong."""


@dataclass(frozen=True)
class LesionBox:
    """Where a finding lies on a film, as shares of the film's width and height, in [0, 1].

    Attributes:
        image: the name of the film, as its row has it.
        label: one of the 14 findings.
        x: left edge.
        y: upper edge.
        width: of the box.
        height: of the box.
    """

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float


def read_boxes(path: Path, rows: Sequence[Row]) -> tuple[LesionBox, ...]:
    """Read the boxes of these films; boxes of others are passed over.

    Args:
        path: NIH's BBox_List_2017.csv, or a table (CSV or parquet) with the columns image, label, x, y (of the upper
            left corner), width, height, film_width and film_height, all in pixels of the film that was drawn on.
        rows: the films; names match without their suffix.

    Raises:
        TrainingError: the file or a column is missing, a label is unknown, or a box is no box on its film.
    """
    images = {film_key(row.image): row.image for row in rows}
    records = read_records(path, _COLUMNS, _NEEDED)
    columns = records[0].cells.keys()
    sides = columns & set(_FILM_SIDES)
    if len(sides) == 1 or not columns & {"of_nih", *_FILM_SIDES}:
        raise TrainingError(
            f"{path.name} does not say how large its films are: add the columns film_width and film_height, both, in "
            "pixels."
        )
    boxes = (_box(record, images.get(film_key(record.cells["image"] or "-"))) for record in records)
    return tuple(box for box in boxes if box is not None)


def _box(record: Record, image: str | None) -> LesionBox | None:
    where, values = record
    label = _SYNONYMS.get(values["label"], values["label"])
    if label not in PATHOLOGIES:
        raise TrainingError(f"{where} has the unknown label {label!r}: use {', '.join(PATHOLOGIES)}.")
    if image is None:
        return None
    film_width, film_height = (_number(record, name) if name in values else _NIH_SIDE for name in _FILM_SIDES)
    if min(film_width, film_height) <= 0:
        raise TrainingError(f"{where} says that its film has no size: write its width and height in pixels.")
    x, width = _number(record, "x") / film_width, _number(record, "width") / film_width
    y, height = _number(record, "y") / film_height, _number(record, "height") / film_height
    if min(width, height) <= 0 or min(x, y) < -_ROUNDING or max(x + width, y + height) > 1 + _ROUNDING:
        raise TrainingError(f"{where} has a box that does not lie on its film: write x, y, width, height in pixels.")
    left, top = max(x, 0.0), max(y, 0.0)
    return LesionBox(image, label, left, top, min(x + width, 1.0) - left, min(y + height, 1.0) - top)


def _number(record: Record, name: str) -> float:
    text = record.cells[name]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TrainingError(f"{record.where} has {text!r} under {name}: write a number of pixels.")
    return number
