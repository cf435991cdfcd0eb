"""The reporting loop's step: make every report that is due."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Study
from agcnn_clinic.errors import LeaseLostError, StorageError
from agcnn_clinic.reporting.due import ReadPicture, Remade, is_due, make_on_request, make_report, remake, studies_due

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Reporting:
    """The reporting of one clinic."""

    def __init__(
        self,
        database: Database,
        config: Config,
        read_picture: ReadPicture,
        clock: Callable[[], datetime] = _now,
        claims: Claims = ALONE,
    ) -> None:
        self._database = database
        self._config = config
        self._read_picture = read_picture
        self._clock = clock
        self._claims = claims

    def step(self, quiet_seconds: float) -> int:
        """Make the reports that are due; returns how many, 0 when none was due.

        A study whose report cannot be made does not keep the others waiting.

        Raises:
            StorageError: reports are due, and none of them can be made.
            DatabaseError: the database cannot be used.
        """
        with self._database.session() as session:
            due = studies_due(session, self._clock(), quiet_seconds, but_not=self._claims.others(Work.STUDY))
        made, failure = 0, None
        for study_id in due:
            still_due = is_due(self._clock(), quiet_seconds).where(Study.id == study_id)
            if not self._claims.take(Work.STUDY, [study_id], still_due):
                continue
            try:
                make_report(
                    self._database,
                    study_id,
                    clock=self._clock,
                    config=self._config,
                    read_picture=self._read_picture,
                    claims=self._claims,
                )
            except LeaseLostError as error:
                log.warning("%s", error)
            except StorageError as error:
                failure = error
                self._claims.release(Work.STUDY, [study_id])
            else:
                made += 1
        if failure is not None and not made:
            raise failure
        return made

    def remake(self, study_id: int, version: int | None = None) -> Remade:
        """Make a delivered report again; see `due.remake`."""
        return remake(
            self._database,
            study_id,
            version,
            clock=self._clock,
            config=self._config,
            read_picture=self._read_picture,
        )

    def on_request(self, study_id: int, model_id: int) -> Remade:
        """Print a study from one model's readings; see `due.make_on_request`."""
        return make_on_request(
            self._database,
            study_id,
            model_id,
            clock=self._clock,
            config=self._config,
            read_picture=self._read_picture,
        )
