"""Many values in one query, as many at a time as every database takes; and many rows in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Table, func, insert, select

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase, Session

T = TypeVar("T")

VARIABLES = 10_000
"""Values that are asked for in one query: SQLite knows a limit of 32,766, PostgreSQL one of 65,535."""


def in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in order, at most `VARIABLES` at a time; nothing where there are none."""
    for first in range(0, len(values), VARIABLES):
        yield values[first : first + VARIABLES]


def add_rows(session: Session, model: type[DeclarativeBase], rows: list[dict[str, Any]]) -> list[int]:
    """Add rows to a table whose ids count up.

    Args:
        session: one that writes. Nobody else can add a row in its transaction, so the ids above those that were there
            are those of the rows, in their order; SQLite would be asked for them row by row.
        model: whose table.
        rows: what goes into which column; all have the same columns.

    Returns:
        The id of each row.
    """
    if not rows:
        return []
    table = cast(Table, model.__table__)
    ids = table.c.id
    before = session.scalar(select(func.max(ids))) or 0
    session.execute(insert(table), rows)
    return list(session.scalars(select(ids).where(ids > before).order_by(ids)))
