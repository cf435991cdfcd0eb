"""report and quarantine requeue: what a person asks to be done again."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config, clinic_database
from agcnn_clinic.errors import ExitCode, RemovedError, RenderingError, StorageError, UsageError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.session import Database
    from agcnn_clinic.reporting.remaking import Remade


def report(
    ctx: typer.Context,
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="A UID, key, accession number or patient id.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version of the report. Default: the newest.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Print this model's readings: a name, name@version, or the beginning of a hash (`show` lists them).",
        ),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Instead of one study's: every report that is missing or was altered.")
    ] = False,
) -> None:
    """Make a study's PDF again, from the database and the archive alone; or print another model's readings (--model).

    What another model read becomes a version of its own, marked as made by request. The clinic's own report stays the
    one that counts, and the one that is made again when neither a version nor a model is named.
    """
    from agcnn_clinic.sandbox.ahead import load_ahead

    if (study is None) is not missing or (missing and (version, model) != (None, None)):
        raise UsageError("Say which report: name a study, or give --missing alone for all that are missing.")
    if version is not None and model is not None:
        raise UsageError("Name a version or a model, not both: a version knows the model that it was made with.")
    # The decoder's libraries are loaded over there while this process loads its own.
    load_ahead("agcnn_clinic.analysis.normalise")
    from agcnn_clinic.database.queries import find_model, find_study
    from agcnn_clinic.lock import refuse_root
    from agcnn_clinic.sandbox.pool import Sandbox

    config = clinic_config(ctx)
    refuse_root(config)
    analysis = config.analysis
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(1, analysis.decode_seconds, analysis.decode_memory_mb))
        sandbox.start_first()
        database = stack.enter_context(clinic_database(config))
        from agcnn_clinic.press import press
        from agcnn_clinic.reporting.remaking import make_on_request, remake

        printer = press(config, sandbox)
        again = partial(remake, database, clock=utc_now, config=config, press=printer)
        if study is None:
            all_made = _make_missing(again, database, config)
        else:
            with database.session() as session:
                found = find_study(session, study)
                study_id, model_id = found.id, None if model is None else find_model(session, found, model).id
            if model_id is None:
                _tell(again(study_id, version))
            else:
                _tell(make_on_request(database, study_id, model_id, clock=utc_now, config=config, press=printer))
            all_made = True
    if not all_made:
        raise typer.Exit(ExitCode.NOT_ALL)


def _make_missing(again: "Callable[[int, int], Remade]", database: "Database", config: "Config") -> bool:
    """Make every lost report again, as far as it can be; False where one cannot."""
    from agcnn_clinic.holdings import lost_reports

    all_made = True
    lost = lost_reports(database, config)
    if not lost:
        typer.echo("No report is missing.")
    for one in lost:
        try:
            _tell(again(one.study_id, one.version))
        except (RemovedError, RenderingError, StorageError) as error:
            typer.echo(f"{one.pdf.name}: {error}", err=True)
            all_made = False
    return all_made


def _tell(made: "Remade") -> None:
    typer.echo(made.path)
    if made.note:
        typer.echo(made.note, err=True)


def requeue(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Ids as `quarantine list` prints them.")],
) -> None:
    """Take quarantined files back: they are read again at the next `watch` or `process`.

    The exit code is 1 if one of them stays in quarantine.
    """
    from agcnn_clinic.intake.requeue import requeue_files
    from agcnn_clinic.sandbox.pool import Sandbox
    from agcnn_clinic.storage import Storage

    config = clinic_config(ctx)
    analysis = config.analysis
    with (
        clinic_database(config) as database,
        Sandbox(1, analysis.decode_seconds, analysis.decode_memory_mb) as sandbox,
    ):
        stays = False
        for tried in requeue_files(database, Storage(config), sandbox, ids):
            typer.echo(tried)
            stays |= tried.stays
    if stays:
        raise typer.Exit(ExitCode.NOT_ALL)
