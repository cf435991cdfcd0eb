"""The few lines that `process`, `demo` and `batch` end with."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from agcnn_clinic.config import Config
from agcnn_clinic.database.summary import Summary
from agcnn_clinic.domain import REASONS, Outcome, ReasonCode
from agcnn_clinic.wording import counted

_MANY = 12
"""More reports than this are counted, not listed."""


def print_summary(summary: Summary, config: Config) -> None:
    """Print how many files ended in which outcome and why, and where the reports are."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if summary.pending:
        console.print(
            f"Not decided, and pending still: {counted(summary.pending, 'file')}; `agcnn-clinic doctor` may tell why."
        )
    if summary.files:
        print_outcomes(console, summary.files)
    elif not summary.reports:
        # Reports may have been due of files that were decided before: after a reanalysis, or when the disk was full.
        console.print("Nothing new was decided.")
    if len(summary.reports) > _MANY:
        console.print(f"{len(summary.reports)} reports are in {config.reports}")
    else:
        for key, path in summary.reports:
            console.print(f"report of {key}: {config.report_file(path)}")
    if summary.count(Outcome.QUARANTINED):
        console.print("`agcnn-clinic quarantine list` tells more of the quarantined files.")


def print_outcomes(console: Console, files: Iterable[tuple[ReasonCode, int]]) -> None:
    """Print how many files ended for each reason."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    for code, count in files:
        outcome, sentence = REASONS[code]
        table.add_row(str(count), str(outcome), "" if outcome is Outcome.ANALYSED else str(code), sentence)
    console.print(table)
