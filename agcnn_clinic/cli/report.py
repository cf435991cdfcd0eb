"""report and quarantine requeue: what a person asks to be done again."""

from typing import Annotated

import typer

from agcnn_clinic.cli.context import clinic_config, clinic_database


def report(
    ctx: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A UID, key, accession number or patient id.")],
    version: Annotated[int | None, typer.Option(help="An older version of the report. Default: the newest.")] = None,
) -> None:
    """Make a study's PDF again, from the database and the archive alone."""
    from agcnn_clinic.analysis.normalise import PRELOAD
    from agcnn_clinic.database.queries import find_study
    from agcnn_clinic.sandbox import Sandbox
    from agcnn_clinic.service import reporting

    config = clinic_config(ctx)
    database = clinic_database(ctx)
    with database.session() as session:
        study_id = find_study(session, study).id
    analysis = config.analysis
    with Sandbox(1, analysis.decode_seconds, analysis.decode_memory_mb, preload=PRELOAD) as sandbox:
        made = reporting(config, database, sandbox).remake(study_id, version)
    typer.echo(made.path)
    if made.note:
        typer.echo(made.note, err=True)


def requeue(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids as `quarantine list` prints them.")],
) -> None:
    """Take quarantined files back: they are read again at the next `watch` or `process`."""
    from agcnn_clinic.intake.requeue import requeue_files
    from agcnn_clinic.sandbox import Sandbox
    from agcnn_clinic.storage import Storage

    config = clinic_config(ctx)
    database = clinic_database(ctx)
    with Sandbox(1, config.analysis.decode_seconds, config.analysis.decode_memory_mb) as sandbox:
        for line in requeue_files(database, Storage(config), sandbox, ids):
            typer.echo(line)
