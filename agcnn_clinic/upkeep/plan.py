"""What may go, and what of it goes now. Reads the database; removes nothing.

Nothing goes that a report still needs. A study is done with when none of its images is pending and its newest report
covers all that was read; one of which nothing was read has no report to wait for. Bytes that several rows share, such
as those of a duplicate, go only when every one of these rows may let them go.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from agcnn_clinic.config import Config
from agcnn_clinic.database.outcomes import study_has_file
from agcnn_clinic.database.tables import Instance, ReceivedFile, Report, Study
from agcnn_clinic.domain import Outcome
from agcnn_clinic.sections import Retention


class Kind(StrEnum):
    """What is kept where; the names are those of `retention.free_disk_of`."""

    ARCHIVE = "archive"
    QUARANTINE = "quarantine"
    REPORTS = "reports"


class Disk(NamedTuple):
    """The disk that a folder lies on."""

    device: int
    total: int
    free: int
    """Bytes."""


@dataclass(frozen=True)
class Candidate:
    """Bytes that may go.

    Attributes:
        kind: what they are. A quarantined file's are `QUARANTINE`, in the archive and in the quarantine at once.
        ids: of all rows that share them: of received_file, or of one report.
        path: below the archive folder, or a report's below that of the reports.
        size: in bytes.
        since: from when their age counts: when the last image of the study came, so that its images go together;
            where there is no study, when the file was decided; when the report was made.
        study_key: empty where there is none.
        also_archive: whether archive_days must be over, too: the same bytes are of use outside the quarantine.
    """

    kind: Kind
    ids: tuple[int, ...]
    path: str
    size: int
    since: datetime
    study_key: str
    also_archive: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Whose settings must let them go."""
        return (self.kind, Kind.ARCHIVE) if self.also_archive else (self.kind,)


@dataclass(frozen=True)
class Removal:
    """Bytes that go now, and why."""

    candidate: Candidate
    why: str


def plan(session: Session, config: Config, now: datetime, disk_of: Callable[[Path], Disk]) -> list[Removal]:
    """What goes now, the oldest first within each reason.

    Args:
        session: sees one state of the database throughout.
        config: the clinic's settings.
        now: the moment from which ages count.
        disk_of: tells of the disk that a folder lies on.
    """
    settings = config.retention
    days = _days(settings)
    if not settings.is_on:
        return []
    known = (_sized(one, config) for one in candidates(session))
    may_go = sorted(known, key=lambda one: (one.since, one.ids))
    removals = [
        Removal(one, f"older than {max(days[kind] for kind in one.kinds)} days")
        for one in may_go
        if _is_old(one, days, now)
    ]
    gone = {removal.candidate for removal in removals}
    removals += _for_room([one for one in may_go if one not in gone], gone, config, disk_of)
    return removals


def candidates(session: Session, stored_paths: Collection[str] | None = None) -> Iterator[Candidate]:
    """All that may go, whatever its age.

    Args:
        session: to read from.
        stored_paths: only files of the archive with these; None for all, and for reports.
    """
    for row in session.execute(_files(stored_paths)):
        yield Candidate(
            kind=Kind.QUARANTINE if row.quarantined else Kind.ARCHIVE,
            ids=tuple(sorted(int(one) for one in row.ids.split(","))),
            path=row.stored_path,
            size=row.size,
            since=row.since,
            study_key=row.study_key or "",
            also_archive=bool(row.quarantined and row.of_use),
        )
    if stored_paths is None:
        yield from report_candidates(session)


def report_candidates(session: Session, ids: Collection[int] | None = None) -> Iterator[Candidate]:
    """The reports that may go, whatever their age; of `ids` only, where given."""
    statement = select(Report.id, Report.path, Report.created_at, Study.key).join(Report.study)
    statement = statement.where(Report.removed_at.is_(None), ~Report.to_send, ~_is_undone())
    if ids is not None:
        statement = statement.where(Report.id.in_(ids))
    for row in session.execute(statement):
        yield Candidate(Kind.REPORTS, (row.id,), Path(row.path).name, 0, row.created_at, row.key)


