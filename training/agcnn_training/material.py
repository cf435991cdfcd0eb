"""Everything that is read before training begins."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from agcnn_training.data.films import Films, films_on_device, load_films, load_pretraining_films
from agcnn_training.data.pictures import Loading
from agcnn_training.data.source import Dataset
from agcnn_training.data.table import read_pretraining_table
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Recipe


@dataclass(frozen=True)
class Material:
    """What a run learns from.

    Attributes:
        recipe: of the run.
        dataset: rows, files, split and boxes.
        films: the dataset's films.
        pretraining: further films, when the recipe wants them.
        loading: how files are read: at the end those that measure the network are read again.
    """

    recipe: Recipe
    dataset: Dataset
    films: Films
    pretraining: Films | None
    loading: Loading


def read_material(recipe: Recipe, dataset: Dataset, further: tuple[Path, Path] | None, loading: Loading) -> Material:
    """Read the films.

    Args:
        recipe: of the run.
        dataset: whose films they are.
        further: the table and the folder of the further films (see ``further_films``).
        loading: how files are read.

    Raises:
        TrainingError: films are missing or cannot be read.
    """
    preprocessing, pretraining = recipe.preprocessing(), None
    rows = read_pretraining_table(further[0]) if further else ()
    films = load_films(dataset.rows, dataset.paths, preprocessing, recipe.joint.auxiliary, loading)
    if further:
        pretraining = load_pretraining_films(rows, [further[1] / row.image for row in rows], preprocessing, loading)
    return Material(recipe, dataset, films, pretraining, loading)


def further_films(recipe: Recipe, table: Path | None, folder: Path | None) -> tuple[Path, Path] | None:
    """The table and the folder of the further films that a recipe learns from; None where it learns from none.

    Raises:
        TrainingError: it does, and one of the two is not given.
    """
    if not recipe.joint.pretraining_share:
        return None
    if table is None or folder is None:
        raise TrainingError(
            f"The recipe {recipe.name} learns from pretraining films too: give their table and folder "
            "(--pretrain-data, --pretrain-images), or set joint.pretraining_share to 0."
        )
    return table, folder


def nearer(material: Material, device: torch.device) -> Material:
    """Put the films where the network is, if they fit; films of two sources share batches, so they stay together."""
    films = films_on_device(material.films, device)
    if material.pretraining is None:
        return replace(material, films=films)
    others = films_on_device(material.pretraining, device)
    if films.pixels.device != others.pixels.device:
        return material
    return replace(material, films=films, pretraining=others)
