"""How many of the cores each kind of work gets."""

from typing import NamedTuple

from agcnn_models.cores import usable_cores

MOST_DECODERS, MOST_PRESSES = 16, 4
"""Decoding a film takes a core a tenth of a second to half a second, rendering its report a thirtieth."""
DECODERS_PER_READER = 4
"""Reading a header takes a hundredth of the time of decoding; there are two at least, should a file hold one up."""
LEAST_BATCH = 8
"""Films below which the network takes longer for each."""


class CoreShares(NamedTuple):
    """How many processes or threads each kind of work gets, and how many films go through the network together."""

    decoders: int
    header_readers: int
    """Of intake: in the queue of the decoders its headers would wait for films."""
    presses: int
    """Others than the decoders: what a hostile file may take over never gets to make a report."""
    network_threads: int
    """On the CPU: one for each eight films of a batch, at least two. For each share of a batch all of the network's
    operations are called, and each time Python's lock is given up and waited for."""
    batch: int


def core_shares(*, decode_workers: int = 0, threads: int = 0, batch_size: int = 0, cores: int = 0) -> CoreShares:
    """What the settings of these names say; where they are 0, by the cores: those that there are, or so many."""
    cores = cores or usable_cores()
    decoders = decode_workers or min(cores, MOST_DECODERS)
    batch = batch_size or max(2 * decoders, LEAST_BATCH)
    return CoreShares(
        decoders,
        header_readers=max(decoders // DECODERS_PER_READER, 2),
        presses=min(decoders, MOST_PRESSES),
        network_threads=threads or min(cores, max(batch // LEAST_BATCH, 2)),
        batch=batch,
    )
