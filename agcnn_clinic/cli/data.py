"""data: looks through the films that somebody wants to train on, before hours are spent on them."""

from pathlib import Path
from typing import Annotated

import typer

from agcnn_clinic.cli.training import explained, read_as_the_clinic_does
from agcnn_clinic.errors import ExitCode


def data(
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="The root of ChestX-ray14, or a label table: CSV or parquet.")
    ],
    images: Annotated[Path | None, typer.Option(help="The folder of the images, where not beside the labels.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every film; a minute for 5,000 on each core.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many images are read side by side. Default: one a core.")
    ] = None,
) -> None:
    """Say which films of a data set are missing, where to get them, and which are damaged."""
    from rich.console import Console

    from agcnn_models.cores import usable_cores
    from agcnn_training.data.check import check_data
    from agcnn_training.data.pictures import Loading
    from agcnn_training.progress import Journal, StopRequest

    stop = StopRequest()
    loading = Loading(read_as_the_clinic_does, workers or usable_cores(), None, Journal(Console(stderr=True)), stop)
    with explained(), stop.listening():
        check = check_data(source, images, loading, deep=deep)
    for sentence in check.sentences():
        typer.echo(sentence)
    if not check.is_sound:
        raise typer.Exit(ExitCode.NOT_ALL)
