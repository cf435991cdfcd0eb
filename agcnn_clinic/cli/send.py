"""send: a report as DICOM, to the archive or into a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config, clinic_database
from agcnn_clinic.errors import ExitCode, SendingError, UsageError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.session import Database
    from agcnn_clinic.sending.parcel import Parcel


def send(
    ctx: typer.Context,
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="STUDY", help="UIDs, keys, accession numbers or patient ids.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version of the report. Default: the newest.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the objects into a folder instead, as DICOM files."),
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Send nothing: what waits of the studies waits no longer.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --cancel: whatever waits.")] = False,
) -> None:
    """Send reports to the DICOM archive that sending.to names: again, or for the first time.

    `watch` and `process` send new ones by themselves. What is sent twice is the same object, with the same UID.
    The exit code is 1 if one of them is not taken.
    """
    from agcnn_clinic.database.queries import find_study
    from agcnn_clinic.lock import refuse_root
    from agcnn_clinic.reporting.remaking import delivered_version

    if cancel and out is not None:
        raise UsageError("--cancel sends nothing: leave --out out.")
    if every and not cancel:
        raise UsageError("--all is for --cancel: name the studies that are to be sent.")
    if bool(studies) == every:
        raise UsageError("Say which: name studies, as `agcnn-clinic studies` prints them, or --cancel --all.")
    config = clinic_config(ctx)
    refuse_root(config)
    if cancel:
        with clinic_database(config) as database:
            _cancel(database, studies or None, version)
        return
    if out is None and not config.sending.is_on:
        raise UsageError("No archive is named: set sending.to in config.toml, or give a folder with --out.")
    with clinic_database(config) as database:
        with database.session() as session:
            found = [find_study(session, study) for study in studies or ()]
            keys = [study.key for study in found]
            reports = [delivered_version(study, version).id for study in found]
        if out is not None:
            from agcnn_clinic.cli.access import record_access
            from agcnn_clinic.database.audit_events import AuditEvent
            from agcnn_clinic.sending.parcel import begun

            record_access(ctx, database, AuditEvent.EXPORTED, studies=keys, rows=len(reports))
            for report_id in reports:
                for path in _written(begun(database, config, report_id)(), out):
                    typer.echo(path)
        elif not _sent(config, database, dict(zip(reports, keys, strict=True))):
            raise typer.Exit(ExitCode.NOT_ALL)


def _cancel(database: "Database", studies: list[str] | None, version: int | None) -> None:
    """Let reports wait no longer: those of the studies, or of all for None; of each all that wait, or one version."""
    from agcnn_clinic.database.queries import find_study
    from agcnn_clinic.sending.parcel import cancel

    with database.write() as session:
        study_ids = None if studies is None else [find_study(session, study).id for study in studies]
        cancelled = cancel(session, study_ids, version=version, now=utc_now())
    for key, number in cancelled:
        typer.echo(f"report {number} of {key}: waits no longer to be sent")
    if not cancelled:
        typer.echo("No such report waits to be sent.")


def _sent(config: "Config", database: "Database", reports: dict[int, str]) -> bool:
    """Send reports, by their rows, of studies, by their keys; whether all were taken.

    Raises:
        SendingError: the archive is not there, or no longer.
    """
    from agcnn_clinic.sending.archive import Archive, NotTakenError
    from agcnn_clinic.sending.parcel import UnsendableError, begun, record

    archive, all_taken = Archive.configured(config), True
    with archive.connected() as store:
        for report_id, key in reports.items():
            try:
                parcel = begun(database, config, report_id)()
                for sent in parcel.objects:
                    store(sent)
            except (NotTakenError, UnsendableError) as error:
                typer.echo(f"{key}: {error}", err=True)
                all_taken = False
                continue
            with database.write() as session:
                record(session, parcel, to=str(archive), now=utc_now())
            typer.echo(f"report {parcel.version} of {parcel.study_key}: {_told(parcel)} to {archive}")
    return all_taken


def _told(parcel: "Parcel") -> str:
    return " and ".join(sent.kind.upper() for sent in parcel.objects) or "nothing that could be sent"


def _written(parcel: "Parcel", folder: Path) -> list[Path]:
    """Write the objects of a report into a folder.

    Raises:
        SendingError: it cannot be written.
    """
    from agcnn_clinic.durable import write_atomically

    paths = []
    for sent in parcel.objects:
        path = folder / f"{parcel.study_key}-v{parcel.version}-{sent.kind}.dcm"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, sent.file)
        except OSError as error:
            raise SendingError(f"{path} cannot be written: {error.strerror}; name another folder.") from error
        paths.append(path)
    return paths
