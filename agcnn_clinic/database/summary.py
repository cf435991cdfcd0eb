"""What a run did: the outcomes and the reports since it began."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

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


class Beginning(NamedTuple):
    """Where a run began. What was there is none of its work, though a clock that was ahead may have dated it later.

    Attributes:
        moment: when that was.
        decided: how many files were decided at that moment or later, by what their rows say, for each reason.
        report_id: the newest report.
    """

    moment: datetime
    decided: Counter[str]
    report_id: int


def beginning(session: Session, moment: datetime) -> Beginning:
    """To be asked before anything is decided or reported."""
    newest = session.scalar(select(func.max(Report.id)))
    return Beginning(moment, _counts(session, [ReceivedFile.decided_at >= moment]), newest or 0)


def summary_since(session: Session, begun: Beginning) -> Summary:
    """Count what was decided, and list what was reported, since then: by the only worker there is."""
    found = or_(ReceivedFile.decided_at >= begun.moment, ReceivedFile.outcome == Outcome.PENDING)
    return _summary(_counts(session, [found]) - begun.decided, _reports(session, begun, [true()]))


def summary_of(
    session: Session, begun: Beginning, files: Sequence[int], studies: Sequence[int], *, all_pending: bool
) -> Summary:
    """Count how files ended, and list what was reported of studies since then.

    Args:
        session: to read from.
        begun: where the run began.
        files: those that it is about.
        studies: those that it is about.
        all_pending: whether all files that are still to be decided are counted, since nobody else is at them.
    """
    own = [ReceivedFile.id.in_(part) for part in in_parts(files)]
    pending = ReceivedFile.outcome == Outcome.PENDING
    counted = [*(and_(one, ~pending) for one in own), pending] if all_pending else own
    reports = _reports(session, begun, [Study.id.in_(part) for part in in_parts(studies)])
    return _summary(_counts(session, counted), reports)


def _counts(session: Session, conditions: Sequence[ColumnElement[bool]]) -> Counter[str]:
    """How many files there are for each reason, of those that fulfil one of these conditions; none fulfils two."""
    counts: Counter[str] = Counter()
    for condition in conditions:
        asked = select(ReceivedFile.reason_code, func.count()).where(condition)
        for code, count in session.execute(asked.group_by(ReceivedFile.reason_code)):
            counts[code] += count
    return counts


def _reports(
    session: Session, begun: Beginning, conditions: Sequence[ColumnElement[bool]]
) -> Iterator[tuple[str, str]]:
    """The reports since then of the studies that fulfil one of these conditions: the study's key and the path."""
    for condition in conditions:
        asked = select(Study.key, Report.path).join(Report.study).where(Report.id > begun.report_id, condition)
        yield from ((key, path) for key, path in session.execute(asked.order_by(Report.id)))


def _summary(counts: Counter[str], reports: Iterable[tuple[str, str]]) -> Summary:
    return Summary(
        files=tuple((code, counts[code]) for code in ReasonCode if code in counts),
        reports=tuple(reports),
        pending=counts[_NO_REASON_YET],
    )
