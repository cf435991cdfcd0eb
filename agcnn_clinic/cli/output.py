"""How rows are printed: as a table for a person, or as CSV, JSON or Parquet (`formats`) for a program."""

import io
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Self

import typer

from agcnn_clinic.cli import standard_output
from agcnn_clinic.cli.formats import Column, Kind, Row, as_json, printable, write_csv, write_json, write_parquet
from agcnn_clinic.cli.sink import sink
from agcnn_clinic.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Shown:
    """A column of the table: a choice from the rows' columns, for a person.

    Attributes:
        name: the rows' column.
        title: its heading.
        rank: 0 for a column that is always there; of the others the highest goes first when the terminal is narrow.
        text: what to print of a row instead of the value.
        width: the most characters on a terminal; longer text ends in an ellipsis there.
        narrow: so few characters will do before another column goes.
        whole: divides the text into parts of which none is ever cut, for the last column alone: where that does not
            fit beside the others it stands below each row, under the second of them.
    """

    name: str
    title: str
    rank: int = 0
    text: Callable[[Row], str] | None = None
    width: int | None = None
    narrow: int | None = None
    whole: Callable[[str], Sequence[str]] | None = None


FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to print. Default: by the ending of --output, else a table."),
]
RecordFormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        metavar="[table|json]",
        help="How to print. Default: by the ending of --output, else a table.",
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of the terminal.")
]
LimitOption = Annotated[
    int | None,
    typer.Option(min=0, help="The most rows to print, 0 for all. Default: 100 in a table, all in other formats."),
]

RECORD_FORMATS = (Format.TABLE, Format.JSON)
"""How one study or one file is printed, which is no list of rows."""

_TABLE_ENDINGS = ("", ".txt", ".table")
_TABLE_ROWS = 100
_MOST_ROWS = sys.maxsize - 1
"""One more can still be asked for: neither a database nor `islice` takes larger numbers."""
_NUMBERS = (Kind.INTEGER, Kind.NUMBER)
_MARK = "\u25cf"
_PIPE_WIDTH = 10_000
"""Wider than any table: what another program reads is never cut."""
_GAP = 2
"""Between two columns."""
_ELLIPSIS = "\u2026"


@dataclass(frozen=True)
class Printing:
    """How rows are wanted: what --format, --output and --limit say together.

    Attributes:
        form: how to print.
        output: the file to write, which appears whole or not at all, or what takes bytes as they come, such as a pipe;
            None: standard output.
        limit: the most rows to print; None for all.
    """

    form: Format
    output: Path | None = None
    limit: int | None = None

    @classmethod
    def of(cls, form: Format | None, output: Path | None, limit: int | None) -> Self:
        """What the options say; see `form_of`."""
        how = form_of(form, output)
        if limit is None:
            return cls(how, output, _TABLE_ROWS if how is Format.TABLE else None)
        return cls(how, output, min(limit, _MOST_ROWS) or None)

    @property
    def rows_to_ask(self) -> int | None:
        """How many rows to ask the database for: one more than are printed, to know whether there are more."""
        return None if self.limit is None else self.limit + 1


def form_of(form: Format | None, output: Path | None, offered: Sequence[Format] = tuple(Format)) -> Format:
    """How to print: without --format as the file's ending says, which is a table where it has none.

    Raises:
        UsageError: it is not so that this is printed; a table in a file that is called .xlsx would open nowhere.
    """
    endings = {f".{one}": one for one in offered if one is not Format.TABLE}
    if form is not None:
        if form not in offered:
            told = f"This is printed as {' or '.join(offered)}, not as {form}"
            raise UsageError(f"{told}; `findings --study STUDY` prints rows as {form}.")
        return form
    ending = "" if output is None else output.suffix.lower()
    if ending in _TABLE_ENDINGS:
        return Format.TABLE
    if ending not in endings:
        raise UsageError(
            f"{output} cannot be written as its ending says: let it end in {', '.join(endings)} or, for a table, "
            ".txt, or say with --format how to print."
        )
    return endings[ending]


def print_rows(
    rows: Iterable[Row], columns: Sequence[Column], printing: Printing, *, shown: Sequence[Shown], marked: str = ""
) -> None:
    """Print rows; all formats but the table pass them on one by one.

    Args:
        rows: what to print; where one more than the limit comes, a line says that there are more.
        columns: what a row holds, in the order of CSV, JSON and Parquet.
        printing: how, where to and how many.
        shown: what the table shows of it.
        marked: a column of flags; a row whose flag is set stands out in the table.

    Raises:
        UsageError: Parquet was asked for on a terminal.
        StorageError: the file cannot be written.
    """
    form, output, limit = printing.form, printing.output, printing.limit
    coming = iter(rows)
    some = coming if limit is None else islice(coming, limit)
    if form is Format.TABLE:
        _print_table(list(some), columns, shown, output, marked)
    else:
        if form is Format.PARQUET and output is None and sys.stdout.isatty():
            raise UsageError("Parquet is not for a terminal; name a file with --output.")
        with sink(output) as file:
            wanted = some if output else takewhile(lambda _: not standard_output.is_dead(), some)
            _WRITERS[form](wanted, columns, file)
    if limit is not None and next(coming, None) is not None:
        typer.echo(f"There are more than {limit} rows; --limit 0 prints all of them.", err=True)


def print_json(value: Any, output: Path | None) -> None:
    """Print one value as JSON, indented."""
    with sink(output) as file:
        file.write((as_json(value, indent=2) + "\n").encode())


