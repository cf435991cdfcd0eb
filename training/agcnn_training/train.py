"""FRONT DOOR of training: from a label table, a folder of films and a recipe to a bundle."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.backbones import load_imagenet
from agcnn_models.bundle import stored_weights, write_bundle
from agcnn_models.manifest import BranchName, WeightsDtype
from agcnn_training.card import model_card
from agcnn_training.data.batches import Batches, Joint
from agcnn_training.data.films import (
    Films,
    ImageLoader,
    auxiliary_width,
    load_films,
    load_pretraining_films,
    read_picture,
)
from agcnn_training.data.splits import Split, split_by_patient
from agcnn_training.data.table import Row, read_pretraining_table, read_table
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.readings import Evaluator, judge_branches
from agcnn_training.loop import Surroundings, Task, run_phase
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.publish import describe, draft_manifest
from agcnn_training.recipe import InitialWeights, Recipe, load_recipe
from agcnn_training.run_folder import RunFolder
from agcnn_training.stages import (
    Stage,
    freeze,
    fusion_stage,
    global_stage,
    local_stage,
    start_at_prevalence,
)


@dataclass(frozen=True)
class TrainRequest:
    """What a person asks of a training run.

    Attributes:
        data: the label table (see ``read_table``).
        images: the folder of its images.
        recipe: a recipe's name or path.
        out: the bundle to write; the run folder lies beside it as ``<out>.run``.
        init: initial backbone weights; None leaves it to the recipe, ImageNet's or random ones.
        pretrain_data: the label table of further films (see ``read_pretraining_table``).
        pretrain_images: the folder of their images.
        resume: whether to go on with the run that lies in the run folder.
        workers: threads that read images.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        image_loader: reads one image file.
    """

    data: Path
    images: Path
    recipe: str
    out: Path
    init: Path | None = None
    pretrain_data: Path | None = None
    pretrain_images: Path | None = None
    resume: bool = False
    workers: int = 2
    device: str | None = None
    image_loader: ImageLoader = field(default=read_picture)


@dataclass(frozen=True)
class _Material:
    """Everything that is read before training begins."""

    recipe: Recipe
    rows: tuple[Row, ...]
    films: Films
    pretraining: Films | None
    split: Split


def train(request: TrainRequest, console: Console | None = None) -> Path:
    """Train AG-CNN by Algorithm 1 and write it as a bundle.

    Args:
        request: what to train, on what, by which recipe.
        console: where progress is shown; standard error when left out.

    Returns:
        The bundle's folder.

    Raises:
        TrainingError: what was asked cannot be done, or the run was stopped (``TrainingStopped``).
        agcnn_models.errors.ModelError: initial weights do not fit, or the bundle cannot be written.
    """
    journal, stop = Journal(console or Console(stderr=True)), StopRequest()
    recipe = load_recipe(request.recipe)
    _refuse_to_overwrite(request.out)
    folder = RunFolder.prepare(_run_path(request.out), recipe, _fingerprint(request), resume=request.resume)
    with stop.listening():
        material = _read_material(request, recipe, journal)
        folder.write_split(material.rows, material.split)
        device = _device(request.device)
        compute = recipe.compute
        around = Surroundings(folder, journal, stop, device, compute.precision, compute.channels_last, compute.shards)
        network = _start(request, material, device)
        evaluator = Evaluator(
            material.films,
            material.split.validation,
            recipe.images.preprocessing(),
            compute.evaluation_batch,
            device,
        )
        _train_stages(network, material, evaluator, around)
        return _publish(request, network, material, evaluator, journal)


def _read_material(request: TrainRequest, recipe: Recipe, journal: Journal) -> _Material:
    """Read tables and films, and split the patients."""
    preprocessing, workers = recipe.images.preprocessing(), request.workers
    rows = read_table(request.data)
    split = split_by_patient([row.patient for row in rows], recipe.split.validation, recipe.split.seed)
    journal.say(
        f"{len(rows)} films: {len(split.train)} train, {len(split.validation)} validate; "
        f"patients on both sides: {split.overlap}."
    )
    films = load_films(
        rows, request.images, preprocessing, recipe.joint.auxiliary,
        loader=request.image_loader, workers=workers, ticker=_ticker(journal, len(rows), "reading films"),
    )  # fmt: skip
    pretraining = None
    if recipe.joint.pretraining_share:
        if request.pretrain_data is None or request.pretrain_images is None:
            raise TrainingError(
                f"The recipe {recipe.name} learns from pretraining films too: give their table and folder "
                "(--pretrain-data, --pretrain-images), or set joint.pretraining_share to 0."
            )
        others = read_pretraining_table(request.pretrain_data)
        pretraining = load_pretraining_films(
            others, request.pretrain_images, preprocessing,
            loader=request.image_loader, workers=workers, ticker=_ticker(journal, len(others), "reading more"),
        )  # fmt: skip
    return _Material(recipe, rows, films, pretraining, split)


def _start(request: TrainRequest, material: _Material, device: torch.device) -> AGCNN:
    """Make the network as it is before stage I."""
    recipe = material.recipe
    torch.manual_seed(recipe.seed)
    network = build_agcnn(recipe.network.backbone, recipe.network.pooling, recipe.network.attention.settings())
    prevalence = material.films.targets[torch.from_numpy(material.split.train)].mean(dim=0)
    for branch in (network.global_branch, network.local_branch):
        if request.init is not None or recipe.network.initial_weights is InitialWeights.IMAGENET:
            load_imagenet(branch, request.init)
        start_at_prevalence(branch, prevalence)
    memory_format = torch.channels_last if recipe.compute.channels_last else torch.contiguous_format
    moved: AGCNN = network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    return moved


def _train_stages(network: AGCNN, material: _Material, evaluator: Evaluator, around: Surroundings) -> None:
    """Algorithm 1."""
    recipe = material.recipe
    joint = Joint(
        recipe=recipe.joint,
        films=material.pretraining,
        auxiliary=auxiliary_width(recipe.joint.auxiliary),
        classes=material.pretraining.targets.shape[1] if material.pretraining else 0,
    )
    further = joint.auxiliary + joint.classes
    _train_stage(global_stage(network, recipe.stages, further), 1, material, evaluator, around, joint)
    _train_stage(local_stage(network, recipe.stages), 2, material, evaluator, around, None)
    _train_stage(fusion_stage(network, recipe.stages), 3, material, evaluator, around, None)
    freeze(network)


def _train_stage(
    stage: Stage,
    number: int,
    material: _Material,
    evaluator: Evaluator,
    around: Surroundings,
    joint: Joint | None,
) -> None:
    """One stage, phase after phase; what a stopped run had finished is taken as it is."""
    stage.trainee.to(around.device)
    recipe = material.recipe
    for index, phase in enumerate(stage.recipe.phases, start=1):
        name = f"{stage.name}-{index}"
        if (weights := around.folder.finished(name)) is not None:
            stage.trainee.load_state_dict(weights)
            around.journal.say(f"{name}: finished earlier.")
            continue
        task = Task(
            name=name,
            trainee=stage.trainee,
            read=stage.read,
            score=lambda trainee, size: evaluator.score(stage.read, trainee, size, around.precision),
            batches=Batches(
                material.films, material.split.train, phase, recipe.images.preprocessing(),
                (recipe.seed, number, index), joint if phase.joint else None,
            ),
        )  # fmt: skip
        run_phase(task, phase, around)


def _publish(
    request: TrainRequest, network: AGCNN, material: _Material, evaluator: Evaluator, journal: Journal
) -> Path:
    """Measure the network as it will be served, and write the bundle."""
    # Rounding to float16 moves the logits a little: thresholds and metrics must be those of the stored weights.
    network.load_state_dict(stored_weights(network, WeightsDtype.FLOAT16))
    logits = evaluator.branch_logits(network)
    results = judge_branches(evaluator.truth, logits, evaluator.patients, material.recipe.seed)
    for name, result in results.items():
        low, high = result.interval.low, result.interval.high
        journal.say(f"{name}: mean AUC {result.score.mean:.4f} ({low:.4f} to {high:.4f})")
    skipped = results[BranchName.FUSION].score.skipped
    if skipped:
        journal.say(f"Without both outcomes among the validation films, so without an AUC: {', '.join(skipped)}.")
    provenance = describe(
        material.recipe, material.rows, material.split, material.pretraining, _initial_weights(request, material.recipe)
    )
    draft = draft_manifest(material.recipe, provenance, results, evaluator.truth, logits[BranchName.FUSION])
    card = model_card(material.recipe, provenance, results, skipped)
    bundle = write_bundle(request.out, network, draft, card, dtype=WeightsDtype.FLOAT16)
    journal.say(f"The bundle is in {bundle.folder}.")
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


def _ticker(journal: Journal, total: int, title: str) -> Callable[[Iterable[Path]], Iterable[Path]]:
    return lambda paths: journal.steps(paths, total, title)


def _initial_weights(request: TrainRequest, recipe: Recipe) -> str:
    if request.init is not None:
        return f"the file {request.init.name}"
    return "ImageNet, from torchvision" if recipe.network.initial_weights is InitialWeights.IMAGENET else "random"


def _run_path(out: Path) -> Path:
    return out.with_name(out.name + ".run")


def _refuse_to_overwrite(out: Path) -> None:
    if out.exists():
        raise TrainingError(f"{out} exists already: give another --out, or take it away first.")


def _fingerprint(request: TrainRequest) -> str:
    """SHA-256 over label tables and initial weights, so that a run is only resumed with what it began with."""
    digest = hashlib.sha256()
    for path in (request.data, request.pretrain_data, request.init):
        try:
            digest.update(path.read_bytes() if path else b"")
        except OSError as error:
            raise TrainingError(f"{path} cannot be read ({error.strerror}): give its right path.") from error
    return digest.hexdigest()
