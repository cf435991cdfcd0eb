"""What keeps files of the inbox where they are."""

import logging
from collections import Counter
from collections.abc import Iterable

from agcnn_clinic.errors import StorageError
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.told import Told

log = logging.getLogger(__name__)


class Hindered:
    """The files of a look that cannot be taken for now, and why: a share that is away says the same of each of them."""

    def __init__(self) -> None:
        self._now: list[tuple[str, str]] = []
        self._told = Told()
        self.names: list[str] = []
        """What `tell` has told of at last, by name: for a person, and not for the log."""

    def by(self, error: StorageError, files: Iterable[Found]) -> None:
        """Note it, from any thread."""
        self._now.extend((str(error), file.name) for file in files)

    def tell(self) -> None:
        """Log, at the end of a look, what keeps how many files; not which, since senders call files after patients."""
        now, self._now = self._now, []
        self.names = [name for _, name in now]
        for why, files in self._told.news(Counter(why for why, _ in now)):
            log.warning("%d files are left in the inbox for now: %s", files, why)
