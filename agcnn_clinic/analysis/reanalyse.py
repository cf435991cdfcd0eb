"""Images that were read before are read again, by another model.

It may run beside `watch` and beside another of its kind, without the clinic's lock: it takes only what was decided
already, which `watch` never touches again, and a short transaction that looks first stores each reading once. What two
processes read at the same time is stored by the one that comes first.

A new reading stands beside the one that counts. Where the model is the clinic's own, a study's new readings begin to
count together, once all of its images were tried: one new report, and none of half a study. A process that is killed
leaves readings that stand beside; the next run lets them count without reading the images again.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from agcnn_clinic.analysis.films import Film, FilmReader, Result, film_of
from agcnn_clinic.analysis.infer import Reader
from agcnn_clinic.analysis.normalise import Developed
from agcnn_clinic.analysis.record import record, register_model
from agcnn_clinic.database import trail
from agcnn_clinic.database.readings import Scope, files_to_read, let_count, studies_to_read
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Inference, ReceivedFile, Study
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.moments import utc_now
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_clinic.storage import Storage
from agcnn_models.manifest import digest

_STUDIES_AT_ONCE = 100
"""So many studies' files are asked of the database together, and of so many one transaction lets readings count."""

log = logging.getLogger(__name__)


@dataclass
class Tally:
    """What a reanalysis did.

    Attributes:
        read: images that the model read now.
        meanwhile: images that another process had it read in the meantime.
        refused: images that the gate or the decoder does not let pass now, by the reason; nothing changed for them.
        unreachable: images whose file the archive does not give up.
        counting: images for which the model's reading counts from now on, read now or before.
        studies: studies for which that makes a new report due.
    """

    read: int = 0
    meanwhile: int = 0
    refused: Counter[ReasonCode] = field(default_factory=Counter)
    unreachable: int = 0
    counting: int = 0
    studies: int = 0

    @property
    def tried(self) -> int:
        """How many images were taken in hand."""
        return self.read + self.meanwhile + self.refused.total() + self.unreachable


class _InHand(NamedTuple):
    """An image that is being decoded."""

    study_id: int
    film: Film
    decoding: Future[Developed]


class Reanalysis:
    """A model, loaded, that reads what a clinic has read before."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        sandbox: Sandbox,
        reader: Reader,
        gate: Gate,
        batch_size: int,
        *,
        counts: bool,
    ) -> None:
        """`counts`: whether it is the clinic's own model, so that its readings count."""
        self._database = database
        self._films = FilmReader(storage, sandbox, reader, gate)
        self._batch_size = batch_size
        self._counts = counts
        self._manifest_sha256 = digest(reader.manifest)
        with database.write() as session:
            self._model_id = register_model(session, reader.manifest, utc_now())

    def run(self, scope: Scope, progress: Callable[[int], None] = lambda _: None) -> Tally:
        """Read every image of these studies that was read before, but not by this model.

        Args:
            scope: which studies.
            progress: told the number of images tried so far.

        Raises:
            ChildrenUnavailableError: no child process can be started; what was read until then is stored.
            DatabaseError: the database cannot be used.
        """
        tally = Tally()
        with self._database.session() as session:
            studies = studies_to_read(session, self._manifest_sha256, scope, counts=self._counts)
        open_studies = deque(studies)
        in_hand: list[_InHand] = []
        for study_id, film in self._to_read(studies):
            in_hand.append(_InHand(study_id, film, self._films.decode(film)))
            # Children decode the next batch while the network reads this one.
            if len(in_hand) == 2 * self._batch_size:
                in_hand = self._read(in_hand, tally)
                self._let_count(open_studies, in_hand[0].study_id, tally)
                progress(tally.tried)
        while in_hand:
            in_hand = self._read(in_hand, tally)
            progress(tally.tried)
        self._let_count(open_studies, None, tally)
        return tally

    def _to_read(self, studies: Sequence[int]) -> Iterator[tuple[int, Film]]:
        for start in range(0, len(studies), _STUDIES_AT_ONCE):
            with self._database.session() as session:
                files = files_to_read(session, self._manifest_sha256, studies[start : start + _STUDIES_AT_ONCE])
            yield from ((study_id, film_of(file)) for study_id, file in files)

    def _read(self, in_hand: Sequence[_InHand], tally: Tally) -> list[_InHand]:
        """Read a batch of what is decoded, and store what was read in one short transaction.

        Returns:
            What is still in hand, in the same order.
        """
        size = min(self._batch_size, len(in_hand))
        list(islice(as_completed([image.decoding for image in in_hand]), size))  # waits until so many are decoded
        batch = [image for image in in_hand if image.decoding.done()][:size]
        results = [self._films.finish(image.film, image.decoding) for image in batch]
        self._films.read(results)
        for result in results:
            if isinstance(result.error, ImageError):
                tally.refused[ReasonCode(result.error.code)] += 1
            elif result.error is not None:
                tally.unreachable += 1
                log.warning("the archive does not give up file %d: %s", result.film.file_id, result.error)
        now = utc_now()
        read: list[Result] = []
        with self._database.write() as session:
            for result in results:
                if result.reading is None:
                    continue
                if self._is_read(session, result.film.file_id):
                    tally.meanwhile += 1
                    continue
                read.append(result)
                tally.read += 1
            record(session, read, self._films.reader, model_id=self._model_id, now=now, beside=True)
            files = [session.get_one(ReceivedFile, result.film.file_id) for result in read]
            trail.analysed(session, files, model_id=self._model_id, now=now)
        return [image for image in in_hand if image not in batch]

    def _is_read(self, session: Session, file_id: int) -> bool:
        """Whether the model has read the file by now: nobody else can add a reading before this transaction ends."""
        reading = select(Inference.id).where(Inference.file_id == file_id, Inference.model_id == self._model_id)
        return session.scalars(reading).first() is not None

    def _let_count(self, studies: deque[int], before: int | None, tally: Tally) -> None:
        """Let the readings of those studies count of which every image was tried: all before this one, None for all."""
        done = []
        while studies and (before is None or studies[0] < before):
            done.append(studies.popleft())
        if not self._counts:
            return
        for first in range(0, len(done), _STUDIES_AT_ONCE):
            with self._database.write() as session:
                part = done[first : first + _STUDIES_AT_ONCE]
                images = {study_id: let_count(session, study_id, self._model_id) for study_id in part}
                changed = [session.get_one(Study, study_id).key for study_id in part if images[study_id]]
                counting = sum(images.values())
                now = utc_now()
                trail.readings_changed(session, changed, model_id=self._model_id, images=counting, now=now)
            tally.counting += counting
            tally.studies += len(changed)
