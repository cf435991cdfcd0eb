"""The front door of `batch`: an archive of films becomes a folder of shards.

    LIST      which files, in which order
    COMPARE   is the folder of results of the same source and model? which shards are missing?
    READ      chunks through decoders and networks, side by side
    WRITE     each shard as soon as its last chunk is there, whole or not at all

A run that was killed has finished shards and nothing else; the next one reads what is missing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa  # type: ignore[import-untyped]

from agcnn_clinic.batch.cluster import Chunk, Workers
from agcnn_clinic.batch.listing import Listing
from agcnn_clinic.batch.output import UNDECIDED, Output, Shard

Progress = Callable[[int, int, float], None]
"""Told the files there are, those done, and how many a second this run does."""


@dataclass
class Tally:
    """What the table holds at the end.

    Attributes:
        reasons: files by the reason that they ended for.
        read_now: files that this run looked at.
        seconds: that it took for them.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    read_now: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.read_now / self.seconds if self.seconds else 0.0


def missing_shards(output: Output, tally: Tally) -> list[Shard]:
    """The shards that are not there whole, or that hold files which could not be reached; the others are counted."""
    missing = []
    for shard in output.shards():
        counts = output.counts(shard)
        if counts is None or counts[UNDECIDED]:
            missing.append(shard)
        else:
            tally.reasons += counts
    return missing


def read_shards(
    listing: Listing, output: Output, workers: Workers, shards: Sequence[Shard], tally: Tally, progress: Progress
) -> None:
    """Read these shards and write each when its last file is done.

    Args:
        listing: the files.
        output: the folder, opened for this listing.
        workers: the actors.
        shards: what to read.
        tally: what was done before; it is counted on.
        progress: told after each chunk.

    Raises:
        ClinicError: the workers or the disk fail; the shards that were written stay.
    """
    began = time.monotonic()
    done_before = tally.reasons.total()
    open_shards: dict[int, dict[int, pa.Table]] = {}
    size, batch = output.origin.shard_size, output.origin.batch_size
    by_number = {shard.number: shard for shard in shards}
    for chunk, table in workers.read(listing, _chunks(listing, shards, batch)):
        number = chunk.start // size
        parts = open_shards.setdefault(number, {})
        parts[chunk.start] = table
        tally.read_now += len(chunk.names)
        tally.seconds = time.monotonic() - began
        shard = by_number[number]
        if sum(len(part) for part in parts.values()) == shard.stop - shard.start:
            tally.reasons += output.write(shard, pa.concat_tables([parts[start] for start in sorted(parts)]))
            del open_shards[number]
        progress(len(listing), done_before + tally.read_now, tally.rate)


def _chunks(listing: Listing, shards: Sequence[Shard], batch: int) -> Iterator[Chunk]:
    for shard in shards:
        for start in range(shard.start, shard.stop, batch):
            yield Chunk(start, tuple(listing.part(start, min(start + batch, shard.stop))))
