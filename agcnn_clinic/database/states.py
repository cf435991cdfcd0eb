"""Where studies stand, as SQL over the view study_summary; `queries.study_state` says the same of one in Python."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, and_, case, column, literal, or_, select, table, union_all
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from agcnn_clinic.database.values import UtcDateTime
from agcnn_clinic.domain import Outcome, StudyState
from agcnn_clinic.moments import iso

# As they are asked here: the mapped classes would take a command a tenth of a second to load.
_study = table("study", column("id"), column("last_received_at", UtcDateTime))
_instance = table("instance", column("id"), column("study_id"))
_received_file = table("received_file", column("instance_id"), column("outcome"))


CLOCKS_DIFFER = timedelta(minutes=5)
"""So far the clocks of two workers may lie apart."""


def waiting_window(now: datetime, quiet_seconds: float) -> tuple[datetime, datetime]:
    """When the last file of a study came, if more of it is waited for: after the first moment, not after the second.

    What is further ahead of now than another worker's clock may be was stamped by a clock that was wrong, before it was
    set right: to wait until then may be to wait for years. Without a quiet time nothing is waited for.
    """
    quiet = timedelta(seconds=quiet_seconds)
    return now - quiet, now + (max(quiet, CLOCKS_DIFFER) if quiet else quiet)


Columns = ReadOnlyColumnCollection[str, Column[object]]


def state_of(columns: Columns, now: datetime, quiet_seconds: float) -> ColumnElement[str]:
    """The state of each study, one of `domain.StudyState`.

    Args:
        columns: those of study_summary.
        now: the moment for which it is told.
        quiet_seconds: a study for which files came within this time is still receiving.
    """
    after, until = map(iso, waiting_window(now, quiet_seconds))
    reported = and_(columns.files_pending == 0, columns.report_revision >= columns.revision)
    came = columns.last_received_at
    receiving = or_(columns.files_pending > 0, and_(came > after, came <= until))
    return case(
        (reported, literal(StudyState.REPORTED.value)),
        (receiving, literal(StudyState.RECEIVING.value)),
        (columns.files_analysed == 0, literal(StudyState.NOT_READ.value)),
        else_=literal(StudyState.READ.value),
    )


def is_in(state: str, columns: Columns, now: datetime, quiet_seconds: float) -> Sequence[ColumnElement[bool]]:
    """The conditions for a study to be in a state, with what an index can tell before the view is looked at."""
    conditions: list[ColumnElement[bool]] = [state_of(columns, now, quiet_seconds) == state]
    if state == StudyState.RECEIVING:
        # Few are, and they are among those with a pending file and those that received one just now.
        of_files = select(_instance.c.study_id).join(_received_file, _received_file.c.instance_id == _instance.c.id)
        pending = of_files.where(_received_file.c.outcome == Outcome.PENDING.value)
        after, until = waiting_window(now, quiet_seconds)
        came = _study.c.last_received_at
        recent = select(_study.c.id).where(came > after, came <= until)
        conditions.append(columns.study_id.in_(union_all(pending, recent)))
    return conditions
