"""FRONT DOOR of training: from a label table, a folder of films and a recipe to a measured network and its bundle."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from agcnn_models.agcnn import AGCNN
from agcnn_models.bundle import stored_weights, write_bundle
from agcnn_models.manifest import WeightsDtype
from agcnn_training.algorithm import Course, require_replaceable, train_stages
from agcnn_training.card import model_card
from agcnn_training.data.cache import fits_in_memory
from agcnn_training.data.films import Films, films_on_device, load_films, load_pretraining_films
from agcnn_training.data.parallel import cores
from agcnn_training.data.pictures import ImageLoader, Reading, read_picture
from agcnn_training.data.source import Dataset, account, fingerprint, open_data
from agcnn_training.data.splits import Split
from agcnn_training.data.table import Row, read_pretraining_table
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.readings import Evaluator
from agcnn_training.evaluation.results import TEST, TRAIN, VALIDATION, measure, summary
from agcnn_training.evaluation.writing import split_counts, write_results
from agcnn_training.loop import Surroundings
from agcnn_training.networks import Beginnings, Network, build_network, require_start_file
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.publish import describe, draft_manifest
from agcnn_training.recipe import InitialWeights, Recipe, load_recipe
from agcnn_training.run_folder import RunFolder
from agcnn_training.stage_store import StageStore


@dataclass(frozen=True)
class TrainRequest:
    """What a person asks of a training run.

    Attributes:
        data: the label table (see ``read_table``).
        images: the folder of its images.
        recipe: a recipe's name or path, or the recipe itself.
        out: the bundle to write; the run folder lies beside it as ``<out>.run``.
        init: initial backbone weights; None leaves it to the recipe, ImageNet's or random ones.
        global_weights: a trained global branch, which takes the place of the first stage.
        store: a folder of finished stages that runs share; None trains every stage anew.
        pretrain_data: the label table of further films (see ``read_pretraining_table``).
        pretrain_images: the folder of their images.
        resume: whether to go on with the run that lies in the run folder.
        partial: whether to train on the films that are there when others are missing.
        boxes: a table of lesions (see ``read_boxes``); ChestX-ray14 brings its own.
        cache: the folder of film caches; None makes one beside the bundle where the films are too many for memory.
        workers: threads or processes that read images; None for one a core.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        image_loader: reads one image file.
    """

    data: Path
    images: Path | None
    recipe: str | Recipe
    out: Path
    init: Path | None = None
    global_weights: Path | None = None
    store: Path | None = None
    pretrain_data: Path | None = None
    pretrain_images: Path | None = None
    resume: bool = False
    partial: bool = False
    boxes: Path | None = None
    cache: Path | None = None
    workers: int | None = None
    device: str | None = None
    image_loader: ImageLoader = field(default=read_picture)


@dataclass(frozen=True)
class _Material:
    """Everything that is read before training begins."""

    recipe: Recipe
    dataset: Dataset
    films: Films
    pretraining: Films | None

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is known of each film."""
        return self.dataset.rows

    @property
    def split(self) -> Split:
        """Which film lies on which side."""
        return self.dataset.split


def train(request: TrainRequest, console: Console | None = None) -> Path:
    """Train a network by its recipe's stages, measure it, and write it as a bundle.

    Args:
        request: what to train, on what, by which recipe.
        console: where progress is shown; standard error when left out.

    Returns:
        The bundle's folder; the run's folder when the recipe trains one branch alone, of which no bundle is made.

    Raises:
        TrainingError: what was asked cannot be done, or the run was stopped (``TrainingStopped``).
        agcnn_models.errors.ModelError: initial weights do not fit, or the bundle cannot be written.
    """
    journal, stop = Journal(console or Console(stderr=True)), StopRequest()
    recipe = request.recipe if isinstance(request.recipe, Recipe) else load_recipe(request.recipe)
    require_start_file(recipe, request.init)
    require_replaceable(recipe, request.global_weights)
    _refuse_to_overwrite(request.out)
    dataset = open_data(request.data, request.images, recipe.split, boxes=request.boxes, partial=request.partial)
    data_sha256 = _fingerprint(request, dataset)
    folder = RunFolder.prepare(_run_path(request.out), recipe, data_sha256, resume=request.resume)
    with stop.listening():
        material = _read_material(request, recipe, dataset, journal, stop)
        folder.write_split(material.rows, material.split)
        device = _device(request.device)
        material = _nearer(material, device)
        compute = recipe.compute
        around = Surroundings(folder, journal, stop, device, compute.precision, compute.channels_last, compute.shards)
        evaluator = Evaluator(
            material.films,
            material.split.validation,
            recipe.preprocessing(),
            compute.evaluation_batch,
            device,
        )
        network = _on_device(build_network(recipe), device, recipe)
        train_stages(network, _course(request, material, evaluator, data_sha256), around)
        return _publish(request, network, material, evaluator, around)


