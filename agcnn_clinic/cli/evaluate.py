"""evaluate: how good a model is on films with labels, and how sure that is."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from agcnn_clinic.cli.training import NOT_BOTH, explained, read_as_the_clinic_does
from agcnn_clinic.errors import UsageError

Choice = TypeVar("Choice", bound=StrEnum)


OF_THE_CLINIC = (
    "Who reviewed them may have chosen and judged them knowing what a model had found: where that is so, these results "
    "flatter that model. To know how well one reads here, review all films of some days, or films drawn by lot."
)
"""What a reader of results must know of films that have their labels from reviews."""


def evaluate(
    ctx: typer.Context,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The name of a bundle that ships, or the folder of one.")
    ],
    data: Annotated[Path | None, typer.Option(help="ChestX-ray14's folder, or a label table.")] = None,
    from_database: Annotated[
        bool, typer.Option("--from-database", help="Instead of --data: this clinic's films that were reviewed.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="The folder of the images. Default: where they lie beside the labels.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Which films: test, validation or all. Default: the test films where there are any."),
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="A table of lesions, such as BBox_List_2017.csv.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on with the films that are there when others are missing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The folder to write into. Default: evaluation-<name>.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Read each film mirrored as well, and average.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU when there is one.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many images are read side by side. Default: one a core.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws of patients.")] = 0,
) -> None:
    """Measure a model on films with labels: AUC, calibration, decisions, groups, localisation; one page and tables."""
    from agcnn_clinic.bundles import bundle_folder
    from agcnn_clinic.cli.reviewed_table import films_of_the_clinic
    from agcnn_models.cores import usable_cores
    from agcnn_training.evaluation.evaluate import EvaluateRequest
    from agcnn_training.evaluation.evaluate import evaluate as run
    from agcnn_training.evaluation.opening import Side
    from agcnn_training.recipe import Precision

    folder = bundle_folder(bundle, Path.cwd())
    out = out or Path(f"evaluation-{folder.name}")
    side = None if split is None else _one_of(Side, split, "--split")
    computed_in = _one_of((Precision.FLOAT32, Precision.BFLOAT16), precision, "--precision")
    cautions: tuple[str, ...] = ()
    if from_database:
        if data is not None or images is not None:
            raise UsageError(NOT_BOTH)
        data, images, which, left_out = films_of_the_clinic(ctx, out)
        cautions = (f"These films are from {which}. {OF_THE_CLINIC}", *left_out)
    if data is None:
        raise UsageError("Say what to measure it on: --data, or --from-database.")
    request = EvaluateRequest(
        bundle=folder,
        data=data,
        images=images,
        out=out,
        side=side,
        boxes=boxes,
        partial=partial,
        flip=flip,
        precision=computed_in,
        device=device,
        workers=workers or usable_cores(),
        seed=seed,
        image_loader=read_as_the_clinic_does,
        cautions=cautions,
    )
    with explained():
        typer.echo(run(request))


def _one_of(choices: Iterable[Choice], value: str, option: str) -> Choice:
    # Not an enum in the signature: that would import the trainer, and torch with it, for `--help`.
    known = {str(choice): choice for choice in choices}
    if value not in known:
        raise UsageError(f"{option} is one of {', '.join(known)}, not {value!r}.")
    return known[value]
