"""A finished PDF takes its place: whole, or not at all."""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from agcnn_clinic.durable import fsync_folder, make_folder, temporary_file
from agcnn_clinic.errors import LeaseLostError, StorageError
from agcnn_clinic.faults import FaultPoint, reached

_NAME = re.compile(r"[^.]+-v\d+\.pdf")
"""Of a report as `report_name` makes it, and not of one that was made again beside."""


def report_name(study_key: str, version: int) -> str:
    """The file name of a report; nothing in it comes from the study's own header."""
    return f"{study_key}-v{version}.pdf"


def set_aside(reports: Path, known: Collection[str], mark: str) -> int:
    """Give delivered reports that no row names another name each: versions made anew would take their places.

    So it is after a restore: what was delivered since the backup, and may have been read, stays beside. Hold the
    clinic's lock meanwhile.

    Args:
        reports: the folder that they lie in.
        known: the names of reports that have a row.
        mark: what is put behind each name.

    Returns:
        How many there were.

    Raises:
        StorageError: the folder cannot be written.
    """
    aside = [pdf for pdf in reports.glob("*.pdf") if _NAME.fullmatch(pdf.name) and pdf.name not in known]
    with _explained("Reports that came after the backup cannot be renamed", "do so before the clinic works again"):
        for pdf in aside:
            pdf.replace(pdf.with_stem(f"{pdf.stem}-{mark}"))
        if aside:
            fsync_folder(reports)
    return len(aside)


@contextlib.contextmanager
def delivery(data: bytes, path: Path) -> Iterator[Callable[[bool], None]]:
    """A PDF that is on the disk already, for the clinic's own user alone, and what gives it its name within the block.

    That is told whether to replace what stands there. If not, and something does by now, it raises LeaseLostError:
    somebody else has delivered a report under this name. The name is safe from a power cut after `take_effect`.

    Raises:
        StorageError: the folder cannot be written; or an OSError came out of the block, which asks that folder alone.
    """
    with _explained():
        make_folder(path.parent)
        with temporary_file(path.parent) as (writer, temporary):
            writer.write(data)
            writer.flush()
            reached(FaultPoint.REPORT_WRITTEN)
            os.fsync(writer.fileno())

            def take_place(replacing: bool) -> None:
                if replacing or not _linked(temporary, path):
                    temporary.replace(path)
                reached(FaultPoint.REPORT_RENAMED)

            yield take_place


def take_effect(reports: Path) -> None:
    """Make sure that no power cut takes back the names that PDFs have got in the folder of the reports.

    Raises:
        StorageError: the folder cannot be synced.
    """
    with _explained():
        fsync_folder(reports)
        reached(FaultPoint.REPORT_SYNCED)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file a name that nothing has, which a rename could not promise; False where the disk knows no links.

    Raises:
        LeaseLostError: something has that name.
    """
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if path.exists():  # asked in any case: a disk that knows no links need not look what lies there
            raise LeaseLostError(
                "A report was delivered by another worker meanwhile; this one's is forgotten."
            ) from error
        return False
    return True


@contextlib.contextmanager
def _explained(what: str = "The reports folder cannot be written", then: str = "it is tried again") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}; {then}.") from error
