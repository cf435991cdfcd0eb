"""The analysis loop's step: take what is pending, normalise it in child processes, read it as a batch, record it."""

import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import exists, select, update
from sqlalchemy.orm import aliased

from agcnn_clinic.analysis.infer import Reader, Reading
from agcnn_clinic.analysis.normalise import Normalised, normalise
from agcnn_clinic.analysis.record import record, register_model
from agcnn_clinic.config import Gate
from agcnn_clinic.database.outcomes import decide, reason_file
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import REASONS, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError, ReadersUnavailableError, StorageError
from agcnn_clinic.sandbox import Sandbox
from agcnn_clinic.storage import Storage

MAX_ATTEMPTS = 3
"""How often analysis begins on a file before it is held to be what ends the process."""
REST_SECONDS = 60.0
"""How long a file that the archive does not give up is left alone, so that it does not hold up the others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """A pending file, and the analysed one of the same SOP Instance UID where there is one."""

    file_id: int
    stored_path: str
    media_type: MediaType
    attempts: int
    previous_path: str | None
    stated_view: str
    """The view of a PNG by its study.toml; a DICOM file says its own."""


@dataclass
class _Result:
    job: _Job
    normalised: Normalised | None = None
    error: ImageError | StorageError | None = None
    reading: Reading | None = None


class Analysis:
    """The analysis of one clinic, with its model loaded."""

    def __init__(
        self, database: Database, storage: Storage, sandbox: Sandbox, reader: Reader, gate: Gate, batch_size: int
    ) -> None:
        self._database = database
        self._storage = storage
        self._sandbox = sandbox
        self._reader = reader
        self._gate = gate
        self._batch_size = batch_size
        with database.write() as session:
            self._model_id = register_model(session, reader.manifest, datetime.now(UTC))
        self._ahead: dict[int, tuple[_Job, Future[Normalised]]] = {}
        """Decoding already under way for the next batch, by file id."""
        self._resting: dict[int, float] = {}
        """Files to leave alone, and until when on the monotonic clock."""

    def step(self) -> int:
        """Take the next batch of pending files; returns how many, 0 when nothing was pending.

        Raises:
            ReadersUnavailableError: no child process can be started; the files stay pending.
            StorageError: the quarantine cannot be written; the files stay pending.
            DatabaseError: the database cannot be used.
        """
        now = time.monotonic()
        self._resting = {file_id: until for file_id, until in self._resting.items() if until > now}
        jobs = due(self._database, limit=2 * self._batch_size, resting=self._resting)
        if not jobs:
            return 0
        self._begin(jobs)
        try:
            results = [self._finish(job) for job in jobs[: self._batch_size]]
        except ReadersUnavailableError:
            self._uncount([job.file_id for job in jobs])
            raise
        failed = [result.job.file_id for result in results if isinstance(result.error, StorageError)]
        decided = [result for result in results if not isinstance(result.error, StorageError)]
        seconds = self._read([result for result in decided if _to_be_read(result)])
        self._record(decided, seconds)
        if failed:
            self._let_rest(failed, now)
        return len(results)

    def _begin(self, jobs: Sequence[_Job]) -> None:
        """Start decoding this batch and the next: children decode while the network reads."""
        new = [job for job in jobs if job.file_id not in self._ahead]
        with self._database.write() as session:
            session.execute(
                update(ReceivedFile)
                .where(ReceivedFile.id.in_([job.file_id for job in new]))
                .values(attempts=ReceivedFile.attempts + 1)
            )
        for job in new:
            if job.attempts >= MAX_ATTEMPTS:
                future: Future[Normalised] = Future()
                future.set_exception(ImageError(ReasonCode.CRASHED, f"{job.attempts} attempts did not end"))
            else:
                previous = None if job.previous_path is None else self._storage.archived(job.previous_path)
                path = self._storage.archived(job.stored_path)
                future = self._sandbox.submit(normalise, path, job.media_type, self._gate, previous, job.stated_view)
            self._ahead[job.file_id] = job, future

    def _finish(self, wanted: _Job) -> _Result:
        job, future = self._ahead.pop(wanted.file_id)
        try:
            return _Result(job, normalised=future.result())
        except (ImageError, StorageError) as error:
            return _Result(job, error=error)

    def _let_rest(self, file_ids: Sequence[int], now: float) -> None:
        """Leave files alone whose archived bytes cannot be read: that is not their doing, and no attempt on them."""
        self._resting |= dict.fromkeys(file_ids, now + REST_SECONDS)
        self._uncount(file_ids)
        log.warning("%d files cannot be read from the archive; they stay pending: %s", len(file_ids), list(file_ids))

    def _uncount(self, file_ids: Sequence[int]) -> None:
        """Take back the attempts that `_begin` counted."""
        with self._database.write() as session:
            session.execute(
                update(ReceivedFile).where(ReceivedFile.id.in_(file_ids)).values(attempts=ReceivedFile.attempts - 1)
            )

    def _read(self, results: Sequence[_Result]) -> float:
        """Give each result its reading; returns the seconds of network time per picture."""
        if not results:
            return 0.0
        began = time.perf_counter()
        pictures = [result.normalised.picture for result in results if result.normalised is not None]
        for result, reading in zip(results, self._reader.read(pictures), strict=True):
            result.reading = reading
        return (time.perf_counter() - began) / len(results)

    def _record(self, results: Sequence[_Result], network_seconds: float) -> None:
        """Lay out what is quarantined, then write all outcomes in one short transaction."""
        now = datetime.now(UTC)
        verdicts = [_verdict(result) for result in results]
        quarantined = {
            result.job.file_id: self._storage.quarantine(result.job.stored_path, reason_file(code, detail, now))
            for result, (code, detail, _) in zip(results, verdicts, strict=True)
            if REASONS[code].outcome is Outcome.QUARANTINED
        }
        with self._database.write() as session:
            for result, (code, detail, details) in zip(results, verdicts, strict=True):
                file = session.get_one(ReceivedFile, result.job.file_id)
                file.quarantine_path = quarantined.get(file.id, "")
                normalised = result.normalised
                if normalised is not None:
                    file.picture_sha256 = normalised.picture.sha256
                    if result.reading is not None:
                        timings = {"decode": round(normalised.seconds, 4), "network": round(network_seconds, 4)}
                        record(
                            session,
                            file,
                            normalised,
                            result.reading,
                            model_id=self._model_id,
                            thresholds_id=self._reader.manifest.thresholds.set_id,
                            device=str(self._reader.device),
                            timings=timings,
                            now=now,
                        )
                decide(file, code, now=now, detail=detail, details=details)


def due(database: Database, limit: int, resting: Collection[int] = ()) -> list[_Job]:
    """The pending files to be decided next, in order of arrival, but for those at rest.

    Of several files of one SOP Instance only the first is due: what becomes of the next depends on it.
    """
    earlier, analysed = aliased(ReceivedFile), aliased(ReceivedFile)
    previous_path = (
        select(analysed.stored_path)
        .where(analysed.instance_id == ReceivedFile.instance_id, analysed.outcome == Outcome.ANALYSED)
        .order_by(analysed.id)
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        select(ReceivedFile, previous_path)
        .where(ReceivedFile.outcome == Outcome.PENDING, ReceivedFile.id.not_in(resting))
        .where(
            ~exists().where(
                earlier.instance_id == ReceivedFile.instance_id,
                earlier.outcome == Outcome.PENDING,
                earlier.id < ReceivedFile.id,
            )
        )
        .order_by(ReceivedFile.id)
        .limit(limit)
    )
    with database.session() as session:
        return [
            _Job(
                file.id,
                file.stored_path,
                MediaType(file.media_type),
                file.attempts,
                previous,
                file.header.get("view_position", ""),
            )
            for file, previous in session.execute(statement)
        ]


def _to_be_read(result: _Result) -> bool:
    return result.normalised is not None and result.normalised.same_as_previous is None


def _verdict(result: _Result) -> tuple[ReasonCode, str, dict[str, list[str]]]:
    """What becomes of a file: its code, what was found, and the machine-readable details."""
    if isinstance(result.error, ImageError):
        return ReasonCode(result.error.code), result.error.detail, {}
    normalised = result.normalised
    if normalised is None or normalised.same_as_previous is None:
        return ReasonCode.READ, "", {}
    differing = list(normalised.differing_attributes)
    if normalised.same_as_previous:
        return ReasonCode.HEADER_DIFFERS, ", ".join(differing), {"differing_attributes": differing}
    return ReasonCode.UID_CONFLICT, "", {"differing_attributes": differing}
