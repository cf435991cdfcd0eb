"""batch: an archive of films, read on many cores and GPUs into a table, without a clinic."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config_or_defaults
from agcnn_clinic.errors import ExitCode, ModelUnavailableError, StorageError
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.batch.listing import Listing
    from agcnn_clinic.batch.output import Origin, Output, Shard
    from agcnn_clinic.batch.run import Tally
    from agcnn_clinic.config import Config
    from agcnn_models.bundle import Bundle

BATCH_SIZE = 32
SHARD_SIZE = 4096
_TELL_SECONDS = 30.0


@dataclass(frozen=True)
class _Wanted:
    """How a run is to be laid out."""

    address: str | None
    cpus: int | None
    gpus: int | None
    decoders: int


def batch(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A folder of films at any depth, or a list of paths: text, CSV or parquet."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder of the table, such as findings.parquet.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE",
            help="The name of a bundle that ships, or the folder of one. Default: that of config.toml, else starter.",
        ),
    ] = "",
    address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster, or auto to look for one. Default: this machine, for this run."),
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores to use. Default: all.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs, each with one network. Default: all.")] = None,
    decoders: Annotated[
        int, typer.Option(min=0, show_default=False, help="Workers that decode. Default: by cores and GPUs.")
    ] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help=f"Films that go through the network together. Default: {BATCH_SIZE}."),
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help=f"Files of one shard. Default: {SHARD_SIZE}.")
    ] = None,
) -> None:
    """Read an archive of films into a parquet table: one row a file, whatever becomes of it.

    It needs no clinic and touches none: neither its database nor its reports. A config.toml that is found gives [gate],
    [analysis], intake.max_file_mb and intake.ignore. The same command goes on where a run stopped.
    """
    from agcnn_clinic.batch.cluster import require_ray
    from agcnn_clinic.batch.listing import list_files
    from agcnn_clinic.batch.output import UNDECIDED, Output, begun_with
    from agcnn_clinic.batch.run import Tally, missing_shards
    from agcnn_clinic.bundles import bundle_folder, configured_bundle
    from agcnn_clinic.cli.formats import printable

    config = clinic_config_or_defaults(ctx)
    require_ray()
    bundle = _opened(bundle_folder(model, Path.cwd()) if model else configured_bundle(config))
    listing = list_files(source, config.intake.ignore, out)
    try:
        begun = begun_with(out) or {}
    except OSError as error:
        raise StorageError(f"{out} cannot be read: {error.strerror}.") from error
    output = Output(
        out,
        _origin(
            listing,
            bundle,
            config,
            batch_size=batch_size or int(begun.get("batch_size", BATCH_SIZE)),
            shard_size=shard_size or int(begun.get("shard_size", SHARD_SIZE)),
        ),
    )
    tally = Tally()
    missing = missing_shards(output, tally)
    if missing:
        wanted = _Wanted(address, cpus, 0 if config.analysis.device == "cpu" else gpus, decoders)
        _read(listing, output, missing, bundle, config, wanted, tally)
    _print(tally, out)
    if listing.unlisted:
        name, why = next(iter(listing.unlisted.items()))
        typer.echo(
            f"Folders that could not be looked into, so without rows: {len(listing.unlisted)}; the first: "
            f"{printable(str(listing.root / name))} ({why}).",
            err=True,
        )
    if listing.unlisted or tally.reasons[UNDECIDED] or _quarantined(tally):
        raise typer.Exit(ExitCode.NOT_ALL)


def _opened(folder: Path) -> "Bundle":
    from agcnn_models.bundle import open_bundle
    from agcnn_models.errors import ModelError

    try:
        return open_bundle(folder)
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error


def _origin(listing: "Listing", bundle: "Bundle", config: "Config", *, batch_size: int, shard_size: int) -> "Origin":
    from agcnn_clinic import __version__
    from agcnn_clinic.batch.output import Origin
    from agcnn_models.manifest import digest

    return Origin(
        listing_sha256=listing.sha256,
        files=len(listing),
        model=f"{bundle.manifest.name} {bundle.manifest.version}",
        model_sha256=digest(bundle.manifest),
        gate=config.gate.model_dump(mode="json"),
        max_file_mb=config.intake.max_file_mb,
        decode_seconds=config.analysis.decode_seconds,
        decode_memory_mb=config.analysis.decode_memory_mb,
        precision=config.analysis.precision,
        batch_size=batch_size,
        shard_size=shard_size,
        software=__version__,
    )


def _read(
    listing: "Listing",
    output: "Output",
    missing: "list[Shard]",
    bundle: "Bundle",
    config: "Config",
    wanted: _Wanted,
    tally: "Tally",
) -> None:
    from agcnn_clinic.batch.cluster import Task, Workers, lay_out, ray_cluster, store_bytes
    from agcnn_clinic.batch.run import read_shards
    from agcnn_models.cores import usable_cores

    task = Task(
        bundle=bundle.folder.resolve(),
        preprocessing=bundle.manifest.preprocessing,
        gate=config.gate,
        max_file_bytes=config.intake.max_file_mb * 1_000_000,
        decode_seconds=config.analysis.decode_seconds,
        decode_memory_mb=config.analysis.decode_memory_mb,
        precision=config.analysis.precision,
    )
    most = max(wanted.decoders, wanted.cpus or usable_cores())
    room = store_bytes(most, output.origin.batch_size, task.preprocessing)
    with ray_cluster(wanted.address, wanted.cpus, room) as (cpus, found):
        gpus = found if wanted.gpus is None else wanted.gpus
        layout = lay_out(cpus, gpus, decoders=wanted.decoders, threads=config.analysis.threads)
        kind = f"on {counted(gpus, 'GPU')}" if gpus else f"of {layout.threads} threads"
        typer.echo(f"{len(listing):,} files: {layout.decoders} decoders, {layout.networks} networks {kind}.", err=True)
        with _progress() as progress:
            read_shards(listing, output, Workers(task, layout), missing, tally, progress)


@contextmanager
def _progress() -> "Iterator[Callable[[int, int, float], None]]":
    """A bar on a terminal; elsewhere a line now and then, since such a run takes hours."""
    from agcnn_clinic.cli.progress import progress_bar

    if sys.stderr.isatty():
        with progress_bar("reading") as bar:
            yield lambda total, done, _rate: bar(total, done)
        return
    told = time.monotonic()

    def tell(total: int, done: int, rate: float) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _TELL_SECONDS:
            told = now
            typer.echo(f"{done:,} of {total:,} files, {rate:.1f} a second", err=True)

    yield tell


def _quarantined(tally: "Tally") -> bool:
    from agcnn_clinic.batch.output import reasons
    from agcnn_clinic.domain import REASONS, Outcome

    return any(REASONS[code].outcome is Outcome.QUARANTINED for code, _ in reasons(tally.reasons))


def _print(tally: "Tally", out: Path) -> None:
    from rich.console import Console

    from agcnn_clinic.batch.output import UNDECIDED, reasons
    from agcnn_clinic.cli.summary import print_outcomes

    console = Console(highlight=False, markup=False, soft_wrap=True)
    print_outcomes(console, reasons(tally.reasons))
    if left := tally.reasons[UNDECIDED]:
        console.print(f"Not reached: {counted(left, 'file')}; the same command tries again.")
    if tally.read_now:
        console.print(f"{counted(tally.read_now, 'file')} in {tally.seconds:.0f} s, {tally.rate:.1f} a second.")
    console.print(f"The table is in {out}")
