"""What one worker has done of all that is done in a clinic: `process` tells of its own, whoever works beside it."""

import json
import threading
from collections.abc import Sequence

from sqlalchemy import select

from agcnn_clinic.database.audit import audit_event, by_worker, head_of
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import Outcome


class OwnWork:
    """What a worker has done, as it has told the audit trail, since this was made.

    The trail is asked, since each event is committed with the rows that it tells of, and names the worker. Threads may
    share it.
    """

    def __init__(self, database: Database, worker: str) -> None:
        """To be made before the worker (`claims.Claims.worker`) begins on anything."""
        self._database = database
        self._worker = worker
        self._reading = threading.Lock()
        self._files: set[int] = set()
        self._studies: set[str] = set()
        self._reported: set[str] = set()
        with database.connection() as connection:
            self._read_to, _ = head_of(connection)

    def files(self) -> list[int]:
        """The files that it registered, and those that it analysed, whoever registered them."""
        with self._reading:
            self._read_on()
            return sorted(self._files)

    def pending(self) -> set[int]:
        """Those of them that have no outcome yet."""
        pending: set[int] = set()
        files = self.files()
        with self._database.connection() as connection:
            for part in in_parts(files):
                asked = select(ReceivedFile.id).where(ReceivedFile.id.in_(part))
                pending.update(connection.scalars(asked.where(ReceivedFile.outcome == Outcome.PENDING)))
        return pending

    def studies(self) -> list[int]:
        """The studies of which it registered a file."""
        with self._reading:
            self._read_on()
            keys = sorted(self._studies)
        return self._ids(keys)

    def reported(self) -> list[int]:
        """The studies of which it has made a report, whoever registered their files."""
        with self._reading:
            self._read_on()
            keys = sorted(self._reported)
        return self._ids(keys)

    def _ids(self, keys: Sequence[str]) -> list[int]:
        found: list[int] = []
        with self._database.connection() as connection:
            for part in in_parts(keys):
                found += connection.scalars(select(Study.id).where(Study.key.in_(part)))
        return sorted(found)

    def _read_on(self) -> None:
        for place, event, studies, files in self._told():
            self._read_to = max(self._read_to, place)
            self._files.update(json.loads(files))
            if event == AuditEvent.IMPORTED:
                self._studies.update(json.loads(studies))
            if event == AuditEvent.REPORTED:
                self._reported.update(json.loads(studies))

    def _told(self) -> list[tuple[int, str, str, str]]:
        """The worker's events of which nothing is read yet: place, kind, studies, files."""
        columns = audit_event.c
        asked = select(columns.id, columns.event, columns.studies, columns.files).where(
            columns.event.in_((AuditEvent.IMPORTED, AuditEvent.ANALYSED, AuditEvent.REPORTED)),
            columns.id > self._read_to,
            by_worker(self._worker),
        )
        with self._database.connection() as connection:
            return [tuple(row) for row in connection.execute(asked)]
