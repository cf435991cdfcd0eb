"""reanalyse: images that were read before are read again, by another model or by the one that the clinic uses now."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config, clinic_database
from agcnn_clinic.cli.logs import start_logging
from agcnn_clinic.cli.models import manifest_of
from agcnn_clinic.cli.progress import progress_bar
from agcnn_clinic.cli.ranges import DAY, day, in_utc
from agcnn_clinic.errors import ExitCode, UsageError
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.analysis.reanalyse import Tally
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.readings import Outlook, Scope
    from agcnn_clinic.database.session import Database
    from agcnn_models.manifest import Manifest


def reanalyse(
    ctx: typer.Context,
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="UIDs, keys, accession numbers or patient ids, as for `show`."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE",
            help="The name of a bundle that ships, or the folder of one. Default: the clinic's own model.",
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All studies.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(parser=day, metavar=DAY, help="Studies for which something came on this day or later."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=10_000, help="The most studies at this time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is to do.")] = False,
) -> None:
    """Read images again that were read before, by another model or by the one that the clinic uses now.

    Readings by another model stand beside those that count, for comparison: reports and summaries stay as they are, and
    `report STUDY --model` prints them. Readings by the clinic's own model count from then on, and the next `watch` or
    `process` makes a new version of the report; the older one is kept. What a model has read it does not read again,
    so this can be interrupted and repeated, and it may run beside `watch`.
    """
    from agcnn_clinic.bundles import bundle_folder, configured_bundle
    from agcnn_clinic.database.readings import Scope, outlook, studies_to_read
    from agcnn_models.manifest import digest

    config = clinic_config(ctx)
    own = configured_bundle(config)
    folder = bundle_folder(model, Path.cwd()) if model else own
    manifest = manifest_of(folder)
    counts = folder == own or digest(manifest) == digest(manifest_of(own))
    with clinic_database(config) as database:
        scope = _scope(database, studies or [], since, every=every)
        with database.session() as session:
            if limit is not None:
                scope = Scope(studies_to_read(session, digest(manifest), scope, counts=counts, limit=limit))
            ahead = outlook(session, digest(manifest), scope, counts=counts)
        if ahead.removed:
            gone = counted(ahead.removed, "image")
            typer.echo(f"Retention has removed the files of {gone}, which cannot be read again.", err=True)
        if not ahead.studies:
            typer.echo(f"{_called(manifest)} has nothing to read again here.")
            return
        if dry_run:
            typer.echo(would(manifest, ahead, counts=counts, sent_to=config.sending.to))
            return
        start_logging(config.log, quiet=True)
        tally = _run(config, database, folder, scope, ahead, counts=counts)
    for line in _told(manifest, tally, counts=counts, sent_to=config.sending.to):
        typer.echo(line)
    if tally.refused or tally.unreachable:
        raise typer.Exit(ExitCode.NOT_ALL)


def would(manifest: "Manifest", ahead: "Outlook", *, counts: bool, sent_to: str) -> str:
    """What a reanalysis would do, in a sentence; `sent_to` is the archive that new reports go to, if there is one."""
    studies = counted(ahead.studies, "study", "studies")
    text = f"{_called(manifest)} would read {counted(ahead.images, 'image')} of {studies}"
    if not counts:
        return f"{text}; its readings would stand beside those that count."
    if ahead.beside:
        text += f" (and has read {counted(ahead.beside, 'image')} of them before)"
    sent = f", each sent to {sent_to}" if sent_to else ""
    return f"{text}; its readings would count, and new reports would be due{sent}."


def _scope(database: "Database", studies: list[str], since: datetime | None, *, every: bool) -> "Scope":
    from agcnn_clinic.database.queries import find_study
    from agcnn_clinic.database.readings import Scope

    if bool(studies) + (since is not None) + every != 1:
        raise UsageError("Say which studies: name them, or give --since YYYY-MM-DD, or --all for every one.")
    with database.session() as session:
        ids = [find_study(session, study).id for study in studies] if studies else None
    # A day begins where the clinic is.
    return Scope(ids, since and in_utc(since))


def _run(
    config: "Config",
    database: "Database",
    folder: Path,
    scope: "Scope",
    ahead: "Outlook",
    *,
    counts: bool,
) -> "Tally":
    from agcnn_clinic.analysis.infer import load_reader
    from agcnn_clinic.analysis.reanalyse import Reanalysis
    from agcnn_clinic.clinic import decoders
    from agcnn_clinic.storage import Storage

    analysis, shares = config.analysis, config.analysis.shares
    with decoders(config) as sandbox:
        reader = load_reader(
            folder, device=analysis.device, threads=shares.network_threads, precision=analysis.precision
        )
        work = Reanalysis(database, Storage(config), sandbox, reader, config.gate, shares.batch, counts=counts)
        with progress_bar("reading again") as progress:
            return work.run(scope, lambda tried: progress(ahead.images, tried))


def _told(manifest: "Manifest", tally: "Tally", *, counts: bool, sent_to: str) -> Iterator[str]:
    """What was done, and what was left as it was."""
    read = f"{_called(manifest)} read {counted(tally.read, 'image')}"
    if not counts:
        yield f"{read}; its readings stand beside those that count."
    elif tally.studies:
        due = f"a new report is due for {counted(tally.studies, 'study', 'studies')}, at the next watch or process"
        due += f", which sends it to {sent_to}" if sent_to else ""
        yield f"{read}; its readings of {counted(tally.counting, 'image')} count from now on, and {due}."
    else:
        yield f"{read}; no reading counts that did not before."
    if tally.meanwhile:
        yield f"Read by it in another process at the same time: {counted(tally.meanwhile, 'image')}."
    if tally.refused:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(tally.refused.items()))
        yield f"Left as before, since it would not be read now: {counted(tally.refused.total(), 'image')} ({codes})."
    if tally.unreachable:
        yield f"Left as before, since the archive does not give it up: {counted(tally.unreachable, 'image')}."


def _called(manifest: "Manifest") -> str:
    return f"{manifest.name} {manifest.version}"
