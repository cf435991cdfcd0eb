"""Which groups are this worker's: by the names of their files in the inbox, or by the zip that they are in."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from agcnn_clinic.database.claims import Claims, Work
from agcnn_clinic.intake.items import Group


@contextlib.contextmanager
def claimed(claims: Claims, inbox: Path, groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Those groups that are this worker's, until their sources are out of the inbox or left there.

    What left the inbox since it was looked through was taken by another worker, or by its sender.
    """
    keys = [(group, _names(group, inbox)) for group in groups]
    taken = claims.take(Work.ARRIVAL, {key for _, wanted in keys for key in wanted})
    try:
        yield [
            group
            for group, wanted in keys
            if taken.issuperset(wanted) and (not wanted or all(os.path.lexists(file.path) for file in group.files))
        ]
    finally:
        claims.release(Work.ARRIVAL, taken)


def rests_on(group: Group, inbox: Path) -> set[tuple[Work, int]]:
    """The claims that the rows of a group rest on."""
    if group.container is not None:
        return {(Work.FILE, group.container.file_id)}
    return {(Work.ARRIVAL, key) for key in _names(group, inbox)}


def still_claimed(claims: Claims, session: Session, wanted: Sequence[set[tuple[Work, int]]]) -> list[bool]:
    """Which of some sets of claims are this worker's as a whole. Asked once, since it holds for the transaction."""
    mine = {
        (work, key)
        for work in {work for each in wanted for work, _ in each}
        for key in claims.kept(session, work, [key for each in wanted for of, key in each if of is work])
    }
    return [each <= mine for each in wanted]


def _names(group: Group, inbox: Path) -> list[int]:
    """A number for each name of a group in the inbox. None of a zip, or of what a person named, is another's."""
    if not group.remove or group.container is not None:
        return []
    names = (os.fsencode(file.path.relative_to(inbox)) for file in group.files)
    return [int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True) for name in names]
