"""From an archived file to its reading: what analysis and reanalysis do alike."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from agcnn_clinic.analysis.infer import Reader, Reading
from agcnn_clinic.analysis.normalise import Normalised, normalise
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.config import Gate
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.prints import RecentPrints, with_region
from agcnn_clinic.sandbox import Sandbox
from agcnn_clinic.storage import Storage


@dataclass(frozen=True)
class Film:
    """An archived file that is to be read, and the analysed one of the same SOP Instance UID where there is one."""

    file_id: int
    stored_path: str
    media_type: MediaType
    stated_view: str
    """The view of a PNG by its study.toml; a DICOM file says its own."""
    previous_path: str | None = None
    gone_picture: str | None = None
    """Of the earlier file, where retention has removed its bytes: the SHA-256 of its picture."""


@dataclass
class Result:
    """How far a film came: normalised or not, read or not.

    Attributes:
        film: which one.
        normalised: its picture, where it passed the gate.
        error: why it has none.
        reading: what the model says of it.
        network_seconds: its share of the network's time.
    """

    film: Film
    normalised: Normalised | None = None
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
        self._darkroom = darkroom
        self._storage = storage
        self._sandbox = sandbox
        self._gate = gate

    def decode(self, film: Film) -> Future[Normalised]:
        """Let a child process read a film's file, let it pass the gate, and render it."""
        previous = None if film.previous_path is None else self._storage.archived(film.previous_path)
        path = self._storage.archived(film.stored_path)
        size = None if self._darkroom is None else self._darkroom.size
        return self._sandbox.submit(
            normalise, path, film.media_type, self._gate, previous, film.stated_view, film.gone_picture, size
        )

    def read(self, results: Sequence[Result]) -> None:
        """Read as one batch those results that have a picture to be read, and give each its reading."""
        began = time.perf_counter()
        pictures = [(result, result.normalised.picture) for result in results if result.normalised is not None]
        if not pictures:
            return
        readings = self.reader.read([picture for _, picture in pictures])
        seconds = (time.perf_counter() - began) / len(pictures)
        for (result, _), reading in zip(pictures, readings, strict=True):
            result.reading, result.network_seconds = reading, seconds
            self._keep_prints(result, reading)

    def _keep_prints(self, result: Result, reading: Reading) -> None:
        """Keep what the report will print, while the film is in memory."""
        normalised, darkroom = result.normalised, self._darkroom
        if darkroom is None or normalised is None or normalised.film is None:
            return
        region = source_region(reading.region, normalised.picture.geometry).edges
        prints = with_region(normalised.film, normalised.picture, region, darkroom.size)
        darkroom.recent.put(self._storage.archived(result.film.stored_path), region, prints)


def film_of(file: ReceivedFile, previous_path: str | None = None, gone_picture: str | None = None) -> Film:
    """A received file as a film."""
    stated_view = file.header.get("view_position", "")
    return Film(file.id, file.stored_path, MediaType(file.media_type), stated_view, previous_path, gone_picture)


def finished(film: Film, future: Future[Normalised]) -> Result:
    """Wait for what `FilmReader.decode` began.

    Raises:
        ReadersUnavailableError: no child process can be started.
    """
    try:
        return Result(film, normalised=future.result())
    except (ImageError, StorageError) as error:
        return Result(film, error=error)
