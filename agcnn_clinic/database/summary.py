"""What a run did: the outcomes and the reports since it began."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from agcnn_clinic.database.tables import ReceivedFile, Report, Study
from agcnn_clinic.domain import REASONS, Outcome, ReasonCode


@dataclass(frozen=True)
class Summary:
    """The files decided and the reports made since a moment."""

    files: tuple[tuple[ReasonCode, int], ...]
    """How many files ended for each reason."""
    reports: tuple[tuple[str, str], ...]
    """Each report made: the study's key and the PDF's path below the clinic's root."""
    pending: int
    """How many files are still to be decided."""

    def count(self, outcome: Outcome) -> int:
        """How many files ended so."""
        return sum(count for code, count in self.files if REASONS[code].outcome is outcome)


def summary_since(session: Session, moment: datetime) -> Summary:
    """Count what was decided, and list what was reported, from a moment on."""
    files = session.execute(
        select(ReceivedFile.reason_code, func.count())
        .where(ReceivedFile.decided_at >= moment)
        .group_by(ReceivedFile.reason_code)
    )
    counts = {ReasonCode(code): count for code, count in files}
    reports = session.execute(
        select(Study.key, Report.path).join(Report.study).where(Report.created_at >= moment).order_by(Report.id)
    )
    return Summary(
        files=tuple((code, counts[code]) for code in ReasonCode if code in counts),
        reports=tuple((key, path) for key, path in reports),
        pending=session.scalar(select(func.count()).where(ReceivedFile.outcome == Outcome.PENDING)) or 0,
    )
