"""What a column takes: the same text, JSON and moments in every database, texts compared byte by byte.

SQLite would store a NUL within a text, and PostgreSQL refuses the whole row; neither can store half of a surrogate
pair. They come from where people type: a command line, a study.toml, a name in an archive.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, String, TypeDecorator
from sqlalchemy.types import TypeEngine

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Stands where a character was that no database takes."""

LARGEST_ID = 2**31 - 1
"""No row has a larger id: PostgreSQL's have four bytes."""

_REFUSED = re.compile("[\0\ud800-\udfff]")
_ENCODE = json.JSONEncoder(allow_nan=False).encode
_SUSPICIOUS = ("\\u0000", "\\ud")
"""How a NUL and half of a surrogate pair begin in JSON; so do an emoji, and words about these."""


def storable(text: str) -> str:
    """Text that every database takes: NUL and lone surrogates are replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:  # as nearly all texts, told sooner than by a pattern
        return text
    return _REFUSED.sub(REPLACEMENT, text)


def storable_json(value: Any) -> str:
    """JSON that every database takes: its texts are `storable`, and numbers that JSON does not know become null."""
    try:
        encoded = _ENCODE(value)
    except ValueError:
        return _ENCODE(_plain(value))
    # Of nearly all values that is told sooner of the JSON than of each text in them.
    return _ENCODE(_plain(value)) if any(one in encoded for one in _SUSPICIOUS) else encoded


class Text(TypeDecorator[str]):
    """A text of any length, `storable`, compared byte by byte.

    SQLite compares so by itself. A PostgreSQL database has the order of some language, which an update of the operating
    system may change under its indexes: two rows of one SOP Instance UID would be the end of that.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask PostgreSQL for the order of bytes."""
        return dialect.type_descriptor(String(collation="C" if dialect.name == "postgresql" else None))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what a database would refuse, in a row to be stored and in a value to be looked for."""
        del dialect
        return None if value is None else storable(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, stored as naive UTC: SQLite keeps no zone, and a sorted column must sort by time."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive moments, store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A moment without a time zone cannot be stored; use datetime.now(UTC).")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware moment."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
