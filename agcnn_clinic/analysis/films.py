"""From an archived file to its reading: what analysis and reanalysis do alike."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from agcnn_clinic.analysis.infer import Reader, Reading
from agcnn_clinic.analysis.normalise import Developed, Wanted, develop
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.prints import RecentPrints, with_region
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_clinic.storage import Storage
from agcnn_models.cores import usable_cores


@dataclass(frozen=True)
class Film:
    """An archived file that is to be read, and the analysed one of the same SOP Instance UID where there is one."""

    file_id: int
    stored_path: str
    media_type: MediaType
    stated_view: str
    """The view of a PNG by its study.toml; a DICOM file says its own."""
    remarks: tuple[str, ...] = ()
    """What intake has to say of it; see `received_file.header`."""
    previous_path: str | None = None
    gone_picture: str | None = None
    """Of the earlier file, where retention has removed its bytes: the SHA-256 of its picture."""
    same_as: int | None = None
    """The earlier file, where this one has its bytes: it was in quarantine while that one came and was read."""

    @property
    def is_compared(self) -> bool:
        """Whether its SOP Instance has been read before, so that it is compared and not read."""
        return self.previous_path is not None or self.gone_picture is not None


@dataclass
class Result:
    """How far a film came: developed or not, read or not.

    Attributes:
        film: which one.
        developed: what was made of it, where it passed the gate.
        error: why it has none.
        reading: what the model says of it.
        network_seconds: its share of the network's time.
    """

    film: Film
    developed: Developed | None = None
    error: ImageError | StorageError | None = None
    reading: Reading | None = None
    network_seconds: float = 0.0


class Darkroom(NamedTuple):
    """Where prints are kept, and what they have to fit into: width and height in pixels."""

    recent: RecentPrints
    size: tuple[int, int]


class FilmReader:
    """A clinic's archive, child processes and model: films go in, results come out."""

    def __init__(
        self, storage: Storage, sandbox: Sandbox, reader: Reader, gate: Gate, darkroom: Darkroom | None = None
    ) -> None:
        self.reader = reader
        self._wanted = Wanted(reader.manifest.preprocessing, None if darkroom is None else darkroom.size)
        self._darkroom = darkroom
        # Reducing a crop takes milliseconds: on many cores, one after another, longer than the network.
        self._printers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="prints")
        self._storage = storage
        self._sandbox = sandbox
        self._gate = gate

    def decode(self, film: Film) -> Future[Developed]:
        """Let a child process read a film's file, let it pass the gate, and develop it."""
        previous = None if film.previous_path is None else self._storage.archived(film.previous_path)
        path = self._storage.archived(film.stored_path)
        return self._sandbox.submit(
            develop, path, film.media_type, self._gate, self._wanted, previous, film.stated_view, film.gone_picture
        )

    def finish(self, film: Film, future: Future[Developed]) -> Result:
        """Wait for what `decode` began.

        Raises:
            ChildrenUnavailableError: no child process can be started.
        """
        try:
            developed = future.result()
        except (ImageError, StorageError) as error:
            return Result(film, error=error)
        if not self._is_answer(film, developed):
            return Result(film, error=ImageError(ReasonCode.CRASHED, "its answer is none"))
        return Result(film, developed=developed)

    def _is_answer(self, film: Film, developed: Developed) -> bool:
        """Whether it answers what was asked; that of a child which a file has taken over may not."""
        if developed.seen is None:
            return film.is_compared
        return not film.is_compared and developed.seen.fits(self._wanted.preprocessing)

    def read(self, results: Sequence[Result]) -> None:
        """Read as one batch those results that are to be read, and give each its reading."""
        began = time.perf_counter()
        films = [
            (result, result.developed.seen)
            for result in results
            if result.developed is not None and result.developed.seen is not None
        ]
        if not films:
            return
        readings = self.reader.read_films([seen for _, seen in films])
        seconds = (time.perf_counter() - began) / len(films)
        for (result, _), reading in zip(films, readings, strict=True):
            result.reading, result.network_seconds = reading, seconds
        list(self._printers.map(self._keep_prints, [result for result, _ in films], readings))

    def _keep_prints(self, result: Result, reading: Reading) -> None:
        """Keep what the report will print, while the film is in memory."""
        developed, darkroom = result.developed, self._darkroom
        if darkroom is None or developed is None or developed.film is None or developed.grey is None:
            return
        region = source_region(reading.region, developed.geometry).edges
        prints = with_region(developed.film, developed.grey, developed.geometry, region, darkroom.size)
        darkroom.recent.put(self._storage.archived(result.film.stored_path), region, prints)


def film_of(
    file: ReceivedFile,
    previous_path: str | None = None,
    gone_picture: str | None = None,
    same_as: int | None = None,
) -> Film:
    """A received file as a film."""
    return Film(
        file.id,
        file.stored_path,
        MediaType(file.media_type),
        stated_view=file.header.get("view_position", ""),
        remarks=tuple(file.header.get("remarks", ())),
        previous_path=previous_path,
        gone_picture=gone_picture,
        same_as=same_as,
    )
