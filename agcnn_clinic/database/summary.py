"""What a run did: the outcomes and the reports since it began."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session

from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.tables import ReceivedFile, Report, Study
from agcnn_clinic.domain import REASONS, Outcome, ReasonCode

_NO_REASON_YET = ""
"""The reason code of a file that is still to be decided."""


@dataclass(frozen=True)
class Summary:
    """The files decided and the reports made since a moment."""

    files: tuple[tuple[ReasonCode, int], ...]
    """How many files ended for each reason."""
    reports: tuple[tuple[str, str], ...]
    """Each report made: the study's key and the PDF's path, relative to the clinic's root or absolute."""
    pending: int
    """How many files are still to be decided."""

    def count(self, outcome: Outcome) -> int:
        """How many files ended so."""
        return sum(count for code, count in self.files if REASONS[code].outcome is outcome)


def summary_since(session: Session, moment: datetime) -> Summary:
    """Count what was decided, and list what was reported, from a moment on: by the only worker there is."""
    decided = or_(ReceivedFile.decided_at >= moment, ReceivedFile.outcome == Outcome.PENDING)
    return _summary(session, moment, [decided], [true()])


def summary_of(
    session: Session, moment: datetime, files: Sequence[int], studies: Sequence[int], *, all_pending: bool
) -> Summary:
    """Count how files ended, and list what was reported of studies from a moment on.

    Args:
        session: to read from.
        moment: when the run began.
        files: those that it is about.
        studies: those that it is about.
        all_pending: whether all files that are still to be decided are counted, since nobody else is at them.
    """
    own = [ReceivedFile.id.in_(part) for part in in_parts(files)]
    pending = ReceivedFile.outcome == Outcome.PENDING
    counted = [*(and_(one, ~pending) for one in own), pending] if all_pending else own
    return _summary(session, moment, counted, [Study.id.in_(part) for part in in_parts(studies)])


def _summary(
    session: Session, moment: datetime, files: Sequence[ColumnElement[bool]], studies: Sequence[ColumnElement[bool]]
) -> Summary:
    """The summary of the files and studies that fulfil one of these conditions; none fulfils two."""
    counts: Counter[str] = Counter()
    for condition in files:
        asked = select(ReceivedFile.reason_code, func.count()).where(condition)
        for code, count in session.execute(asked.group_by(ReceivedFile.reason_code)):
            counts[code] += count
    reports: list[tuple[str, str]] = []
    for condition in studies:
        asked_for = select(Study.key, Report.path).join(Report.study).where(Report.created_at >= moment, condition)
        reports += ((key, path) for key, path in session.execute(asked_for.order_by(Report.id)))
    return Summary(
        files=tuple((code, counts[code]) for code in ReasonCode if code in counts),
        reports=tuple(reports),
        pending=counts[_NO_REASON_YET],
    )
