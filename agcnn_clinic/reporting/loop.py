"""The reporting loop's step: make every report that is due."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import RenderingError, StorageError
from agcnn_clinic.reporting.due import Press, Remade, make_on_request, make_report, remake, studies_due


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
    ) -> None:
        self._database = database
        self._config = config
        self._press = press
        self._clock = clock
        self._at_once = at_once

    def step(self, quiet_seconds: float) -> int:
        """Make the reports that are due; returns how many, 0 when none was due.

        A study whose report cannot be made does not keep the others waiting.

        Raises:
            StorageError, RenderingError: reports are due, and none of them can be made.
            DatabaseError: the database cannot be used.
        """
        with self._database.session() as session:
            due = studies_due(session, self._clock(), quiet_seconds)
        if not due:
            return 0
        # Rows come and go in turns; the PDFs are rendered side by side.
        with ThreadPoolExecutor(self._at_once, "report") as threads:
            failures = [failure for failure in threads.map(self._make, due) if failure is not None]
        if len(failures) == len(due):
            raise failures[0]
        return len(due) - len(failures)

    def _make(self, study_id: int) -> StorageError | RenderingError | None:
        """Make a study's report; returns why it cannot be made now."""
        try:
            make_report(
                self._database,
                study_id,
                clock=self._clock,
                config=self._config,
                press=self._press,
            )
        except (StorageError, RenderingError) as error:
            return error
        return None

    def remake(self, study_id: int, version: int | None = None) -> Remade:
        """Make a delivered report again; see `due.remake`."""
        return remake(
            self._database,
            study_id,
            version,
            clock=self._clock,
            config=self._config,
            press=self._press,
        )

    def on_request(self, study_id: int, model_id: int) -> Remade:
        """Print a study from one model's readings; see `due.make_on_request`."""
        return make_on_request(
            self._database,
            study_id,
            model_id,
            clock=self._clock,
            config=self._config,
            press=self._press,
        )
