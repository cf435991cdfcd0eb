"""The folder of the results: a manifest that says what they are of, and shards that are there whole or not at all."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.durable import clear_temporaries, fsync_folder, make_folder, write_atomically
from agcnn_clinic.errors import StorageError, UsageError

MANIFEST = "_manifest.json"
"""Readers of a parquet data set pass over names that begin with an underscore."""
UNDECIDED = ""
"""Stands for the reason of files that could not be reached."""

_FOOTER = b"agcnn_clinic"


@dataclass(frozen=True)
class Origin:
    """All that the rows depend on. A run goes on where one of the same origin stopped.

    Attributes:
        listing_sha256, files: of the source.
        model, model_sha256: name and version, and the hash of its manifest, which holds that of the weights.
        gate: what the model was allowed to read.
        max_file_mb, decode_seconds, decode_memory_mb: the limits of one file, which refuse or break off some.
        precision: the numbers that the network is computed in.
        batch_size: files whose films go through the network together.
        shard_size: files of one shard.
        software: version of the program.
    """

    listing_sha256: str
    files: int
    model: str
    model_sha256: str
    gate: dict[str, Any]
    max_file_mb: int
    decode_seconds: float
    decode_memory_mb: int
    precision: str
    batch_size: int
    shard_size: int
    software: str

    def __post_init__(self) -> None:
        """Refuse sizes that make no shard."""
        if min(self.batch_size, self.shard_size) < 1:
            raise ValueError("A batch and a shard hold at least one file.")


_ADVICE = {
    "listing_sha256": "the source, or a study.toml in it, has changed since",
    "files": "the source has changed since",
    "model": "it was begun with another model",
    "model_sha256": "it was begun with another model",
    "gate": "it was begun with other [gate] settings",
    "max_file_mb": "it was begun with another intake.max_file_mb",
    "decode_seconds": "it was begun with another analysis.decode_seconds",
    "decode_memory_mb": "it was begun with another analysis.decode_memory_mb",
    "precision": "it was begun with another analysis.precision",
    "batch_size": "it was begun with another --batch-size",
    "shard_size": "it was begun with another --shard-size",
    "software": "it was begun with another version of agcnn-clinic",
}


@dataclass(frozen=True)
class Shard:
    """Files `start` up to `stop` of the listing."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Its file."""
        return f"part-{self.number:05}.parquet"


class Output:
    """A folder of shards of one origin."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        """Make the folder, or go on with it; what a killed run left half written goes.

        Raises:
            UsageError: the folder holds something else.
            StorageError: it cannot be written.
        """
        self.folder = folder
        self.origin = origin
        try:
            begun = begun_with(folder)
            if begun is None:
                self._begin()
            else:
                self._require_same(begun)
            clear_temporaries(folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def shards(self) -> Iterator[Shard]:
        """All shards, in order."""
        size = self.origin.shard_size
        for number, start in enumerate(range(0, self.origin.files, size)):
            yield Shard(number, start, min(start + size, self.origin.files))

    def counts(self, shard: Shard) -> Counter[str] | None:
        """How many files of a shard ended for which reason; None where it is not there whole."""
        try:
            metadata = pq.read_metadata(self.folder / shard.name)
            counts = Counter(json.loads(metadata.metadata[_FOOTER])["reasons"])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        return counts if metadata.num_rows == counts.total() == shard.stop - shard.start else None

    def write(self, shard: Shard, table: pa.Table) -> Counter[str]:
        """Write a shard: under a temporary name, synced, then renamed. What stood there is replaced.

        Raises:
            StorageError: the folder cannot be written.
        """
        counts = Counter(code or UNDECIDED for code in table.column("reason_code").to_pylist())
        footer = {_FOOTER: json.dumps({"reasons": counts}).encode()}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(footer), sink, compression="zstd")
        try:
            write_atomically(self.folder / shard.name, sink.getvalue())
        except OSError as error:
            raise self._unwritable(error) from error
        return counts

    def _begin(self) -> None:
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UsageError(f"{self.folder} is there already and was not made by this command: name another --out.")
        make_folder(self.folder.absolute())
        text = json.dumps(asdict(self.origin), indent=2) + "\n"
        write_atomically(self.folder / MANIFEST, text.encode())
        fsync_folder(self.folder.absolute().parent)

    def _require_same(self, begun: Mapping[str, Any]) -> None:
        for name, value in json.loads(json.dumps(asdict(self.origin))).items():
            if begun.get(name) != value:
                advice = _ADVICE[name] if name in begun else _ADVICE["software"]
                raise UsageError(
                    f"{self.folder} cannot be gone on with: {advice}. "
                    "Name another --out, or remove this folder to begin anew."
                )

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"{self.folder} cannot be written: {error.strerror}; run the command again to go on.")


def begun_with(folder: Path) -> dict[str, Any] | None:
    """What a folder of results is of; None where none was begun there.

    Raises:
        UsageError: its manifest is none.
        OSError: it cannot be read.
    """
    try:
        begun = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UsageError(f"{folder / MANIFEST} is damaged: remove the folder to begin anew.") from error
    if not isinstance(begun, dict):
        raise UsageError(f"{folder / MANIFEST} is damaged: remove the folder to begin anew.")
    return begun


def reasons(counts: Mapping[str, int]) -> list[tuple[ReasonCode, int]]:
    """Return the counts of what was decided, by reason, the most frequent first."""
    decided = [(ReasonCode(code), count) for code, count in counts.items() if code != UNDECIDED]
    return sorted(decided, key=lambda one: (-one[1], one[0]))
