"""The schema's revisions, known without importing Alembic (a third of a second that no command should pay).

tests/database/test_migrate.py compares this list with the scripts in alembic/versions/, so neither can move alone.
"""

from enum import Enum

REVISIONS: tuple[str, ...] = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
"""All revisions from the first to the newest, as alembic/versions/ chains them."""

HEAD = REVISIONS[-1]
"""The revision that this software reads and writes."""


class Standing(Enum):
    """How a database's revision stands to the software's."""

    SAME = "same"
    BEHIND = "behind"
    """The software is newer: `agcnn-clinic db upgrade` brings the database up."""
    AHEAD = "ahead"
    """A newer version of the software has upgraded it; this one would not know what it reads."""


def standing(revision: str | None) -> Standing:
    """Compare the revision that a database states (None: it states none) with HEAD."""
    if revision == HEAD:
        return Standing.SAME
    return Standing.BEHIND if revision is None or revision in REVISIONS else Standing.AHEAD
