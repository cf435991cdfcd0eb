"""FRONT DOOR of evaluation: from a bundle and films with labels to numbers, files and a page."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from agcnn_models.bundle import Bundle, open_bundle
from agcnn_models.cores import usable_cores
from agcnn_models.manifest import limits
from agcnn_training.compute import choose_device
from agcnn_training.data.pictures import ImageLoader, Loading, read_picture
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.decision import decision_of
from agcnn_training.evaluation.opening import FilmSet, Side, open_films, warnings
from agcnn_training.evaluation.page import Report, page
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.results import judge, summary
from agcnn_training.evaluation.served import ServedReader
from agcnn_training.evaluation.tables import write_localisation, write_metrics
from agcnn_training.evaluation.writing import RESULTS_FILE, Json, as_json, write_json
from agcnn_training.files import replace_text
from agcnn_training.met import read_met
from agcnn_training.progress import Journal
from agcnn_training.recipe import Precision

PAGE_FILE: Final = "report.html"
PREDICTIONS_FILE: Final = "predictions.npz"
METRICS_FILE: Final = "metrics.csv"
LOCALISATION_FILE: Final = "localisation.csv"

_BATCH: Final = 32


@dataclass(frozen=True)
class EvaluateRequest:
    """What a person asks of an evaluation.

    Attributes:
        bundle: the model's folder.
        data: the root of ChestX-ray14, or a label table.
        images: the folder of the images; None where they lie beside the labels.
        out: the folder to write into; results that lie there are replaced.
        side: which films; None takes the test films where there are any, else all.
        boxes: a table of lesions; ChestX-ray14's own when left out.
        partial: whether to go on with the films that are there when others of ChestX-ray14 are missing.
        flip: whether each film is read mirrored as well, and the logits averaged.
        precision: of the forward pass.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        workers: threads that read images.
        seed: of the draws of patients.
        image_loader: reads one image file.
        cautions: what a reader of the results must know of how the films were chosen, a sentence or more each.
    """

    bundle: Path
    data: Path
    images: Path | None
    out: Path
    side: Side | None = None
    boxes: Path | None = None
    partial: bool = False
    flip: bool = False
    precision: Precision = Precision.FLOAT32
    device: str | None = None
    workers: int = field(default_factory=usable_cores)
    seed: int = 0
    image_loader: ImageLoader = field(default=read_picture)
    cautions: tuple[str, ...] = ()


def evaluate(request: EvaluateRequest, console: Console | None = None) -> Path:
    """Measure a model on films with labels, and write what was found.

    Calibration and thresholds are the bundle's own: nothing is fitted to the films that are evaluated on.

    Args:
        request: which model, on what.
        console: where progress is shown; standard error when left out.

    Returns:
        The page that shows the results; results.json, metrics.csv, localisation.csv and predictions.npz lie beside it.

    Raises:
        TrainingError: what was asked cannot be done; the sentence says why.
        agcnn_models.errors.ModelError: the bundle cannot be used.
    """
    journal = Journal(console or Console(stderr=True))
    bundle = open_bundle(request.bundle)
    met = read_met(request.bundle)
    films = open_films(request.data, request.images, request.side, met, request.boxes, partial=request.partial)
    cautions = (
        *request.cautions,
        *warnings(films, met, bundle.manifest),
        *limits(bundle.manifest),
        *_cautions(request),
    )
    for sentence in cautions:
        journal.say(f"WARNING: {sentence}")
    predictions = _read(bundle, films, request, journal)
    result = judge(
        predictions,
        films.rows,
        decision_of(bundle),
        bundle.manifest.preprocessing,
        seed=request.seed,
        boxes=films.boxes,
    )
    journal.say(summary({films.name: result}))
    return _write(request, Report(bundle.manifest, films.name, cautions, predictions, result))


def _read(bundle: Bundle, films: FilmSet, request: EvaluateRequest, journal: Journal) -> Predictions:
    """Put all films before the network."""
    device = choose_device(request.device)
    reader = ServedReader(
        bundle.manifest.preprocessing,
        _BATCH,
        device,
        Loading(request.image_loader, request.workers, journal=journal),
        precision=request.precision,
        flip=request.flip,
        not_assessed=bundle.manifest.not_assessed,
    )
    return reader.predict(bundle.load_model(device), films.rows, films.paths)


def _write(request: EvaluateRequest, report: Report) -> Path:
    """Write all files into the folder that was asked for."""
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{request.out} cannot be made ({error.strerror}): give another --out.") from error
    sets = {report.set_name: report.result}
    report.predictions.save(request.out / PREDICTIONS_FILE)
    write_json(request.out / RESULTS_FILE, {**_head(request, report), "sets": as_json(sets)})
    write_metrics(request.out / METRICS_FILE, sets)
    write_localisation(request.out / LOCALISATION_FILE, sets)
    replace_text(request.out / PAGE_FILE, page(report))
    return request.out / PAGE_FILE


def _head(request: EvaluateRequest, report: Report) -> dict[str, Json]:
    manifest = report.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "weights_sha256": manifest.weights.sha256,
        "recipe": manifest.training.recipe,
        "seed": request.seed,
        "flip": request.flip,
        "precision": request.precision,
        "warnings": list(report.cautions),
    }


def _cautions(request: EvaluateRequest) -> tuple[str, ...]:
    if not request.flip:
        return ()
    return (
        (
            "Each film was read mirrored as well, and the logits were averaged: calibration and thresholds were chosen "
            "without that, and the clinic reads without it."
        ),
    )
