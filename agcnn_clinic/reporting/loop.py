"""The reporting loop's step: make every report that is due."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Study
from agcnn_clinic.errors import ClinicError, LeaseLostError, RenderingError, StorageError
from agcnn_clinic.reporting.due import is_due, leave_unread, studies_due
from agcnn_clinic.reporting.making import Remade, make_on_request, make_report, remake
from agcnn_clinic.reporting.rendering import Press

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Reporting:
    """The reporting of one clinic."""

    def __init__(
        self,
        database: Database,
        config: Config,
        press: Press,
        clock: Callable[[], datetime] = _now,
        at_once: int = 1,
        claims: Claims = ALONE,
    ) -> None:
        self._database = database
        self._config = config
        self._press = press
        self._clock = clock
        self._at_once = at_once
        self._claims = claims

    def step(self, quiet_seconds: float) -> int:
        """Make the reports that are due; returns how many, 0 when none was due.

        A study whose report cannot be made does not keep the others waiting.

        Raises:
            StorageError, RenderingError: reports are due, and none of them can be made.
            DatabaseError: the database cannot be used.
        """
        with self._database.session() as session:
            due = studies_due(session, self._clock(), quiet_seconds, but_not=self._claims.others(Work.STUDY))
        if not due:
            leave_unread(self._database, self._clock(), quiet_seconds)
            return 0
        # Rows come and go in turns; the PDFs are rendered side by side.
        with ThreadPoolExecutor(self._at_once, "report") as threads:
            ends = list(threads.map(partial(self._make, quiet_seconds), due))
        failures = [end for end in ends if isinstance(end, ClinicError)]
        if failures and True not in ends:
            raise failures[0]
        return ends.count(True)

    def _make(self, quiet_seconds: float, study_id: int) -> bool | ClinicError:
        """Make a study's report unless another worker has it; returns whether it is made, or why it cannot be now."""
        still_due = is_due(self._clock(), quiet_seconds).where(Study.id == study_id)
        if not self._claims.take(Work.STUDY, [study_id], still_due):
            return False
        try:
            make_report(
                self._database,
                study_id,
                clock=self._clock,
                config=self._config,
                press=self._press,
                claims=self._claims,
            )
        except LeaseLostError as error:
            log.warning("%s", error)
            return False
        except (StorageError, RenderingError) as error:
            self._claims.release(Work.STUDY, [study_id])
            return error
        return True

    def remake(self, study_id: int, version: int | None = None) -> Remade:
        """Make a delivered report again; see `making.remake`."""
        return remake(
            self._database,
            study_id,
            version,
            clock=self._clock,
            config=self._config,
            press=self._press,
        )

    def on_request(self, study_id: int, model_id: int) -> Remade:
        """Print a study from one model's readings; see `making.make_on_request`."""
        return make_on_request(
            self._database,
            study_id,
            model_id,
            clock=self._clock,
            config=self._config,
            press=self._press,
        )