def _files(stored_paths: Collection[str] | None) -> Select[Any]:
    """Groups of rows that share bytes which are still there, none of which needs them."""
    since = func.max(func.coalesce(Study.last_received_at, ReceivedFile.decided_at))
    quarantined = ReceivedFile.outcome == Outcome.QUARANTINED
    of_use = ReceivedFile.outcome.in_((Outcome.ANALYSED, Outcome.REFUSED, Outcome.UNPACKED))
    needed = ReceivedFile.id.in_(_needed())
    statement = (
        select(ReceivedFile.stored_path)
        .add_columns(
            func.max(ReceivedFile.size).label("size"),
            since.label("since"),
            func.aggregate_strings(cast(ReceivedFile.id, String), ",").label("ids"),
            func.max(Study.key).label("study_key"),
            _any(quarantined).label("quarantined"),
            _any(of_use).label("of_use"),
        )
        .outerjoin(ReceivedFile.instance)
        .outerjoin(Instance.study)
        .where(ReceivedFile.removed_at.is_(None))
        .group_by(ReceivedFile.stored_path)
        .having(_any(needed) == 0)
    )
    return statement if stored_paths is None else statement.where(ReceivedFile.stored_path.in_(stored_paths))


def _needed() -> Select[Any]:
    """Ids of the rows whose bytes are needed: pending ones, those of undone studies, and the zips they came in."""
    undone = select(Instance.id).join(Instance.study).where(_is_undone()).correlate(None)
    file, container = aliased(ReceivedFile), aliased(ReceivedFile)
    rows = (
        select(file.id, file.container_id)
        .where(or_(file.outcome == Outcome.PENDING, file.instance_id.in_(undone)))
        .cte("needed", recursive=True)
    )
    above = select(container.id, container.container_id).join(rows, rows.c.container_id == container.id)
    return select(rows.union(above).c.id)


def _is_undone() -> ColumnElement[bool]:
    """Whether a study waits for a reading or for a report."""
    return or_(
        study_has_file(Outcome.PENDING),
        and_(study_has_file(Outcome.ANALYSED), Study.reported_revision < Study.revision),
    )


def _any(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.max(case((condition, 1), else_=0))


def _sized(candidate: Candidate, config: Config) -> Candidate:
    """With the bytes of a report, which its row does not tell; 0 where it is not there."""
    if candidate.kind is not Kind.REPORTS:
        return candidate
    try:
        return replace(candidate, size=config.report_file(candidate.path).stat().st_size)
    except OSError:
        return candidate


def _days(settings: Retention) -> dict[Kind, int]:
    return {
        Kind.ARCHIVE: settings.archive_days,
        Kind.QUARANTINE: settings.quarantine_days,
        Kind.REPORTS: settings.reports_days,
    }


def _is_old(candidate: Candidate, days: dict[Kind, int], now: datetime) -> bool:
    limits = [days[kind] for kind in candidate.kinds]
    return all(limit and candidate.since <= now - timedelta(days=limit) for limit in limits)


def _for_room(
    may_go: Sequence[Candidate], gone: Iterable[Candidate], config: Config, disk_of: Callable[[Path], Disk]
) -> Iterator[Removal]:
    """What goes before its time because the disk has too little free, kind by kind in the order of the setting."""
    percent = config.retention.min_free_percent
    if not percent:
        return
    folders = {Kind.ARCHIVE: config.archive, Kind.QUARANTINE: config.quarantine, Kind.REPORTS: config.reports}
    disks = {kind: disk_of(folder) for kind, folder in folders.items()}
    missing = {disk.device: disk.total * percent / 100 - disk.free for disk in disks.values()}
    for candidate in gone:
        missing[disks[candidate.kind].device] -= candidate.size
    allowed = tuple(map(Kind, config.retention.free_disk_of))
    for kind in allowed:
        device = disks[kind].device
        for candidate in may_go:
            if missing[device] <= 0:
                break
            if candidate.kind is kind and set(candidate.kinds) <= set(allowed):
                missing[device] -= candidate.size
                yield Removal(candidate, f"less than {percent:g} % of the disk is free")
