"""FRONT DOOR of the experiments: train what is missing, then write the table or the figure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from rich.console import Console

from agcnn_models.errors import ModelError
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone
from agcnn_training.compute import choose_device, settle_precision
from agcnn_training.data.pictures import ImageLoader, read_picture
from agcnn_training.data.source import fingerprint, open_data
from agcnn_training.errors import RunBusyError, TrainingError, TrainingStopped
from agcnn_training.evaluation.writing import RESULTS_FILE
from agcnn_training.experiments.films import ShownFilm, show_films
from agcnn_training.experiments.outcomes import Outcome, notes_on_films, read_run
from agcnn_training.experiments.overrides import notes_on
from agcnn_training.experiments.products import TrainedExperiment
from agcnn_training.experiments.registry import find_experiment
from agcnn_training.files import file_sha256, replace_text
from agcnn_training.given import read_given, unknown_origin
from agcnn_training.identity import RUN_FILE, read_identity, what_differs
from agcnn_training.progress import Journal
from agcnn_training.recipe import InitialWeights, Recipe, SplitRecipe, changed, load_recipe
from agcnn_training.run_folder import run_path
from agcnn_training.train import TrainRequest, given_sha256, train

_NOTE_FILE: Final = "experiment.json"


class RunsFailedError(TrainingError):
    """Some runs of an experiment failed; all others are trained and written."""


@dataclass(frozen=True)
class ExperimentRequest:
    """What a person asks of an experiment.

    Attributes:
        name: of an experiment or of a recipe.
        data: the root of ChestX-ray14, or a label table.
        images: the folder of the images, where they do not lie in ``data``.
        out: the folder of tables and figures; the runs lie in ``runs/`` inside it, the stages that they share in
            ``stages/``.
        seeds: how many runs of each recipe, from its own seed on.
        settings: laid over every recipe, by dotted key (see ``changed``).
        init: initial weights for each backbone; those left out are torchvision's, downloaded.
        films: names of films for figures that show films; drawn when empty.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        workers: threads or processes that read images; None for one a core.
        partial: whether to go on with the films that are there when others are missing.
        image_loader: reads one image file.
    """

    name: str
    data: Path
    out: Path
    images: Path | None = None
    seeds: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)
    init: Mapping[Backbone, Path] = field(default_factory=dict)
    films: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    partial: bool = False
    image_loader: ImageLoader = field(default=read_picture)


@dataclass(frozen=True)
class _Run:
    """One recipe with one seed, and the bundle beside which its run folder lies."""

    shipped: Recipe
    recipe: Recipe
    out: Path

    @property
    def folder(self) -> Path:
        return run_path(self.out)

    @property
    def finished(self) -> bool:
        # The bundle is written last; a network of one branch has none.
        measured = (self.folder / RESULTS_FILE).is_file()
        return measured and (self.out.is_dir() or self.recipe.parts == (BranchName.GLOBAL,))

    @property
    def begun(self) -> bool:
        return self.finished or (self.folder / RUN_FILE).is_file()


def run_experiment(request: ExperimentRequest, console: Console | None = None) -> tuple[Path, ...]:
    """Train each recipe of an experiment with each seed, unless that was done before, and write what is made of it.

    Seeds are the outer loop, so that every recipe has a figure before any has two. A run that fails does not keep the
    others from being trained and written.

    Args:
        request: what to run, on what.
        console: where progress is shown; standard error when left out.

    Returns:
        The tables and figures.

    Raises:
        TrainingStopped: it was asked to stop; the same command goes on from there.
        RunBusyError: another process trains one of the runs, and the rest may be its next.
        RunsFailedError: some runs failed; everything else is done and written.
        TrainingError: what was asked cannot be done.
    """
    console = console or Console(stderr=True)
    journal = Journal(console)
    experiment = find_experiment(request.name)
    recipes = [load_recipe(name) for name in experiment.recipes]
    runs = [_planned(request, recipe, seed) for seed in range(request.seeds) for recipe in recipes]
    made_of = _made_of(request)
    _refuse_another(request.out, made_of)
    _refuse_others(runs, request)
    _claim(request.out, made_of)
    failures = _train_missing(runs, request, journal, console)
    outcomes = tuple(_outcome(name, runs) for name in experiment.recipes)
    trained = TrainedExperiment(
        name=experiment.name,
        title=experiment.title,
        outcomes=outcomes,
        notes=(
            *notes_on(request.settings, recipes),
            *notes_on_films(outcomes),
            *_notes_on_weights(request, recipes),
        ),
        out=request.out,
        films=request.films,
        show=lambda names, recipe: _show(request, recipe, names),
    )
    paths = experiment.product(trained)
    for path in paths:
        journal.say(f"Written: {path}")
    if failures:
        raise RunsFailedError(
            f"{len(failures)} of {len(runs)} runs failed ({', '.join(failures)}), and the table lacks them: see above "
            "why, then repeat the command; what has finished is not trained again."
        )
    return paths


def _planned(request: ExperimentRequest, shipped: Recipe, number: int) -> _Run:
    """The run of a recipe with the seed that comes ``number`` after its own.

    Raises:
        TrainingError: a setting does not fit the recipe.
    """
    recipe = changed(shipped, {**request.settings, "seed": shipped.seed + number})
    return _Run(shipped, recipe, request.out / "runs" / recipe.name / f"seed-{recipe.seed}")


def _made_of(request: ExperimentRequest) -> dict[str, object]:
    """What the runs of a folder are made of, data, settings and weights: nothing else is mixed into its tables.

    Raises:
        TrainingError: a file of weights cannot be read.
    """
    return {
        "data": str(request.data.resolve()),
        "images": str(request.images.resolve()) if request.images else None,
        "partial": request.partial,
        "settings": dict(request.settings),
        "initial_weights": {backbone.value: file_sha256(path) for backbone, path in sorted(request.init.items())},
    }


def _refuse_another(out: Path, made_of: Mapping[str, object]) -> None:
    """Refuse a folder in which a run of other things has begun; where none has, its note binds nobody.

    Raises:
        TrainingError: the folder holds runs of other data, settings or initial weights, or its note cannot be read.
    """
    path = out / _NOTE_FILE
    begun = any(out.glob(f"runs/*/*/{RUN_FILE}"))
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() and begun else {}
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be used ({error}): give another --out.") from error
    # What an older note does not say yet, each run's own run.json says.
    differing = [key for key in made_of if not isinstance(found, dict) or found.get(key, made_of[key]) != made_of[key]]
    if differing:
        others = " and ".join(key.replace("_", " ") for key in differing)
        raise TrainingError(
            f"The runs in {out} were made with other {others}: give another --out, so that no table mixes them."
        )


def _claim(out: Path, made_of: Mapping[str, object]) -> None:
    """Note what the folder's runs are made of, once those that have begun are known to be made of the same.

    Raises:
        TrainingError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be used ({error}): give another --out.") from error
    replace_text(out / _NOTE_FILE, json.dumps(made_of, indent=2) + "\n")


