"""Everything that is read before training begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from agcnn_models.cores import usable_cores
from agcnn_training.data.cache import fits_in_memory
from agcnn_training.data.films import Films, films_on_device, load_films, load_pretraining_films
from agcnn_training.data.pictures import ImageLoader, Reading, read_picture
from agcnn_training.data.source import Dataset
from agcnn_training.data.splits import Split
from agcnn_training.data.table import PretrainingRow, Row, read_pretraining_table
from agcnn_training.errors import TrainingError
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import Recipe


@dataclass(frozen=True)
class Sources:
    """Where films come from, and how they are read.

    Attributes:
        out: the bundle to write; film caches lie beside it unless ``cache`` says otherwise.
        pretrain_data: the label table of further films (see ``read_pretraining_table``).
        pretrain_images: the folder of their images.
        cache: the folder of film caches; None makes one where the films are too many for memory.
        workers: threads or processes that read images; None for one a core.
        image_loader: reads one image file.
    """

    out: Path
    pretrain_data: Path | None = None
    pretrain_images: Path | None = None
    cache: Path | None = None
    workers: int | None = None
    image_loader: ImageLoader = field(default=read_picture)


@dataclass(frozen=True)
class Material:
    """What a run learns from.

    Attributes:
        recipe: of the run.
        dataset: rows, files, split and boxes.
        films: the dataset's films.
        pretraining: further films, when the recipe wants them.
        reading: how files are read: at the end those that measure the network are read again.
    """

    recipe: Recipe
    dataset: Dataset
    films: Films
    pretraining: Films | None
    reading: Reading

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is known of each film."""
        return self.dataset.rows

    @property
    def split(self) -> Split:
        """Which film lies on which side."""
        return self.dataset.split


def read_material(sources: Sources, recipe: Recipe, dataset: Dataset, journal: Journal, stop: StopRequest) -> Material:
    """Read the films.

    Raises:
        TrainingError: films are missing or cannot be read, or the recipe needs further films and none are given.
    """
    preprocessing = recipe.preprocessing()
    cache = sources.cache
    if cache is None and not fits_in_memory(len(dataset.rows), preprocessing):
        cache = sources.out.absolute().parent / "film-cache"
    reading = Reading(sources.image_loader, sources.workers or usable_cores(), cache, journal, stop)
    further = _further_films(sources, recipe)
    films = load_films(dataset.rows, dataset.paths, preprocessing, recipe.joint.auxiliary, reading)
    pretraining = load_pretraining_films(*further, preprocessing, reading) if further else None
    return Material(recipe, dataset, films, pretraining, reading)


def required_further_films(recipe: Recipe, table: Path | None, folder: Path | None) -> tuple[Path, Path]:
    """The table and the folder of the further films, for a recipe that learns from them.

    Raises:
        TrainingError: one of the two is not given.
    """
    if table is None or folder is None:
        raise TrainingError(
            f"The recipe {recipe.name} learns from pretraining films too: give their table and folder "
            "(--pretrain-data, --pretrain-images), or set joint.pretraining_share to 0."
        )
    return table, folder


def _further_films(sources: Sources, recipe: Recipe) -> tuple[Sequence[PretrainingRow], Sequence[Path]] | None:
    """The further films that the recipe learns from, and the file of each; None where it learns from none."""
    if not recipe.joint.pretraining_share:
        return None
    table, folder = required_further_films(recipe, sources.pretrain_data, sources.pretrain_images)
    rows = read_pretraining_table(table)
    return rows, [folder / row.image for row in rows]


def nearer(material: Material, device: torch.device) -> Material:
    """Put the films where the network is, if they fit; films of two sources share batches, so they stay together."""
    films = films_on_device(material.films, device)
    if material.pretraining is None:
        return replace(material, films=films)
    others = films_on_device(material.pretraining, device)
    if films.pixels.device != others.pixels.device:
        return material
    return replace(material, films=films, pretraining=others)
