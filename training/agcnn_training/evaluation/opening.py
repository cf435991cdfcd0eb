"""The films to evaluate on, and whether the model has met them before."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agcnn_models.manifest import Manifest
from agcnn_training.data.boxes import LesionBox
from agcnn_training.data.names import film_key
from agcnn_training.data.source import Collection, open_collection
from agcnn_training.data.splits import TRAIN, VALIDATION
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.met import Met


class Side(StrEnum):
    """Which films of the data are evaluated on."""

    TEST = "test"
    VALIDATION = "validation"
    ALL = "all"


@dataclass(frozen=True)
class FilmSet:
    """Films to evaluate on.

    Attributes:
        name: of the set: test, validation or all.
        rows: what is known of each film.
        paths: the file of each.
        boxes: lesions that were drawn on some of them.
    """

    name: str
    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    boxes: tuple[LesionBox, ...] = ()


def open_films(
    data: Path,
    images: Path | None,
    side: Side | None,
    met: Met | None,
    boxes: Path | None = None,
    *,
    partial: bool = False,
) -> FilmSet:
    """Find the films of one side.

    Args:
        data: the root of ChestX-ray14, or a label table.
        images: the folder of the images; where they lie beside the labels when left out.
        side: which films; left out, the test films where there are any, else all.
        met: the films of the run that made the model; ChestX-ray14's test list counts for the films that it leaves out.
        boxes: a table of lesions; ChestX-ray14's own when left out.
        partial: whether to go on with the films that are there when others of ChestX-ray14 are missing.

    Raises:
        TrainingError: there are no such films.
    """
    dataset = open_collection(data, images, boxes=boxes, partial=partial)
    sides = _sides(dataset, met)
    wanted = side or (Side.TEST if Side.TEST in sides else Side.ALL)
    chosen = [index for index, where in enumerate(sides) if wanted in (Side.ALL, where)]
    if not chosen:
        raise TrainingError(
            f"{data.name} has no {wanted} films: give data that have some, or --split all to measure on every film."
        )
    return FilmSet(
        wanted,
        tuple(dataset.rows[index] for index in chosen),
        tuple(dataset.paths[index] for index in chosen),
        dataset.boxes,
    )


def _sides(films: Collection, met: Met | None) -> list[str | None]:
    """The side of each film: the run's own word; for a film that it never had, what NIH's test list says.

    Each film by itself: a run that had none of the test films says nothing of them, whatever it says of others.
    """
    known = met.images if met else {}
    return [
        known.get(film_key(row.image), Side.TEST if index in films.test else None)
        for index, row in enumerate(films.rows)
    ]


def warnings(films: FilmSet, met: Met | None, manifest: Manifest) -> tuple[str, ...]:
    """What a reader of the results must know: films and patients that the model has met before.

    Args:
        films: to evaluate on.
        met: what the model has met, where it is known.
        manifest: of the model.
    """
    if met is None:
        training = manifest.training
        unknown = (
            "Whether the model has met these films cannot be told, since its run's split.csv does not lie beside it. "
            f"It learnt from {training.films_train} films of {training.patients_train} patients, and "
            f"{training.films_validation} films of {training.patients_validation} patients chose its epochs and "
            f"thresholds. {training.data}"
        )
        return (unknown,)
    where = [met.images.get(film_key(row.image)) for row in films.rows]
    trained, validated = where.count(TRAIN), where.count(VALIDATION)
    patients = {row.patient for row in films.rows}
    # A patient whose own films are known to be on another side is met through films that are not here.
    known = len(patients & met.patients[TRAIN])
    sentences = []
    if trained:
        sentences.append(
            f"The model was trained on {trained} of these {len(where)} films: these results say how well it remembers, "
            "not how well it reads."
        )
    if validated:
        sentences.append(
            f"{validated} of these {len(where)} films chose its epochs, thresholds and calibration, so these results "
            "flatter it a little."
        )
    if known and not trained:
        sentences.append(
            f"The model was trained on other films of {known} of these {len(patients)} patients, so these results "
            "flatter it."
        )
    if met.unknown:
        sentences.append(
            f"The model began with weights of which nobody knows what they had learnt from ({', '.join(met.unknown)}), "
            "so whether it has met these films before cannot be told."
        )
    return tuple(sentences)
