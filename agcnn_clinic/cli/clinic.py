"""init, watch and process: the daily work."""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config
from agcnn_clinic.cli.logs import start_logging
from agcnn_clinic.cli.progress import progress_bar
from agcnn_clinic.errors import ExitCode, UsageError
from agcnn_clinic.moments import utc_now
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.once import Left

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
CONFIG_FILE = "config.toml"
_SHOW_CURSOR = b"\x1b[?25h"
"""The progress bar hides it, and does not get to show it again where the process is ended."""
_NAMED = 3
"""So many of the files that could not be taken are named."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the clinic shall live.")] = Path(),
) -> None:
    """Make a clinic: config.toml, inbox/, archive/, quarantine/, reports/ and the database."""
    made = make_clinic(folder)
    typer.echo(f"A clinic is ready in {made.root}.")
    typer.echo(f"Drop studies into {made.inbox} and run: agcnn-clinic --config {made.root / CONFIG_FILE} watch")


def make_clinic(folder: Path) -> "Config":
    """Make what is missing of a clinic in a folder, and bring its database to head. Nothing that is there is changed.

    Raises:
        UsageError: the folder cannot be made or written, or the clinic in it is another user's and this is root.
        ConfigError: its name is not UTF-8, or its config.toml is not valid.
    """
    from agcnn_clinic.config import load_config
    from agcnn_clinic.database.migrate import upgrade
    from agcnn_clinic.durable import led_to, write_atomically
    from agcnn_clinic.layout import require_utf8
    from agcnn_clinic.lock import refuse_root, refuse_root_in

    try:
        require_utf8(led_to(folder))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config_file = folder / CONFIG_FILE
        if not config_file.exists():
            to_make = led_to(config_file)
            refuse_root_in(to_make.parent)
            write_atomically(to_make, _default_config().read_bytes())
        config = load_config(config_file)
        refuse_root(config)
        for needed in config.layout.folders.values():
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The clinic cannot be made in {folder}: {error.strerror}.") from error
    upgrade(config.database_url)
    return config


def _default_config() -> Path:
    installed = PACKAGE / CONFIG_FILE
    return installed if installed.is_file() else PACKAGE.parent / CONFIG_FILE


def watch(ctx: typer.Context) -> None:
    """Watch the inbox: read what is dropped there until SIGTERM or Ctrl-C."""
    config = clinic_config(ctx)
    start_logging(config.log)
    from agcnn_clinic.clinic import at_work
    from agcnn_clinic.database.failures import DatabaseUnavailableError
    from agcnn_clinic.service import HEED_SECONDS, RETRY_SECONDS, until_told

    stop = threading.Event()
    stop_when_told(stop)
    while not stop.is_set():
        try:
            with at_work(config) as clinic:
                until_told(clinic, stop)
        except DatabaseUnavailableError as error:
            # A database server may come up after this machine; what met a loop at work was tried again there.
            log.warning("%s", error)
            rested = time.monotonic() + RETRY_SECONDS
            while not stop.is_set() and time.monotonic() < rested:
                time.sleep(HEED_SECONDS)


def stop_when_told(stop: threading.Event) -> None:
    """Let SIGTERM and Ctrl-C set an event, which this thread must not wait for.

    What they call runs in this thread, between any two of its steps. It waits for the event's lock, and if this thread
    had that just then, it would do so for ever.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)

    def tell(number: int, frame: FrameType | None) -> None:
        del number, frame
        for heard in numbers:  # a second one would come between the steps of the first
            signal.signal(heard, signal.SIG_IGN)
        stop.set()

    for number in numbers:
        signal.signal(number, tell)


def process(
    ctx: typer.Context,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Files and folders to read besides the inbox; they stay in place."),
    ] = None,
) -> None:
    """Read what lies in the inbox, and PATHs, once; then exit."""
    config = clinic_config(ctx)
    for source in sources or []:
        if not source.exists():
            raise UsageError(f"There is no {source}; name a file or a folder.")
        config.layout.check_source(source)
    start_logging(config.log, quiet=True)
    if not run_until_idle(config, sources or []):
        raise typer.Exit(ExitCode.NOT_ALL)


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Heed one Ctrl-C as ever; the next one ends the process where it stands, as `kill -9` would.

    It would else end the wait for the loops, which are at their last step: the clinic's lock would be let go meanwhile.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
        raise KeyboardInterrupt

    # Ignored, as in what a shell has started in the background, it stays so.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_until_idle(config: "Config", sources: list[Path]) -> bool:
    """Work until nothing is left to do and print what became of the files; False if not all was done."""
    from agcnn_clinic.cli.summary import print_summary
    from agcnn_clinic.clinic import at_work
    from agcnn_clinic.database.own import OwnWork
    from agcnn_clinic.database.summary import beginning, summary_of, summary_since
    from agcnn_clinic.domain import Outcome
    from agcnn_clinic.once import until_idle

    with _interrupted_once(), at_work(config) as clinic:
        with clinic.database.session() as session:
            begun = beginning(session, utc_now())
        with progress_bar("reading") as progress:
            own = OwnWork(clinic.database, clinic.claims.worker) if clinic.database.file is None else None
            left = until_idle(clinic, sources, progress, own)
            low, removed = clinic.inbox.watermark.low, clinic.upkeep.removed
        with clinic.database.session() as session:
            if own is None:
                summary = summary_since(session, begun)
            else:
                alone = not clinic.claims.living()
                studies = sorted({*own.studies(), *own.reported()})
                summary = summary_of(session, begun, own.files(), studies, all_pending=alone)
    print_summary(summary, config)
    if removed:
        told = counted(removed, "old file or report", "old files and reports")
        typer.echo(f"Retention removed {told}; `agcnn-clinic audit list --event removed` says which.", err=True)
    _tell_of(left, low, config.sending.to)
    return not (summary.count(Outcome.QUARANTINED) or summary.pending or any(left))


def _tell_of(left: "Left", low: str, sent_to: str) -> None:
    """Say what could not be done; `low` is the disk that has no room, if that is why files wait."""
    from agcnn_clinic.cli.formats import printable

    if left.files:
        wait = "waits where it is" if left.files == 1 else "wait where they are"
        files = f"{counted(left.files, 'file')} could not be taken and {wait}"
        if left.names and sys.stderr.isatty():
            # For the person who waits for it; what goes elsewhere is a log, which holds no names.
            more = ", ..." if left.names[_NAMED:] else ""
            files = f"{files} ({', '.join(map(printable, left.names[:_NAMED]))}{more})"
        typer.echo(f"{files}: {low}." if low else f"{files}; the lines above say why.", err=True)
    if left.folders:
        folders = f"{counted(left.folders, 'folder')} could not be looked into"
        typer.echo(f"{folders}; the lines above say why.", err=True)
    if left.reports:
        reports = f"{counted(left.reports, 'report')} could not be made"
        typer.echo(f"{reports}; the lines above say why, and the next watch or process tries again.", err=True)
    if left.unsent:
        waiting = f"{counted(left.unsent, 'report')} could not be sent to {sent_to} and wait"
        waiting += "s" if left.unsent == 1 else ""
        typer.echo(f"{waiting}; the lines above say why, and the next watch or process tries again.", err=True)