def _read_material(
    request: TrainRequest, recipe: Recipe, dataset: Dataset, journal: Journal, stop: StopRequest
) -> _Material:
    """Say what the data are, and read the films."""
    preprocessing = recipe.preprocessing()
    for sentence in account(dataset):
        journal.say(sentence)
    cache = request.cache
    if cache is None and not fits_in_memory(len(dataset.rows), preprocessing):
        cache = request.out.absolute().parent / "film-cache"
    reading = Reading(request.image_loader, request.workers or cores(), cache, journal, stop)
    films = load_films(dataset.rows, dataset.paths, preprocessing, recipe.joint.auxiliary, reading)
    pretraining = None
    if recipe.joint.pretraining_share:
        if request.pretrain_data is None or request.pretrain_images is None:
            raise TrainingError(
                f"The recipe {recipe.name} learns from pretraining films too: give their table and folder "
                "(--pretrain-data, --pretrain-images), or set joint.pretraining_share to 0."
            )
        others = read_pretraining_table(request.pretrain_data)
        paths = [request.pretrain_images / row.image for row in others]
        pretraining = load_pretraining_films(others, paths, preprocessing, reading)
    return _Material(recipe, dataset, films, pretraining)


def _nearer(material: _Material, device: torch.device) -> _Material:
    """Put the films where the network is, if they fit; films of two sources share batches, so they stay together."""
    if material.pretraining is not None:
        return material
    return replace(material, films=films_on_device(material.films, device))


def _course(request: TrainRequest, material: _Material, evaluator: Evaluator, data_sha256: str) -> Course:
    """All that the stages learn from and begin with."""
    train = torch.from_numpy(material.split.train)
    prevalence = material.films.targets[train].nanmean(dim=0).nan_to_num()
    return Course(
        recipe=material.recipe,
        films=material.films,
        chosen=material.split.train,
        pretraining=material.pretraining,
        beginnings=Beginnings(material.recipe, request.init, prevalence),
        evaluator=evaluator,
        data_sha256=data_sha256,
        global_weights=request.global_weights,
        store=StageStore(request.store) if request.store else None,
    )


def _on_device(network: Network, device: torch.device, recipe: Recipe) -> Network:
    memory_format = torch.channels_last if recipe.compute.channels_last else torch.contiguous_format
    moved: Network = network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    return moved


def _publish(
    request: TrainRequest, network: Network, material: _Material, evaluator: Evaluator, around: Surroundings
) -> Path:
    """Measure the network as it will be served, and write the bundle."""
    if isinstance(network, AGCNN):
        # Rounding to float16 moves the logits a little: thresholds and metrics must be those of the stored weights.
        network.load_state_dict(stored_weights(network, WeightsDtype.FLOAT16))
    recipe, split, journal = material.recipe, material.split, around.journal
    sides = {TRAIN: split.train, VALIDATION: split.validation, TEST: split.test}
    measured = measure(network, evaluator, material.rows, sides, recipe, material.dataset.boxes)
    journal.say(summary(measured.sets, measured.unjudged))
    write_results(around.folder.path, measured, recipe, split_counts(material.rows, sides))
    if not isinstance(network, AGCNN):
        journal.say(f"No bundle is written: a bundle is an AG-CNN, and {recipe.name} trains one branch alone.")
        return around.folder.path
    provenance = describe(
        recipe, material.rows, sides, material.pretraining,
        split=split.description,
        initial_weights=_initial_weights(request, recipe),
    )  # fmt: skip
    draft = draft_manifest(recipe, provenance, measured)
    card = model_card(recipe, provenance, measured)
    bundle = write_bundle(request.out, network, draft, card, dtype=WeightsDtype.FLOAT16)
    around.journal.say(f"The bundle is in {bundle.folder}.")
    return bundle.folder


def _device(name: str | None) -> torch.device:
    """The device that was asked for; else a GPU when there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"There is no device {name!r} here: give cpu, cuda, or leave --device out.") from error
    return device


def _initial_weights(request: TrainRequest, recipe: Recipe) -> str:
    if request.global_weights is not None:
        return f"a trained global branch, the file {request.global_weights.name}"
    if request.init is not None:
        return f"the file {request.init.name}"
    return "ImageNet, from torchvision" if recipe.network.initial_weights is InitialWeights.IMAGENET else "random"


def _run_path(out: Path) -> Path:
    return out.with_name(out.name + ".run")


def _refuse_to_overwrite(out: Path) -> None:
    if out.exists():
        raise TrainingError(f"{out} exists already: give another --out, or take it away first.")


def _fingerprint(request: TrainRequest, dataset: Dataset) -> str:
    """SHA-256 over data, pretraining table and initial weights: a run is only resumed with what it began with."""
    digest = hashlib.sha256(fingerprint(dataset).encode())
    for path in (request.pretrain_data, request.init, request.global_weights):
        try:
            digest.update(path.read_bytes() if path else b"")
        except OSError as error:
            raise TrainingError(f"{path} cannot be read ({error.strerror}): give its right path.") from error
    return digest.hexdigest()