@contextmanager
def text_console(output: Path | None) -> "Iterator[Console]":
    """A console for foreign text: no markup, nothing cut where no terminal reads it."""
    from rich.console import Console

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no Japanese prints question marks; it must not end in an error.
        sys.stdout.reconfigure(errors="replace")
    if output is None and (console := Console(**options)).is_terminal:
        yield console
        return
    page = io.StringIO()
    yield Console(file=page, width=_PIPE_WIDTH, **options)
    text = "".join(line.rstrip() + "\n" for line in page.getvalue().splitlines())
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        with sink(output) as file:
            file.write(text.encode())


def _print_table(
    rows: Sequence[Row], columns: Sequence[Column], shown: Sequence[Shown], output: Path | None, marked: str
) -> None:
    from rich.text import Text

    kinds = {column.name: column.kind for column in columns}
    with text_console(output) as console:
        if not rows:
            console.print("Nothing matches.")
            return
        cells = {column.name: [_cell(row, kinds[column.name], column) for row in rows] for column in shown}
        full = _widths(shown, cells, cut=console.is_terminal)
        below = shown[-1] if shown[-1].whole is not None and _total(full) > console.width else None
        kept = _fit({column: width for column, width in full.items() if column is not below}, console.width)
        # All widths are known: rich's Table would find them anew, a tenth of a millisecond for each cell.
        numbers = {column for column in kept if column.text is None and kinds[column.name] in _NUMBERS}
        rule = "-" if console.options.ascii_only else "\u2500"
        page = Text()
        page.append(_line([column.title for column in kept], kept, numbers), "bold")
        if below:
            page.append(_lines_below(below, below.title, kept, console.width), "bold")
        page.append(f"\n{rule * _total(kept)}")
        for number, row in enumerate(rows):
            line = _line([cells[column.name][number] for column in kept], kept, numbers)
            page.append(f"\n{line}", "bold" if marked and row[marked] else None)
            if below:
                page.append(_lines_below(below, cells[below.name][number], kept, console.width))
        # A part that is longer than a line is left to the terminal: what that breaks can still be copied whole.
        console.print(page, no_wrap=True, overflow="ignore" if below else "ellipsis", crop=not below)
        if hidden := [column.title for column in full if column not in kept and column is not below]:
            console.print(f"Not shown for lack of width: {', '.join(hidden)}.", style="dim")


def _line(cells: Sequence[str], widths: Mapping[Shown, int], numbers: Container[Shown]) -> str:
    return (" " * _GAP).join(
        _placed(text, width, right=column in numbers)
        for text, (column, width) in zip(cells, widths.items(), strict=True)
    )


def _placed(text: str, width: int, *, right: bool) -> str:
    """A text in so many columns of a terminal, of which a Chinese character takes two."""
    from rich.cells import cell_len, set_cell_size

    room = width - cell_len(text)
    if room < 0:
        return set_cell_size(text, width - 1) + _ELLIPSIS
    return " " * room + text if right else text + " " * room


def _lines_below(column: Shown, text: str, widths: Mapping[Shown, int], width: int) -> str:
    """The parts of a text, as many to a line as fit, under the second column."""
    from rich.cells import cell_len

    lines: list[str] = []
    for part in column.whole(text) if column.whole and text else ():
        if lines and cell_len(lines[-1]) + 1 + cell_len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(" " * (next(iter(widths.values())) + _GAP) + part)
    return "".join(f"\n{line}" for line in lines)


def _widths(shown: Sequence[Shown], cells: Mapping[str, Sequence[str]], *, cut: bool) -> dict[Shown, int]:
    """Each column with the width that it would like to have."""
    from rich.cells import cell_len

    full: dict[Shown, int] = {}
    for column in shown:
        longest = max(map(cell_len, (column.title, *cells[column.name])))
        full[column] = min(longest, column.width) if cut and column.width else longest
    return full


def _fit(full: Mapping[Shown, int], width: int) -> dict[Shown, int]:
    """The columns that fit side by side, each with its width. Those of rank 0 stay, the widest cut first."""
    kept = {column: min(longest, column.narrow or longest) for column, longest in full.items()}
    while _total(kept) > width and any(column.rank for column in kept):
        del kept[max(kept, key=lambda column: column.rank)]
    while _total(kept) > width and max(kept.values()) > 1:
        kept[max(kept, key=kept.__getitem__)] -= 1
    for column, narrow in kept.items():
        kept[column] = narrow + max(0, min(full[column] - narrow, width - _total(kept)))
    return kept


def _total(widths: Mapping[Shown, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _cell(row: Row, kind: Kind, column: Shown) -> str:
    if column.text is not None:
        return printable(column.text(row))
    value = row[column.name]
    if value is None:
        return "" if kind in (Kind.TEXT, Kind.MOMENT) else "-"
    match kind:
        case Kind.NUMBER:
            return f"{value:.3f}"
        case Kind.FLAG:
            return _MARK if value else ""
        case Kind.MOMENT:
            return local_time(value)
        case _:
            return printable(str(value))


def local_time(moment: str | datetime) -> str:
    """A moment as a person here reads it: local time, to the second."""
    aware = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return aware.astimezone().strftime("%Y-%m-%d %H:%M:%S")


_WRITERS: dict[Format, Callable[[Iterable[Row], Sequence[Column], BinaryIO], None]] = {
    Format.CSV: write_csv,
    Format.JSON: write_json,
    Format.PARQUET: write_parquet,
}
