"""A finished PDF takes its place: whole, or not at all."""

from pathlib import Path

from agcnn_clinic.durable import Steps, make_folder, write_atomically
from agcnn_clinic.errors import StorageError
from agcnn_clinic.faults import FaultPoint

_STEPS = Steps(FaultPoint.REPORT_WRITTEN, FaultPoint.REPORT_RENAMED, FaultPoint.REPORT_SYNCED)


def report_name(study_key: str, version: int) -> str:
    """The file name of a report; nothing in it comes from the study's own header."""
    return f"{study_key}-v{version}.pdf"


def deliver(data: bytes, path: Path) -> None:
    """Write a PDF under its final name, readable by the clinic's own user alone; what stood there is replaced.

    Raises:
        StorageError: the folder cannot be written; nothing half-written is left under the name.
    """
    try:
        make_folder(path.parent)
        write_atomically(path, data, _STEPS)
    except OSError as error:
        raise StorageError(
            f"The reports folder cannot be written: {error.strerror or error}; it is tried again."
        ) from error
