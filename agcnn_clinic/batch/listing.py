"""Which files there are to read: all of a folder, or those that a list names. The order is part of it."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import StorageError, UsageError
from agcnn_clinic.intake.discover import Walk
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.study_toml import MAX_BYTES, STUDY_TOML

COLUMNS = ("path", "image")
"""What the column of a list may be called; the second is the one of the tables that `train` reads."""

_HEAD_BYTES = 4096
_PARQUET = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Listing:
    """Files in a fixed order.

    Attributes:
        root: the folder that relative names start at.
        names: large_binary, as the file system writes them; ten million of them fit in a gigabyte.
        sha256: of the names, for a folder of the sizes, and of each study.toml beside them: another listing has
            another.
        follow: whether a name may be a symbolic link. A person who lists a link means it; in a folder it may lead out.
        unlisted: why a folder below the source could not be looked into, by its path there; what it holds has no name.
    """

    root: Path
    names: pa.ChunkedArray
    sha256: str
    follow: bool
    unlisted: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the files."""
        return len(self.names)

    def part(self, start: int, stop: int) -> list[bytes]:
        """Return the names from `start` up to `stop`."""
        found: list[bytes] = self.names.slice(start, stop - start).to_pylist()
        return found


def list_files(source: Path, ignore: tuple[str, ...], out: Path) -> Listing:
    """List what is to be read.

    Args:
        source: a folder, looked through to its last corner without following a link; or a list of paths as text, CSV
            or parquet, told apart by content. Paths of a list start at the folder that it lies in.
        ignore: patterns of names in a folder that are passed over.
        out: the folder of the results, which must not lie in `source`.

    Raises:
        UsageError: there is nothing to read, or it is no list.
        StorageError: it cannot be read.
    """
    try:
        if source.is_dir():
            root = source.resolve()
            if out.resolve().is_relative_to(root):
                raise UsageError(f"{out} lies in {source}, and would be read as a part of it: name another --out.")
            walk = Walk(root, ignore)
            listing = replace(_listing(root, _files_of(walk, root), follow=False), unlisted=walk.unlisted)
        elif source.is_file():
            listing = _listing(source.resolve().parent, ((name, -1) for name in _names_in(source)), follow=True)
        else:
            raise UsageError(f"There is no {source}; name a folder of films, or a list of paths.")
    except OSError as error:
        raise StorageError(f"{source} cannot be read: {error.strerror}.") from error
    if not len(listing):
        raise UsageError(f"There is no file in {source} to read.")
    return listing


def _files_of(walk: Walk, root: Path) -> Iterator[tuple[bytes, int]]:
    start = len(os.fsencode(root)) + (root != Path(root.anchor))
    for found in walk:
        if found.base != STUDY_TOML:  # it describes the PNGs beside it
            yield os.fsencode(found.path)[start:], found.size


def _names_in(source: Path) -> Iterator[bytes]:
    """The paths that a list names, by what the list is."""
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_PARQUET):
        return _in_parquet(source)
    if media_type(head, "") is not MediaType.UNKNOWN or b"\0" in head:
        raise UsageError(f"{source} is no list of paths; name a folder of films, or a list as text, CSV or parquet.")
    first = head.removeprefix(_BYTE_ORDER_MARK).partition(b"\n")[0].decode("utf-8", "replace")
    cells = next(csv.reader(io.StringIO(first.strip())), [])
    column = next((name for name in COLUMNS if name in cells), None)
    return _in_text(source) if column is None else _in_csv(source, column)


def _in_text(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        for number, line in enumerate(file):
            name = (line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line).strip(b"\r\n")
            if name:
                yield name


def _in_csv(source: Path, column: str) -> Iterator[bytes]:
    with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            for row in csv.DictReader(file):
                if row[column]:
                    yield os.fsencode(row[column])
        except csv.Error as error:
            raise UsageError(f"{source} is not CSV: {error}.") from error


def _in_parquet(source: Path) -> Iterator[bytes]:
    try:
        with pq.ParquetFile(source) as file:
            column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
            if column is None:
                raise UsageError(f"{source} has no column {' or '.join(COLUMNS)}.")
            for batch in file.iter_batches(columns=[column], batch_size=_AT_ONCE):
                yield from (os.fsencode(name) for name in batch.column(0).to_pylist() if name)
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(f"{source} is no parquet file with a column of paths.") from error


def _listing(root: Path, files: Iterable[tuple[bytes, int]], *, follow: bool) -> Listing:
    coming = iter(files)
    digest = hashlib.sha256()
    folders: set[bytes] = set()
    chunks = []
    while some := list(islice(coming, _AT_ONCE)):
        for name, size in some:
            if b"\0" in name:
                raise UsageError("A path in the list holds a zero byte, which no file's name does.")
            folder = os.path.dirname(name)  # noqa: PTH120 (bytes)
            if folder not in folders:
                folders.add(folder)
                digest.update(_description(root / os.fsdecode(folder)))
            digest.update(b"%s\0%d\n" % (name, size))
        chunks.append(pa.array([name for name, _ in some], pa.large_binary()))
    return Listing(root, pa.chunked_array(chunks, pa.large_binary()), digest.hexdigest(), follow)


def _description(folder: Path) -> bytes:
    """The study.toml of a folder, as far as it is read: it decides the view and the study of the PNGs beside it."""
    path = folder / STUDY_TOML
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError:
        # Where it cannot be read, none of its PNGs is judged.
        return b""
    return b"\0%d\n%s" % (len(content), content)  # no name begins so
