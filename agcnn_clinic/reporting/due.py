"""Which studies a report is due of, and which there is nothing to report on."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.outcomes import study_has_file
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.states import waiting_window
from agcnn_clinic.database.tables import Study
from agcnn_clinic.domain import Outcome

_UNREAD_AT_ONCE = 1000
"""So many studies of which nothing was read are covered by one transaction."""


def studies_due(
    session: Session,
    now: datetime,
    quiet_seconds: float,
    *,
    limit: int = 100,
    but_not: Collection[int] = (),
    among: Sequence[int] | None = None,
) -> list[int]:
    """The ids of complete studies whose report is missing or older than what is known, the longest waiting first.

    Args:
        session: to read from.
        now: as for `is_due`.
        quiet_seconds: as for `is_due`.
        limit: the most studies.
        but_not: these are left out.
        among: only these; None for all.
    """
    due = is_due(now, quiet_seconds).order_by(Study.last_received_at, Study.id).limit(limit + len(but_not))
    found = [due] if among is None else [due.where(Study.id.in_(part)) for part in in_parts(among)]
    # Left out here: a query takes only so many parameters, and an archive that is away fails every study.
    ids = (study_id for statement in found for study_id in session.scalars(statement) if study_id not in but_not)
    return list(islice(ids, limit))


def is_due(now: datetime, quiet_seconds: float) -> Select[int]:
    """Asks for all studies of which a report is due.

    A study is complete when nothing came for it just now (`states.waiting_window`), no file of it is pending and at
    least one was read: where nothing was read there is nothing to report on. A report by request covers nothing: the
    clinic's own stays due.
    """
    return _complete(now, quiet_seconds).where(study_has_file(Outcome.ANALYSED))


def leave_unread(database: Database, now: datetime, quiet_seconds: float) -> int:
    """Cover complete studies of which nothing was read, as a report would, until more of them is decided.

    Else the loop would go through all of them each time that it looks: a department's CTs sent to the wrong inbox.

    Args:
        database: the clinic's.
        now: the moment.
        quiet_seconds: as for `is_due`.

    Returns:
        How many there were, `_UNREAD_AT_ONCE` at most.
    """
    unread = _complete(now, quiet_seconds).where(~study_has_file(Outcome.ANALYSED)).add_columns(Study.revision)
    first = unread.order_by(Study.last_received_at, Study.id).limit(_UNREAD_AT_ONCE)
    by_revision: defaultdict[int, list[int]] = defaultdict(list)
    with database.session() as session:
        for study_id, revision in session.execute(first):
            by_revision[revision].append(study_id)
    if not by_revision:
        return 0
    with database.write() as session:
        for revision, ids in by_revision.items():
            # Another revision by now: something was decided meanwhile, and may have been read.
            same = update(Study).where(Study.id.in_(ids), Study.revision == revision)
            session.execute(same.values(reported_revision=revision), execution_options={"synchronize_session": False})
    return sum(map(len, by_revision.values()))


def _complete(now: datetime, quiet_seconds: float) -> Select[int]:
    """Asks for all complete studies whose newest revision no report covers."""
    after, until = waiting_window(now, quiet_seconds)
    return select(Study.id).where(
        Study.reported_revision < Study.revision,
        or_(Study.last_received_at <= after, Study.last_received_at > until),
        ~study_has_file(Outcome.PENDING),
    )