def _refuse_others(runs: Sequence[_Run], request: ExperimentRequest) -> None:
    """Let no run into a table that was asked something else than it would be asked now.

    The folder's note knows paths; what lies there may have changed since: labels, films, weights, a shipped recipe.
    The data of a run that has not begun are opened, too: what is wrong with them is said once, not by each run.

    Raises:
        TrainingError: there is such a run, or the data cannot be opened.
    """

    @cache
    def films(split: SplitRecipe) -> str:
        return fingerprint(open_data(request.data, request.images, split, partial=request.partial))

    for run in runs:
        given = given_sha256(_train_request(run, request), films(run.recipe.split))
        if not run.begun:
            continue
        recipe = settle_precision(run.recipe, choose_device(request.device))
        now = {"recipe": recipe.resolved(), "data_sha256": given}
        if differing := what_differs(read_identity(run.folder), now):
            raise TrainingError(
                f"{run.recipe.name}, seed {run.recipe.seed}, was trained with {differing}: give another --out, or take "
                f"{run.folder} and {run.out} away to train it anew, so that no table mixes them."
            )


def _train_missing(runs: Sequence[_Run], request: ExperimentRequest, journal: Journal, console: Console) -> list[str]:
    """Train every run that has not finished; returns the names of those that failed.

    Raises:
        TrainingStopped: a stop was requested.
        RunBusyError: another process trains one of them.
    """
    failures: list[str] = []
    for number, run in enumerate(runs, start=1):
        name = f"{run.recipe.name}, seed {run.recipe.seed}"
        if run.finished:
            journal.say(f"{name} ({number} of {len(runs)}): finished earlier.")
            continue
        journal.say(f"{name} ({number} of {len(runs)}):")
        try:
            run.out.parent.mkdir(parents=True, exist_ok=True)
            train(_train_request(run, request), console)
        except TrainingStopped as error:
            raise TrainingStopped(
                f"Stopped in run {number} of {len(runs)}, {name}: the same command goes on from there."
            ) from error
        except RunBusyError:
            raise
        except (TrainingError, ModelError) as error:
            failures.append(name)
            journal.say(f"{name} failed: {error}")
    return failures


def _train_request(run: _Run, request: ExperimentRequest) -> TrainRequest:
    network = run.recipe.network
    from_scratch = network.initial_weights is InitialWeights.RANDOM
    return TrainRequest(
        data=request.data,
        images=request.images,
        recipe=run.recipe,
        out=run.out,
        init=None if from_scratch else request.init.get(network.backbone),
        store=request.out / "stages",
        resume=True,
        cache=request.out / "film-cache",
        workers=request.workers,
        device=request.device,
        partial=request.partial,
        image_loader=request.image_loader,
    )


def _notes_on_weights(request: ExperimentRequest, recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """A sentence on initial weights of which nobody knows what they learnt from; none where there are none."""
    used = {recipe.network.backbone for recipe in recipes}
    given = [read_given(path, None) for backbone, path in sorted(request.init.items()) if backbone in used]
    return unknown_origin(name for one in given for name in one.unknown)


def _outcome(name: str, runs: Sequence[_Run]) -> Outcome:
    own = [run for run in runs if run.recipe.name == name]
    folders = tuple(run.folder for run in own if run.finished)
    return Outcome(own[0].shipped, own[0].recipe, tuple(read_run(folder) for folder in folders), folders)


def _show(request: ExperimentRequest, recipe: Recipe, names: Sequence[str]) -> tuple[ShownFilm, ...]:
    """Read films for a figure."""
    dataset = open_data(request.data, request.images, recipe.split, partial=request.partial)
    return show_films(dataset, names, request.image_loader, recipe.preprocessing())
