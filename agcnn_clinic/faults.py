"""The durable steps of the loops, named, so that a test can end the process at each of them.

What a clinic must survive is to stop between any two of these. In production `reached` does nothing: the hook is a
variable of this module that only a test's own code sets, and no setting and no environment variable can.
"""

from collections.abc import Callable
from enum import StrEnum


class FaultPoint(StrEnum):
    """A moment at which the process may end. Each sentence says what is on disk then."""

    # Intake
    COPY_WRITTEN = "copy_written"
    """The bytes are in archive/.incoming under a temporary name, perhaps not on the disk yet; the source is there."""
    COPIES_SYNCED = "copies_synced"
    """The temporary copies of a batch are on the disk; nothing else knows of them."""
    FOLDER_MADE = "folder_made"
    """A new folder of the clinic, such as a two-digit one of the archive, is there, empty and not yet synced."""
    ARCHIVE_RENAMED = "archive_renamed"
    """The copy has its place in the archive, which a power cut may still undo; there is no row."""
    ARCHIVE_SYNCED = "archive_synced"
    """A folder of the archive holds a batch's files for good; there is no row, and the sources are in the inbox."""
    QUARANTINE_FILE_PLACED = "quarantine_file_placed"
    """The quarantine shows the file without its reason; there is no row that says so."""
    QUARANTINE_REASON_WRITTEN = "quarantine_reason_written"
    """The reason is beside the file under a temporary name."""
    QUARANTINE_REASON_RENAMED = "quarantine_reason_renamed"
    """File and reason are in place, which a power cut may still undo."""
    QUARANTINE_SYNCED = "quarantine_synced"
    """The quarantine shows file and reason for good; there is no row that says so."""
    ARRIVALS_WRITTEN = "arrivals_written"
    """A batch's rows are in a transaction that is not committed: after a restart there are none."""
    ARRIVALS_COMMITTED = "arrivals_committed"
    """The rows are there, and so are the sources in the inbox: found again, they are recognised by their arrival."""
    INBOX_FILE_REMOVED = "inbox_file_removed"
    """One source has left the inbox; others of the batch have not."""
    INBOX_FOLDER_REMOVED = "inbox_folder_removed"
    """A folder that had been empty for long is gone; one above it may be empty, too."""
    # Analysis
    ATTEMPTS_COUNTED = "attempts_counted"
    """Pending files say that analysis began on them once more."""
    BATCH_READ = "batch_read"
    """The network has read a batch; its findings are in memory only."""
    OUTCOMES_LAID_OUT = "outcomes_laid_out"
    """What the batch sends to quarantine is shown there; its files are still pending."""
    OUTCOMES_WRITTEN = "outcomes_written"
    """Inferences, findings and outcomes are in a transaction that is not committed."""
    OUTCOMES_COMMITTED = "outcomes_committed"
    """The batch is decided; reports may be due."""
    # Reporting
    REPORT_RENDERED = "report_rendered"
    """A PDF is in memory only."""
    REPORT_WRITTEN = "report_written"
    """The PDF is in the reports folder under a temporary name."""
    REPORT_ROW_WRITTEN = "report_row_written"
    """The report's row is in a transaction that is not committed; the PDF has its temporary name."""
    REPORT_RENAMED = "report_renamed"
    """The PDF has its name, which a power cut may still undo; no row names it."""
    REPORT_SYNCED = "report_synced"
    """The PDF is delivered for good; no row names it, so it is still due and the same version is written over it."""
    REPORT_COMMITTED = "report_committed"
    """The report is delivered and its row says so."""
    # Sending
    REPORT_SENT = "report_sent"
    """The archive has a report's objects; its row says that it waits, so the same objects are sent once more."""


hook: Callable[[FaultPoint], None] | None = None
"""What a test wants to be called at every point; None in every process that no test has made."""


def reached(point: FaultPoint) -> None:
    """Say that a durable step was done. Does nothing outside tests."""
    if hook is not None:
        hook(point)
