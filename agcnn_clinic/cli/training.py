"""train: Algorithm 1 of the paper, from a table of labels to a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.errors import ClinicError, ExitCode, ModelUnavailableError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agcnn_clinic.cli.reviewed_table import ClinicFilms


NOT_BOTH = "--from-database takes the films of the clinic: leave --data and --images out."
_REVIEWED = "Chest films of a clinic, with the verdicts of those who reviewed them there."


class TrainingFailedError(ClinicError):
    """The training cannot begin or go on; the sentence says what to do."""

    exit_code = ExitCode.USAGE


class TrainingInterruptedError(ClinicError):
    """The training was asked to stop; its checkpoint is kept."""

    exit_code = ExitCode.NOT_ALL


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the trainer, or the model that it is given, cannot do into errors with an exit code."""
    from agcnn_models.errors import ModelError
    from agcnn_training.errors import TrainingError, TrainingStopped

    try:
        yield
    except TrainingStopped as error:
        raise TrainingInterruptedError(str(error)) from error
    except TrainingError as error:
        raise TrainingFailedError(str(error)) from error
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error


def train(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option(help="The root of ChestX-ray14, or a label table: CSV or parquet.")
    ] = None,
    from_database: Annotated[
        bool, typer.Option("--from-database", help="Instead of --data: this clinic's films that were reviewed.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="The folder of the images (PNG, JPEG, DICOM), where not beside the labels.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name or the path of one.")] = "table1-densenet121",
    out: Annotated[
        Path | None,
        typer.Option(help="The bundle to write; the run's folder lies beside it. Default: the recipe's name, here."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Initial weights of the backbones, torchvision's ImageNet file for one.")
    ] = None,
    init_global: Annotated[
        Path | None,
        typer.Option(help="A trained global branch (see `models import --as global`); it replaces the first stage."),
    ] = None,
    pretrain_data: Annotated[Path | None, typer.Option(help="A label table of further films.")] = None,
    pretrain_images: Annotated[Path | None, typer.Option(help="The folder of those films.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU when there is one.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Train on the films that are there.")] = False,
    boxes: Annotated[Path | None, typer.Option(help="A table of lesion boxes. Default: ChestX-ray14's own.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The folder of film caches. Default: beside the bundle, for many films.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many images are read side by side. Default: one a core.")
    ] = None,
) -> None:
    """Train AG-CNN in its three stages and write it as a bundle."""
    out = out or Path(Path(recipe).stem)
    if from_database:
        if data is not None or images is not None:
            raise UsageError(NOT_BOTH)
        data, images, _, left_out = _films_of_the_clinic(ctx, out, resume=resume)
        for sentence in left_out:
            typer.echo(sentence, err=True)
    if data is None:
        raise UsageError("Say what to learn from: --data, or --from-database.")
    from agcnn_training.distributed import rank
    from agcnn_training.train import TrainRequest
    from agcnn_training.train import train as run

    request = TrainRequest(
        data=data,
        images=images,
        recipe=recipe,
        out=out,
        init=init,
        global_weights=init_global,
        pretrain_data=pretrain_data,
        pretrain_images=pretrain_images,
        resume=resume,
        partial=partial,
        boxes=boxes,
        cache=cache,
        workers=workers,
        device=device,
        image_loader=read_as_the_clinic_does,
        about=_REVIEWED if from_database else "",
    )
    with explained():
        bundle = run(request)
        if rank() == 0:  # torchrun may have started several of these
            typer.echo(bundle)


def _films_of_the_clinic(ctx: typer.Context, out: Path, *, resume: bool) -> "ClinicFilms":
    """The reviewed films, for a run whose bundle is to be `out`."""
    from agcnn_clinic.cli.reviewed_table import films_of_the_clinic
    from agcnn_training.identity import RUN_FILE
    from agcnn_training.run_folder import run_path

    if out.exists():
        raise UsageError(f"{out} exists already: give another --out, or take it away first.")
    run = run_path(out)
    if (run / RUN_FILE).exists() and not resume:
        raise UsageError(f"A run lies in {run}: go on with --resume, or take the folder away to start anew.")
    return films_of_the_clinic(ctx, run, resume=resume)


def read_as_the_clinic_does(path: Path) -> "NDArray[np.float32]":
    """One image for training: DICOM and PNG as analysis reads them, all else (JPEG) by the trainer's reader.

    Raises:
        TrainingError: the image cannot be read.
    """
    from agcnn_clinic.analysis.normalise import read_picture
    from agcnn_clinic.domain import MediaType
    from agcnn_clinic.errors import ImageError
    from agcnn_clinic.intake.identify import media_type
    from agcnn_clinic.sections import Gate
    from agcnn_clinic.staging import HEAD_BYTES
    from agcnn_training.data import pictures
    from agcnn_training.errors import TrainingError

    try:
        with path.open("rb") as file:
            kind = media_type(file.read(HEAD_BYTES), path.name)
        if kind in (MediaType.DICOM, MediaType.PNG):
            return read_picture(path, kind, Gate().max_pixels).pixels
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}.") from error
    except ImageError as error:
        raise TrainingError(f"{path} cannot be read as an image: {error}.") from error
    return pictures.read_picture(path)
