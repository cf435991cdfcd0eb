"""A finished PDF takes its place: whole, or not at all."""

from pathlib import Path

from agcnn_clinic.errors import StorageError
from agcnn_clinic.storage import write_atomically


def report_name(study_key: str, version: int) -> str:
    """The file name of a report; nothing in it comes from the study's own header."""
    return f"{study_key}-v{version}.pdf"


def deliver(data: bytes, path: Path) -> None:
    """Write a PDF under its final name, readable by the clinic's own user alone; what stood there is replaced.

    Raises:
        StorageError: the folder cannot be written; nothing half-written is left under the name.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise StorageError(
            f"The reports folder cannot be written: {error.strerror or error}; it is tried again."
        ) from error
