"""Tables from disk as plain text: CSV, gzipped or not, and parquet, under our own column names."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from agcnn_training.data.names import film_key
from agcnn_training.errors import TrainingError

Columns = Mapping[str, tuple[str, ...]]
"""Our name of a column, and the names that it may bear in a file; the first of them that is there counts."""


_SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets write between cells where a comma is in numbers; a "sep=;" before the header says the same."""


class Record(NamedTuple):
    """One line of a table: where it stands, for error messages, and its cells as stripped text."""

    where: str
    cells: dict[str, str]


def read_records(path: Path, columns: Columns, needed: Sequence[str]) -> list[Record]:
    """Read the columns that are wanted, of those that are there.

    Args:
        path: a table; ``.parquet`` is read as that, anything else as CSV, ``.gz`` unpacked.
        columns: what may be read.
        needed: which of our names must be there.

    Raises:
        TrainingError: the file cannot be read, its cells are not separated by commas, a needed column is missing, one
            that is read is there twice, a line has other cells than the header, or there are no rows.
    """
    header, lines = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    theirs = {ours: name for ours, names in columns.items() for name in names[::-1] if name in header}
    if twice := [name for name in theirs.values() if header.count(name) > 1]:
        raise TrainingError(f"{path.name} has two columns {twice[0]}: take one of them out.")
    missing = [ours for ours in needed if ours not in theirs]
    if missing and len(header) == 1 and (marks := [name for mark, name in _SEPARATORS.items() if mark in header[0]]):
        raise TrainingError(f"{path.name} separates its cells by {marks[0]}: save it with commas between them.")
    if missing:
        raise TrainingError(
            f"{path.name} has no column {' or '.join(columns[missing[0]])}: add it; its columns are "
            f"{', '.join(header) or 'none'}."
        )
    records = [Record(where, {ours: values[name] for ours, name in theirs.items()}) for where, values in lines]
    if not records:
        raise TrainingError(f"{path.name} has no rows: a training run needs films.")
    return records


def read_names(path: Path) -> frozenset[str]:
    """Read a list of films, one a line, ``.gz`` unpacked; what follows a name after a blank is not looked at.

    Returns:
        The names by which films match (see ``film_key``): copies are often converted.

    Raises:
        TrainingError: the file cannot be read, or is empty.
    """
    names = frozenset(film_key(line.split()[0]) for line in _text(path).splitlines() if line.strip())
    if not names:
        raise TrainingError(f"The list {path} is empty: it should name a film a line.")
    return names


def _csv(path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    """The header, and every line that is not blank."""
    reader = csv.reader(io.StringIO(_text(path), newline=""))

    def lines() -> Iterator[list[str]]:
        try:
            yield from reader
        except csv.Error as error:
            raise TrainingError(f"{path} is not a CSV file ({error}): write it as one, or as parquet.") from error

    content = lines()
    # As cells are: "image, patient, sex" names no column " sex", which would not be read, and nobody told.
    header = [name.strip() for name in next(content, [])]
    # NIH's list of boxes ends its header, and not its lines, with empty names.
    named = max((place for place, name in enumerate(header, start=1) if name), default=0)

    def records() -> Iterator[Record]:
        for cells in filter(None, content):
            where = f"Line {reader.line_num} of {path.name}"
            if len(cells) < named or any(map(str.strip, cells[len(header) :])):
                raise TrainingError(
                    f"{where} has {len(cells)} cells, and the header {named}: complete it, or put cells with a comma "
                    "into quotation marks."
                )
            yield Record(where, {name: cell.strip() for name, cell in zip(header, cells, strict=False)})

    return header, records()


def _parquet(path: Path) -> tuple[Sequence[str], Iterator[Record]]:
    try:
        # Without conversion a column of whole numbers with a gap would say 7.0 instead of 7.
        frame = pd.read_parquet(path).convert_dtypes()
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise TrainingError(f"{path} is not a parquet file ({error}): write it as one, or as CSV.") from error
    texts = frame.astype("string").fillna("")
    names = [str(name).strip() for name in texts.columns]

    def records() -> Iterator[Record]:
        for number, values in enumerate(texts.itertuples(index=False, name=None), start=1):
            cells = {name: str(value).strip() for name, value in zip(names, values, strict=True)}
            yield Record(f"Row {number} of {path.name}", cells)

    return names, records()


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not text in UTF-8 ({error.reason}): write it as that.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TrainingError(f"{path} cannot be unpacked ({error}): get it anew.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{path} cannot be read ({error.strerror or error}): give its right path.")
