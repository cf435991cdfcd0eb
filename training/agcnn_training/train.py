"""FRONT DOOR of training: from a label table, a folder of films and a recipe to a measured network and its bundle."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from agcnn_models.agcnn import AGCNN
from agcnn_models.bundle import stored_weights, write_bundle
from agcnn_models.cores import usable_cores
from agcnn_models.manifest import WeightsDtype, limits
from agcnn_models.precision import computes_bfloat16
from agcnn_training.algorithm import Course, require_replaceable, train_stages
from agcnn_training.card import model_card
from agcnn_training.compute import EMULATED, choose_device, settle_precision
from agcnn_training.data.cache import fits_in_memory
from agcnn_training.data.films import label_targets
from agcnn_training.data.pictures import ImageLoader, Loading, read_picture
from agcnn_training.data.source import (
    Dataset,
    account,
    fingerprint,
    fingerprint_pretraining,
    open_data,
    require_judges,
)
from agcnn_training.distributed import Ranks, joined
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.evaluator import Evaluator
from agcnn_training.evaluation.results import measure, summary
from agcnn_training.evaluation.served import ServedReader
from agcnn_training.evaluation.writing import write_results
from agcnn_training.files import file_sha256
from agcnn_training.given import Given, cautions, read_given, require_apart
from agcnn_training.heap import keep_freed_memory
from agcnn_training.identity import RUN_FILE
from agcnn_training.learnt import never_learnt, told
from agcnn_training.lock import only_run_in
from agcnn_training.loop import Surroundings
from agcnn_training.material import Material, further_films, nearer, read_material
from agcnn_training.met import write_given
from agcnn_training.networks import Beginnings, Network, build_network, require_start_weights
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.publish import describe, draft_manifest
from agcnn_training.recipe import Precision, Recipe, load_recipe
from agcnn_training.run_folder import RunFolder, run_path
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
        about: what the films are, for the model card; empty for what is known of the data.
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
    about: str = ""


def train(request: TrainRequest, console: Console | None = None) -> Path:
    """Train a network by its recipe's stages, measure it, and write it as a bundle.

    Args:
        request: what to train, on what, by which recipe.
        console: where progress is shown; standard error when left out.

    Returns:
        The bundle's folder; the run's folder when the recipe trains one branch alone, of which no bundle is made.

    Raises:
        TrainingError: what was asked cannot be done, another process trains in the run's folder (``RunBusyError``), or
            the run was stopped (``TrainingStopped``).
        agcnn_models.errors.ModelError: initial weights cannot be had or do not fit, or the bundle cannot be written.
    """
    stop = StopRequest()
    recipe = request.recipe if isinstance(request.recipe, Recipe) else load_recipe(request.recipe)
    require_replaceable(recipe, request.global_weights)
    # Before there is a run's folder, which would be in the way of the same run with what it lacks.
    if not (run_path(request.out) / RUN_FILE).is_file():
        require_start_weights(recipe, request.init)
    further = further_films(recipe, request.pretrain_data, request.pretrain_images)
    _refuse_to_overwrite(request.out)
    dataset = open_data(request.data, request.images, recipe.split, boxes=request.boxes, partial=request.partial)
    if request.about:
        dataset = replace(dataset, about=request.about)
    data_sha256 = given_sha256(request, fingerprint(dataset))
    given = read_given(request.init, request.global_weights)
    require_apart(given, dataset.rows, dataset.split)
    # By the labels alone: films take hours to read, and each of several processes has to end with this sentence.
    unlearnt = never_learnt(label_targets([dataset.rows[index] for index in dataset.split.train]))
    require_judges(dataset, unlearnt)
    device = choose_device(request.device)
    recipe = settle_precision(recipe, device)
    if device.type == "cpu":
        keep_freed_memory()
    with stop.listening(), joined(device) as ranks, _run_folder(request, recipe, data_sha256, ranks) as folder:
        journal = Journal((console or Console(stderr=True)) if ranks.leads else Console(quiet=True))
        if ranks.leads:
            journal.keep(folder.path / "log.txt")
        if recipe.compute.precision is Precision.BFLOAT16 and not computes_bfloat16(device):
            journal.say(EMULATED)
        _introduce(dataset, given, unlearnt, journal)
        with ranks.leader_first():
            loading = _loading(request, len(dataset.rows), recipe, journal, stop)
            material = nearer(read_material(recipe, dataset, further, loading), device)
        if ranks.leads:
            folder.write_split(dataset.rows, dataset.split)
            write_given(folder.path, given.known, given.unknown)
        around = Surroundings(folder, journal, stop, recipe.compute, recipe.seed, ranks)
        evaluator = Evaluator(
            material.films,
            dataset.split.validation,
            recipe.preprocessing(),
            recipe.compute.evaluation_batch,
            device,
            not_assessed=unlearnt,
        )
        network = _on_device(build_network(recipe), device, recipe)
        train_stages(network, _course(request, material, evaluator, data_sha256), around)
        return _publish(request, network, material, around, given, unlearnt) if ranks.leads else request.out


def _introduce(dataset: Dataset, given: Given, unlearnt: tuple[str, ...], journal: Journal) -> None:
    """Say what the run learns from, and what a person may want to stop it for, before films are read for hours."""
    for sentence in account(dataset):
        journal.say(sentence)
    for sentence in cautions(given, dataset.rows, dataset.split):
        journal.say(f"WARNING: {sentence}")
    if unlearnt:
        journal.say(f"WARNING: {told(unlearnt)}")


@contextmanager
def _run_folder(request: TrainRequest, recipe: Recipe, data_sha256: str, ranks: Ranks) -> Iterator[RunFolder]:
    """The folder of the run, made and held by the leading process and shared by all."""
    folder = RunFolder(run_path(request.out))
    with only_run_in(folder.path) if ranks.leads else nullcontext():
        if ranks.leads:
            folder.prepare(recipe, data_sha256, resume=request.resume)
        ranks.wait()
        yield folder


def _loading(request: TrainRequest, films: int, recipe: Recipe, journal: Journal, stop: StopRequest) -> Loading:
    """How so many films are read."""
    cache = request.cache
    if cache is None and not fits_in_memory(films, recipe.preprocessing()):
        cache = request.out.absolute().parent / "film-cache"
    return Loading(request.image_loader, request.workers or usable_cores(), cache, journal, stop)


def _course(request: TrainRequest, material: Material, evaluator: Evaluator, data_sha256: str) -> Course:
    """All that the stages learn from and begin with."""
    chosen = material.dataset.split.train
    prevalence = material.films.targets[torch.from_numpy(chosen)].nanmean(dim=0).nan_to_num()
    return Course(
        recipe=material.recipe,
        films=material.films,
        chosen=chosen,
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
    request: TrainRequest,
    network: Network,
    material: Material,
    around: Surroundings,
    given: Given,
    unlearnt: tuple[str, ...],
) -> Path:
    """Measure the network as it will be served, and write the bundle."""
    if isinstance(network, AGCNN):
        # Rounding to float16 moves the logits a little: thresholds and metrics must be those of the stored weights.
        network.load_state_dict(stored_weights(network, WeightsDtype.FLOAT16))
    recipe, journal = material.recipe, around.journal
    reader = ServedReader(
        recipe.preprocessing(),
        recipe.compute.evaluation_batch,
        around.device,
        material.loading,
        not_assessed=unlearnt,
    )
    measured = measure(network, reader, material.dataset, recipe)
    journal.say(summary(measured.sets, measured.unjudged))
    write_results(around.folder.path, measured, recipe, material.dataset)
    if not isinstance(network, AGCNN):
        journal.say(f"No bundle is written: a bundle is an AG-CNN, and {recipe.name} trains one branch alone.")
        return around.folder.path
    provenance = describe(recipe, material.dataset, material.pretraining, given, unlearnt)
    draft = draft_manifest(recipe, provenance, measured)
    card = model_card(recipe, provenance, measured)
    try:
        bundle = write_bundle(request.out, network, draft, card, dtype=WeightsDtype.FLOAT16)
    except OSError as error:
        raise TrainingError(
            f"The bundle {request.out} cannot be written ({error.strerror}): free disk space, then use --resume, which "
            "measures the network once more and trains nothing."
        ) from error
    for sentence in limits(bundle.manifest):
        journal.say(sentence)
    journal.say(f"The bundle is in {bundle.folder}.")
    return bundle.folder


def _refuse_to_overwrite(out: Path) -> None:
    if out.exists():
        raise TrainingError(f"{out} exists already: give another --out, or take it away first.")


def given_sha256(request: TrainRequest, films: str) -> str:
    """SHA-256 over all that a run is given, each under what it is given for: a run is only resumed with that.

    Args:
        request: names the pretraining films and the weights.
        films: the fingerprint of the films (see ``fingerprint``).

    Raises:
        TrainingError: a file cannot be read.
    """
    files = {
        "--pretrain-data": request.pretrain_data,
        "--init": request.init,
        "--init-global": request.global_weights,
    }
    given = {option: file_sha256(path) for option, path in files.items() if path}
    if request.pretrain_data and request.pretrain_images:
        given["--pretrain-images"] = fingerprint_pretraining(request.pretrain_data, request.pretrain_images)
    return hashlib.sha256((films + "".join(f"\n{option} {sha}" for option, sha in given.items())).encode()).hexdigest()
