"""Many values in one query: as many at a time as every database takes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

VARIABLES = 10_000
"""Values that are asked for in one query: SQLite knows a limit of 32,766, PostgreSQL one of 65,535."""


def in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in order, at most `VARIABLES` at a time; nothing where there are none."""
    for first in range(0, len(values), VARIABLES):
        yield values[first : first + VARIABLES]
