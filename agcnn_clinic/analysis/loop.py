"""The analysis loop's step: take what is pending, normalise it in child processes, read it as a batch, record it."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, exists, select, update
from sqlalchemy.orm import aliased

from agcnn_clinic.analysis.films import Darkroom, Film, FilmReader, Result, film_of
from agcnn_clinic.analysis.infer import Reader
from agcnn_clinic.analysis.normalise import Developed
from agcnn_clinic.analysis.record import record, register_model
from agcnn_clinic.database import trail
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.outcomes import decide, reason_file, to_decide
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import REASONS, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ChildrenUnavailableError, DatabaseError, ImageError, StorageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.moments import utc_now
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_clinic.storage import Storage
from agcnn_models.manifest import digest

MAX_ATTEMPTS = 3
"""How many processes may begin on a file and not survive it before it is held to be what ends them."""
REST_SECONDS = 60.0
"""How long a file that the archive does not give up is left alone, so that it does not hold up the others."""
LOOK_SECONDS = 0.2
"""How often a look is taken, while films are decoded, for more that children could begin with."""
PATIENCE_SECONDS = 2.0
"""How long a film that is decoded waits for more, so that the network has a batch."""

log = logging.getLogger(__name__)


_Verdict = tuple[ReasonCode, str, dict[str, Any]]
"""What becomes of a file: its code, what was found, and the machine-readable details."""


@dataclass(frozen=True)
class _Job:
    """A pending file."""

    film: Film
    attempts: int

    @property
    def file_id(self) -> int:
        return self.film.file_id


class Analysis:
    """The analysis of one clinic, with its model loaded."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        sandbox: Sandbox,
        reader: Reader,
        gate: Gate,
        batch_size: int,
        darkroom: Darkroom | None = None,
        claims: Claims = ALONE,
        clock: Callable[[], datetime] = utc_now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives the time of day that is recorded; `elapsed` counts the seconds of a file's rest."""
        self._database = database
        self._storage = storage
        self._films = FilmReader(storage, sandbox, reader, gate, darkroom)
        self._batch_size = batch_size
        # While the network reads a batch, no child may run out of work; four films for each last that long.
        self._in_hand = batch_size + max(batch_size, 4 * sandbox.workers)
        self._claims = claims
        self._clock = clock
        self._elapsed = elapsed
        manifest = reader.manifest
        self._loaded = trail.ModelIdentity(manifest.name, manifest.version, digest(manifest))
        self._chosen = self._loaded
        """The model that the clinic is to read with, as far as the log was told of it."""
        with database.write() as session:
            self._model_id = register_model(session, reader.manifest, clock())
        self._ahead: dict[int, tuple[Film, Future[Developed]]] = {}
        """Decoding already under way for the next batch, by file id."""
        self._counted: set[int] = set()
        """Undecided files on which this process has begun, and on which it has counted an attempt."""
        self._resting: dict[int, float] = {}
        """Files to leave alone, and until when by `elapsed`."""

    def step(self) -> int:
        """Decide a batch of pending files; returns how many, 0 when nothing was pending.

        Raises:
            ChildrenUnavailableError: no child process can be started; the files stay pending.
            DatabaseError: the database cannot be used.
        """
        now = self._elapsed()
        self._resting = {file_id: until for file_id, until in self._resting.items() if until > now}
        jobs = self._decoded()
        if not jobs:
            return 0
        try:
            results = [self._films.finish(*self._ahead.pop(job.file_id)) for job in jobs]
        except ChildrenUnavailableError:
            self._uncount([job.file_id for job in jobs])
            raise
        self._films.read(results)
        reached(FaultPoint.BATCH_READ)
        failed = self._record([result for result in results if not isinstance(result.error, StorageError)])
        failed += [result.film.file_id for result in results if isinstance(result.error, StorageError)]
        if failed:
            self._let_rest(failed, now)
        return len(results)

    def _decoded(self) -> list[_Job]:
        """The next batch: pending files that are decoded, in order of arrival; none when no file is pending.

        It is not waited for in that order: films differ tenfold in what they cost, and decoders that wait for the
        network, which waits for one film, have nothing to do. A batch is read when it is full; when all that was
        pending at first is decoded; or when a film has waited for the others for long enough.
        """
        at_first: set[int] | None = None
        enough = math.inf
        while jobs := self._begun():
            pending = {job.file_id for job in jobs}
            at_first = pending if at_first is None else at_first & pending
            now = time.monotonic()
            look_again = now + LOOK_SECONDS
            while now < look_again:
                coming = {job.file_id: future for job in jobs if not (future := self._ahead[job.file_id][1]).done()}
                decoded = [job for job in jobs if job.file_id not in coming][: self._batch_size]
                if decoded:
                    enough = min(enough, now + PATIENCE_SECONDS)
                    if len(decoded) == self._batch_size or at_first.isdisjoint(coming) or now >= enough:
                        return decoded
                wait(coming.values(), look_again - now, FIRST_COMPLETED)
                now = time.monotonic()
        return []

    def _begun(self) -> list[_Job]:
        """The pending files that are this worker's to decide next, as many as it has in hand; children decode them."""
        not_now = {*self._resting, *self._claims.others(Work.FILE)}
        jobs = self._claimed(due(self._database, limit=self._in_hand, resting=not_now))
        if jobs:
            self._begin(jobs)
        return jobs

    def close(self) -> None:
        """Take back the attempts on what was begun and not decided: the process ends as it was told to."""
        with contextlib.suppress(DatabaseError):
            self._uncount(list(self._counted))
        self._claims.release(Work.FILE, self._ahead)

    def _claimed(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Those of the jobs that are this worker's; what was begun and is another's by now is forgotten."""
        ids = [job.file_id for job in jobs]
        still_due = select(ReceivedFile.id).where(ReceivedFile.id.in_(ids), ReceivedFile.outcome == Outcome.PENDING)
        mine = self._claims.take(Work.FILE, ids, still_due)
        for file_id in self._ahead.keys() - mine:
            del self._ahead[file_id]
        return [job for job in jobs if job.file_id in mine]

    def _begin(self, jobs: Sequence[_Job]) -> None:
        """Start decoding this batch and the next: children decode while the network reads.

        A process counts one attempt on a file, however often it must begin anew because a disk or the database fails
        it: many attempts on a file mean many processes that did not survive it.
        """
        new = [job for job in jobs if job.file_id not in self._ahead]
        first = [job.file_id for job in new if job.file_id not in self._counted]
        if first:
            with self._database.write() as session:
                session.execute(
                    update(ReceivedFile).where(ReceivedFile.id.in_(first)).values(attempts=ReceivedFile.attempts + 1)
                )
            reached(FaultPoint.ATTEMPTS_COUNTED)
        for job in new:
            attempts = job.attempts - (job.file_id in self._counted)
            if attempts >= MAX_ATTEMPTS:
                future: Future[Developed] = Future()
                future.set_exception(ImageError(ReasonCode.CRASHED, f"{attempts} attempts did not end"))
            else:
                future = self._films.decode(job.film)
            self._ahead[job.file_id] = job.film, future
        self._counted.update(first)

    def _let_rest(self, file_ids: Sequence[int], now: float) -> None:
        """Leave files alone that archive or quarantine fail: that is not their doing, and no attempt on them."""
        self._resting |= dict.fromkeys(file_ids, now + REST_SECONDS)
        self._uncount(file_ids)
        self._claims.release(Work.FILE, file_ids)
        log.warning(
            "%d files cannot be read from the archive or laid out in the quarantine; they stay pending: %s",
            len(file_ids),
            list(file_ids),
        )

    def _uncount(self, file_ids: Sequence[int]) -> None:
        """Take back the attempts that `_begin` counted."""
        with self._database.write() as session:
            session.execute(
                update(ReceivedFile)
                .where(ReceivedFile.id.in_(self._counted.intersection(file_ids)))
                .values(attempts=ReceivedFile.attempts - 1)
            )
        self._counted.difference_update(file_ids)

    def _record(self, results: Sequence[Result]) -> list[int]:
        """Lay out what is quarantined, then write all outcomes in one short transaction.

        Returns:
            The ids of the files that the quarantine does not take; they are left as they are.
        """
        now = self._clock()
        verdicts = {result.film.file_id: _verdict(result) for result in results}
        quarantined, failed = self._laid_out([result.film for result in results], verdicts, now)
        reached(FaultPoint.OUTCOMES_LAID_OUT)
        decided = [result for result in results if result.film.file_id not in failed]
        with self._database.write() as session:
            kept = self._claims.kept(session, Work.FILE, [result.film.file_id for result in decided])
            rows = to_decide(session, kept)
            own = [result for result in decided if result.film.file_id in kept]
            files = [rows[result.film.file_id] for result in own]
            for file, result in zip(files, own, strict=True):
                code, detail, details = verdicts[file.id]
                file.quarantine_path = quarantined.get(file.id, "")
                if result.developed is not None:
                    file.picture_sha256 = result.developed.picture_sha256
                decide(file, code, now=now, detail=detail, details=details)
            record(session, own, self._films.reader, model_id=self._model_id, now=now)
            trail.analysed(session, files, model_id=self._model_id, now=now, worker=self._claims.worker)
            chosen = trail.chosen_model(session.connection()) or self._loaded
            self._claims.done(session, Work.FILE, kept)
            session.flush()
            reached(FaultPoint.OUTCOMES_WRITTEN)
        reached(FaultPoint.OUTCOMES_COMMITTED)
        self._counted.difference_update(result.film.file_id for result in decided)
        self._tell_of(chosen)
        if len(kept) < len(decided):
            lost = len(decided) - len(kept)
            log.warning("%d films were taken over by another worker; they are not recorded here", lost)
        return failed

    def _laid_out(
        self, films: Sequence[Film], verdicts: Mapping[int, _Verdict], now: datetime
    ) -> tuple[dict[int, str], list[int]]:
        """Show in the quarantine what belongs there: what each is called there, and the ids of those that fail."""
        quarantined: dict[int, str] = {}
        failed: list[int] = []
        for film in films:
            code, detail, _ = verdicts[film.file_id]
            if REASONS[code].outcome is Outcome.QUARANTINED:
                reason = reason_file(code, detail, now)
                try:
                    quarantined[film.file_id] = self._storage.quarantine(film.stored_path, reason)
                except StorageError as error:
                    log.warning("%s", error)
                    failed.append(film.file_id)
        return quarantined, failed

    def _tell_of(self, chosen: trail.ModelIdentity) -> None:
        """Say once in the log that films are read with another model than was chosen since it was loaded."""
        if chosen not in (self._chosen, self._loaded):
            told = "films are still read with %s; restart this process to read with %s, which was chosen since"
            log.warning(told, self._loaded, chosen)
        self._chosen = chosen


def due(database: Database, limit: int, resting: Collection[int] = ()) -> list[_Job]:
    """The pending files to be decided next, in order of arrival, but for those at rest.

    Of several files of one SOP Instance only the first is due: what becomes of the next depends on it.
    """
    given = {"most": limit, "resting": list(resting)}
    with database.session() as session:
        return [
            _Job(film_of(file, previous, gone, same_as), file.attempts)
            for file, previous, gone, same_as in session.execute(_pending(), given)
        ]


@cache
def _pending() -> Select[ReceivedFile, str | None, str | None, int | None]:
    """Asks for what `due` says. To put the question together takes three times as long as to ask it."""
    earlier, analysed = aliased(ReceivedFile), aliased(ReceivedFile)
    of_instance = (analysed.instance_id == ReceivedFile.instance_id, analysed.outcome == Outcome.ANALYSED)
    previous_path = select(analysed.stored_path).where(*of_instance).order_by(analysed.id).limit(1).scalar_subquery()
    gone_picture = (
        select(analysed.picture_sha256)
        .where(*of_instance, analysed.removed_at.is_not(None))
        .order_by(analysed.id)
        .limit(1)
        .scalar_subquery()
    )
    # Of a PNG the same bytes may come under another study.toml.
    same_bytes = (analysed.sha256 == ReceivedFile.sha256, ReceivedFile.media_type == MediaType.DICOM)
    same_as = select(analysed.id).where(*of_instance, *same_bytes).order_by(analysed.id).limit(1).scalar_subquery()
    return (
        select(ReceivedFile, previous_path, gone_picture, same_as)
        .where(ReceivedFile.outcome == Outcome.PENDING, ReceivedFile.id.not_in(bindparam("resting", expanding=True)))
        # A zip is intake's to decide.
        .where(ReceivedFile.media_type != MediaType.ZIP)
        .where(
            ~exists().where(
                earlier.instance_id == ReceivedFile.instance_id,
                earlier.outcome == Outcome.PENDING,
                earlier.id < ReceivedFile.id,
            )
        )
        .order_by(ReceivedFile.id)
        .limit(bindparam("most"))
    )


def _verdict(result: Result) -> _Verdict:
    """What becomes of a file."""
    if isinstance(result.error, ImageError):
        return ReasonCode(result.error.code), result.error.detail, {}
    developed = result.developed
    if developed is None or developed.same_as_previous is None:
        return ReasonCode.READ, "", {}
    differing, same_as = list(developed.differing_attributes), result.film.same_as
    if developed.same_as_previous and same_as is not None:
        return ReasonCode.SAME_BYTES, f"it is file {same_as}, {Outcome.ANALYSED}", {"same_as_file": same_as}
    if developed.same_as_previous:
        gone = result.film.gone_picture is not None
        detail = "the earlier header was removed by retention" if gone else ", ".join(differing)
        return ReasonCode.HEADER_DIFFERS, detail, {"differing_attributes": differing}
    return ReasonCode.UID_CONFLICT, "", {"differing_attributes": differing}
