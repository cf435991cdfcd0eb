"""experiment: a table or a figure of the paper, from its recipes to the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.formats import Column
from agcnn_clinic.cli.output import Format, Printing, Shown, print_rows, text_console
from agcnn_clinic.cli.training import explained, read_as_the_clinic_does
from agcnn_clinic.errors import ClinicError, ExitCode, UsageError

if TYPE_CHECKING:
    from agcnn_models.settings import Backbone


_COLUMNS = (Column("name"), Column("title"), Column("recipes"))
_SHOWN = (
    Shown("name", "experiment"),
    Shown("title", "what it is"),
    Shown("recipes", "recipes", text=lambda row: " ".join(row["recipes"]), whole=str.split),
)


class ExperimentIncompleteError(ClinicError):
    """Some runs of an experiment failed; all others are trained and written."""

    exit_code = ExitCode.NOT_ALL


def experiment(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A table or a figure, or a recipe; --list names them.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of ChestX-ray14, or a label table.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of the images, where it is another.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of tables, figures and runs.")] = Path("experiments"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each recipe; all are reported.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of every phase, for small runs.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Lies over every recipe, as phase.batch_size=16. Repeat it."),
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(metavar="BACKBONE=FILE", help="Initial weights, as resnet50=resnet50.pth. Repeat it."),
    ] = None,
    film: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A film to show in fig7 and fig8. Repeat it. Default: drawn."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on with the films that are there when others are missing.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU when there is one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many images are read side by side. Default: one a core.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which experiments there are, and end.")] = False,
) -> None:
    """Train what a table or figure of the paper needs, and write it beside the paper's own numbers."""
    if list_:
        _print_experiments()
        return
    if name is None or data is None:
        raise UsageError("Say which experiment (NAME; --list names them) and on what data (--data).")
    from agcnn_training.experiments.overrides import parse_settings
    from agcnn_training.experiments.runner import ExperimentRequest, RunsFailedError, run_experiment

    with explained():
        changes = parse_settings(settings or [])
        if epochs is not None:
            changes["phase.epochs"] = epochs
        request = ExperimentRequest(
            name=name,
            data=data,
            images=images,
            out=out,
            seeds=seeds,
            settings=changes,
            init=_initial_weights(init or []),
            films=tuple(film or ()),
            partial=partial,
            device=device,
            workers=workers,
            image_loader=read_as_the_clinic_does,
        )
        try:
            paths = run_experiment(request)
        except RunsFailedError as error:
            raise ExperimentIncompleteError(str(error)) from error
    for path in paths:
        typer.echo(path)


def _initial_weights(texts: list[str]) -> dict["Backbone", Path]:
    """Read backbone=FILE."""
    from agcnn_models.settings import Backbone

    found: dict[Backbone, Path] = {}
    for text in texts:
        backbone, _, path = text.partition("=")
        if backbone not in list(Backbone) or not path:
            raise UsageError(f"--init {text}: write backbone=FILE, with one of {', '.join(Backbone)}.")
        found[Backbone(backbone)] = Path(path)
    return found


def _print_experiments() -> None:
    from agcnn_training.experiments.registry import EXPERIMENTS, recipe_experiments

    rows = [{"name": known.name, "title": known.title, "recipes": known.recipes} for known in EXPERIMENTS.values()]
    print_rows(rows, _COLUMNS, Printing(Format.TABLE), shown=_SHOWN)
    with text_console(None) as console:
        console.print(f"\nThese recipes are experiments too: {', '.join(recipe_experiments())}.")
