"""Files that are either whole or not there, and what is in them."""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from agcnn_training.errors import TrainingError


def replace_file(path: Path, write: Callable[[Path], object], *, own: str = "") -> None:
    """Write a file beside its name and move it there once it is whole and on the disk; the old one stays till then.

    Args:
        path: the file.
        write: writes its content to the path it is given.
        own: makes that path this process's own, where several may write the file at the same time.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    partial = path.with_name(f"{path.name}{own}.partial")
    try:
        write(partial)
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise unwritable(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text in the same way.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8", newline=""))


def append_text(path: Path, text: str) -> None:
    """Add a text to what a file holds.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> TrainingError:
    """What to do where a file, or a folder of files, cannot be written."""
    return TrainingError(
        f"{path.name} cannot be written in {path.parent} ({error}): free disk space and repeat the command; a "
        "training run goes on with --resume."
    )


def csv_text(columns: Sequence[str], lines: Iterable[Iterable[object]]) -> str:
    """A table as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file that a person has named.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror}): give its right path.") from error


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
