"""Rows as CSV, JSON and Parquet, and foreign text made harmless.

Text from files is foreign: in a table a control character is made visible instead of reaching the terminal, and in CSV
a cell that a spreadsheet would run as a formula is made text.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import islice
from typing import Any, BinaryIO

from agcnn_clinic.moments import iso

Row = Mapping[str, Any]

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms, which some spreadsheets take for the same."""
_GROUP_ROWS = 100_000
"""Rows of a Parquet file that are in memory together."""
_JOINERS = "\u200c\u200d"
"""They belong to the spelling of Persian and Indic names; other format characters only disguise."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    """A probability or another real number: three decimals in a table, all digits elsewhere."""
    FLAG = "flag"
    """Yes, no or unknown: a mark in a table."""
    MOMENT = "moment"
    """ISO 8601 in UTC, as text; local time in a table."""


@dataclass(frozen=True)
class Column:
    """A column of the rows."""

    name: str
    kind: Kind = Kind.TEXT


def printable(text: str) -> str:
    """Text that is safe on a terminal: control characters become visible signs, direction overrides are replaced."""
    return text if text.isprintable() else "".join(map(_visible, text))


def csv_cell(value: Any) -> Any:
    """A value as a CSV cell: what a spreadsheet would run as a formula begins with an apostrophe; numbers stay."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    guarded = "'" + value if value.startswith(_FORMULA_BEGINNINGS) else value
    return printable(guarded)


def write_csv(rows: Iterable[Row], columns: Sequence[Column], sink: BinaryIO) -> None:
    """CSV in UTF-8, with a heading."""
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        writer.writerows([csv_cell(row[column.name]) for column in columns] for row in rows)
    finally:
        # Else the wrapper closes what it was lent.
        text.detach()


def write_json(rows: Iterable[Row], columns: Sequence[Column], sink: BinaryIO) -> None:
    """A list of objects, one a line."""
    between = "[\n"
    for row in rows:
        sink.write((between + as_json({column.name: row[column.name] for column in columns})).encode())
        between = ",\n"
    sink.write(b"[]\n" if between == "[\n" else b"\n]\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON in UTF-8, in which no character is left that a terminal would obey.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_moment)
    # json escapes the first 32 control characters only; terminals obey others too.
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def write_parquet(rows: Iterable[Row], columns: Sequence[Column], sink: BinaryIO) -> None:
    """Parquet, each column with its type and moments with their zone."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.FLAG: pa.bool_(),
        Kind.MOMENT: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    moments = [column.name for column in columns if column.kind is Kind.MOMENT]

    def typed(row: Row) -> Row:
        return {**row, **{name: row[name] and datetime.fromisoformat(row[name]) for name in moments}}

    coming = map(typed, rows)
    with pq.ParquetWriter(sink, schema) as writer:
        while group := list(islice(coming, _GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if char in _JOINERS or category[0] not in "CZ" or category == "Zs":
        return char
    if char < " ":
        return chr(0x2400 + ord(char))
    return "\u2421" if char == "\x7f" else "\ufffd"
