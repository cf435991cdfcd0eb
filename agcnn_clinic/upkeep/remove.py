"""Removing bytes: first the rows say that they are gone, then they go.

A process that is killed in between leaves bytes that no row claims; they are the newest that were said to be gone, and
the next look removes them. Never does a row claim bytes that are not there.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.claims import Claims
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile, Report
from agcnn_clinic.durable import fsync_folder
from agcnn_clinic.errors import StorageError
from agcnn_clinic.layout import remade_beside
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.plan import Kind, Removal, candidates, report_candidates

log = logging.getLogger(__name__)

BATCH = 200
"""Removals that share one transaction."""


class Remover:
    """Removes the bytes of one clinic."""

    def __init__(self, database: Database, storage: Storage, config: Config, claims: Claims) -> None:
        self._database = database
        self._storage = storage
        self._claims = claims
        self._config = config

    def remove(self, removals: Sequence[Removal], now: datetime, stopped: Callable[[], bool]) -> list[Removal]:
        """Remove what is planned, as far as it may still go; returns what was removed.

        A report that does not lie where it should is gone for its row, and no longer told as missing; a warning says
        that it was not removed.

        Args:
            removals: the plan.
            now: what the rows will tell as the time.
            stopped: asked between batches.

        Raises:
            StorageError: a folder cannot be written; what was said to be gone is removed the next time.
            DatabaseError: the database cannot be used; likewise.
        """
        removed: list[Removal] = []
        for first in range(0, len(removals), BATCH):
            if stopped():
                break
            batch = removals[first : first + BATCH]
            # Until the bytes are gone, intake may not take the same ones for kept.
            with self._storage.changing, self._claims.removing() as still_held:
                with self._database.write() as session:
                    going = _still(session, batch)
                    moment = _moment(session, now)
                    _say_gone(session, going, moment)
                # The transaction may have waited long for its turn, and the lock be lost: what is gone by the rows may
                # have been kept again since, and is for `finish` to judge.
                still_held()
                self._storage.remove([one.candidate.path for one in going if one.candidate.kind is not Kind.REPORTS])
                reports = [one.candidate.ids[0] for one in going if one.candidate.kind is Kind.REPORTS]
                not_there = self._unlink_reports(reports)
            if not_there:
                log.warning(
                    "%d reports that were to be removed are not in the reports folder, the first is %s; if that folder "
                    "was changed in config.toml, remove them from the one before",
                    len(not_there),
                    not_there[0],
                )
            removed += [one for one in going if one.candidate.path not in not_there]
        return removed

    def finish(self) -> None:
        """Remove what a run that was ended left after it had said that it is gone: the newest of it.

        Raises:
            StorageError: a folder cannot be written.
        """
        with self._storage.changing, self._claims.removing() as still_held:
            # In its turn: what a worker that has just lost its lock is writing of the same bytes is seen.
            with self._database.write() as session:
                newest = _newest(session)
                if newest is None:
                    return
                kept = select(ReceivedFile.stored_path).where(ReceivedFile.removed_at.is_(None))
                files = select(ReceivedFile.stored_path).where(
                    ReceivedFile.removed_at == newest, ReceivedFile.stored_path.not_in(kept)
                )
                paths = list(session.scalars(files.distinct()))
                reports = list(session.scalars(select(Report.id).where(Report.removed_at == newest)))
            still_held()
            self._storage.remove(paths)
            self._unlink_reports(reports)

    def _unlink_reports(self, ids: Sequence[int]) -> list[str]:
        """Remove the PDFs of reports whose rows call them gone; returns those that were not there.

        The rows are asked once more, and nobody writes meanwhile: a report that is made again gets its name only after
        its row calls it there.
        """
        if not ids:
            return []
        not_there = []
        with self._database.write() as session:
            gone = select(Report.path).where(Report.id.in_(ids), Report.removed_at.is_not(None))
            try:
                for path in session.scalars(gone):
                    pdf = self._config.report_file(path)
                    # What `report` wrote beside it, where it could not make the same again.
                    found = [one for one in (pdf, remade_beside(pdf)) if one.exists()]
                    for one in found:
                        one.unlink(missing_ok=True)
                    if not found:
                        not_there.append(pdf.name)
                fsync_folder(self._config.reports)
            except OSError as error:
                why = error.strerror or error
                raise StorageError(f"A report cannot be removed: {why}; it is tried again.") from error
        return not_there


def _still(session: Session, batch: Sequence[Removal]) -> list[Removal]:
    """Those removals for which nothing has changed since they were planned."""
    paths = [one.candidate.path for one in batch if one.candidate.kind is not Kind.REPORTS]
    reports = [one.candidate.ids[0] for one in batch if one.candidate.kind is Kind.REPORTS]
    now = {(one.kind, one.ids) for one in candidates(session, paths)} if paths else set()
    now |= {(one.kind, one.ids) for one in report_candidates(session, reports)} if reports else set()
    return [one for one in batch if (one.candidate.kind, one.candidate.ids) in now]


def _say_gone(session: Session, going: Sequence[Removal], moment: datetime) -> None:
    """Say of the rows that their bytes are gone, and tell the audit trail: one event for each reason."""
    for candidate in (removal.candidate for removal in going):
        if candidate.kind is Kind.REPORTS:
            session.execute(update(Report).where(Report.id.in_(candidate.ids)).values(removed_at=moment))
        else:
            rows = update(ReceivedFile).where(ReceivedFile.id.in_(candidate.ids))
            session.execute(rows.values(removed_at=moment, quarantine_path=""))
    for why, alike in groupby(sorted(going, key=lambda removal: removal.why), key=lambda removal: removal.why):
        bytes_gone = [removal.candidate for removal in alike]
        files = [row for one in bytes_gone if one.kind is not Kind.REPORTS for row in one.ids]
        reports = [row for one in bytes_gone if one.kind is Kind.REPORTS for row in one.ids]
        trail.removed(
            session,
            why=why,
            now=moment,
            files=session.scalars(select(ReceivedFile).where(ReceivedFile.id.in_(files))).all(),
            reports=[
                (report.study.key, report.version)
                for report in session.scalars(select(Report).where(Report.id.in_(reports)))
            ],
        )


def _moment(session: Session, now: datetime) -> datetime:
    """The time to tell: later than any before, so that the newest can be known, also by a clock that was set back."""
    newest = _newest(session)
    return now if newest is None else max(now, newest + timedelta(microseconds=1))


def _newest(session: Session) -> datetime | None:
    found = [session.scalar(select(func.max(column))) for column in (ReceivedFile.removed_at, Report.removed_at)]
    return max((one for one in found if one is not None), default=None)
