"""One file of an archive -> what the network needs of it, or why it is not read: the work of a decoder.

The same steps as intake and analysis take: sight, gate, pixels, gate. A child process takes them, so that a file that
crashes it is one row. Nothing is copied, and the pixels at their full size stay in the child.
"""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.analysis.normalise import Developed, Wanted, develop
from agcnn_clinic.analysis.seen import NetworkFilm
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.dicom.media import is_media_directory
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import REASONS, Geometry, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ClinicError, ImageError, StorageError
from agcnn_clinic.intake.discover import shown
from agcnn_clinic.intake.identify import media_type, refused_at_sight
from agcnn_clinic.intake.study_toml import STUDY_TOML, read_study_toml
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_clinic.staging import HEAD_BYTES, Identity, identity_of
from agcnn_models.settings import Preprocessing

_AHEAD = 2
"""So many files are with the child process while this one hashes."""


@dataclass
class Examined:
    """A file, looked at.

    Attributes:
        path: as it was listed, for a person.
        code: why it ends as it does; None where it could not be reached, which is no judgement on it.
        detail: what was found.
        size, sha256: of its bytes; None where they could not be read.
        study_instance_uid, sop_instance_uid, view_position: as its header says; empty where it does not.
        warnings: remarks on the image.
        geometry: how its picture maps to the source.
        film: what the network sees of it; None where it is not read.
        seconds: spent in the child process.
    """

    path: str
    code: ReasonCode | None = None
    detail: str = ""
    size: int | None = None
    sha256: str | None = None
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    view_position: str = ""
    warnings: tuple[str, ...] = ()
    geometry: Geometry | None = None
    film: NetworkFilm | None = None
    seconds: float = 0.0


@dataclass
class _Begun:
    """A file that is with the child process, or one whose end is known."""

    path: Path
    found: Examined
    kind: MediaType = MediaType.UNKNOWN
    identity: Identity | None = None
    future: Future[Developed] | None = None
    error: ClinicError | None = None


class _Described(NamedTuple):
    """What a folder's study.toml says that is believed of its PNGs; nothing where there is none."""

    study_instance_uid: str
    views: dict[str, str]
    """By the names of the files."""


class Examiner:
    """Child processes and the model's preprocessing: names go in, network-size films come out."""

    def __init__(self, preprocessing: Preprocessing, sandbox: Sandbox, gate: Gate, max_file_bytes: int) -> None:
        self._wanted = Wanted(preprocessing)
        self._sandbox = sandbox
        self._gate = gate
        self._max_file_bytes = max_file_bytes
        self._described: tuple[Path, _Described | ImageError] | None = None

    def examine(self, root: Path, names: Sequence[bytes], *, follow: bool) -> Iterator[Examined]:
        """Look at files, in order.

        Args:
            root: where relative names start.
            names: as the file system writes them.
            follow: whether a name may be a symbolic link.

        Raises:
            ChildrenUnavailableError: no child process can be started, which is no file's fault.
        """
        self._described = None
        begun: deque[_Begun] = deque()
        for name in names:
            begun.append(self._begin(root, name, follow=follow))
            if len(begun) > _AHEAD:
                yield self._end(begun.popleft())
        while begun:
            yield self._end(begun.popleft())

    def _begin(self, root: Path, name: bytes, *, follow: bool) -> _Begun:
        """Look at a file's beginning, let the child go on with it, and hash it meanwhile."""
        path = root / os.fsdecode(name)
        begun = _Begun(path, Examined(shown(os.fsdecode(name))))
        try:
            # A pipe must not keep anybody waiting.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
            with os.fdopen(os.open(path, flags), "rb") as file:
                self._look_at(begun, file)
        except OSError as error:
            begun.error = StorageError(f"it cannot be read: {error.strerror}")
        except StorageError as error:
            begun.error = error
        return begun

    def _look_at(self, begun: _Begun, file: BufferedReader) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise StorageError("it is no regular file")
        begun.identity, begun.found.size = identity_of(status), status.st_size
        head = file.read(HEAD_BYTES)
        begun.kind = media_type(head, "")
        begun.error = refused_at_sight(begun.kind, status.st_size, self._max_file_bytes)
        if begun.error is None and begun.kind is MediaType.ZIP:
            begun.error = ImageError(ReasonCode.UNRECOGNISED, "it is a zip, which only a clinic unpacks")
        elif begun.error is None and is_media_directory(head):
            begun.error = ImageError(ReasonCode.MEDIA_DIRECTORY)
        elif begun.error is None and begun.kind is MediaType.PNG:
            begun.error = self._describe(begun)
        if begun.error is None:
            view = begun.found.view_position
            begun.future = self._sandbox.submit(
                develop, begun.path, begun.kind, self._gate, self._wanted, stated_view=view
            )
        file.seek(0)
        begun.found.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if begun.kind is MediaType.PNG:
            begun.found.sop_instance_uid = derived_uid(begun.found.sha256)

    def _describe(self, begun: _Begun) -> ImageError | None:
        """Note what the study.toml beside a PNG says of its view and study; return why that cannot be believed."""
        folder = begun.path.parent
        if self._described is None or self._described[0] != folder:
            self._described = folder, self._read_study_toml(folder)
        described = self._described[1]
        if isinstance(described, ImageError):
            return described
        begun.found.study_instance_uid = described.study_instance_uid
        begun.found.view_position = described.views.get(begun.path.name, "")
        return None

    def _read_study_toml(self, folder: Path) -> _Described | ImageError:
        path = folder / STUDY_TOML
        if not path.is_file():
            return _Described("", {})
        try:
            study_toml = self._sandbox.run(read_study_toml, path)
            # A folder may hold a million films: without views nothing is asked of their names.
            names = (one.name for one in folder.iterdir()) if study_toml.views else ()
            return _Described(study_toml.study_instance_uid, study_toml.views_of(names))
        except ImageError as error:
            return error

    def _end(self, begun: _Begun) -> Examined:
        """Wait for the child."""
        found = begun.found
        try:
            if begun.error is not None:
                raise begun.error
            if begun.future is not None:
                self._take(begun, begun.future.result())
            _require_unchanged(begun)
        except StorageError as error:
            # Not the sentence of the child: it names the file at its full path.
            sentence = str(error) if str(error).startswith("it ") else "it cannot be read"
            found.code, found.film, found.detail = None, None, sentence
        except ImageError as error:
            found.code, found.detail = ReasonCode(error.code), error.detail
            self._identify(begun)
        return found

    def _take(self, begun: _Begun, developed: Developed) -> None:
        found, seen = begun.found, developed.seen
        if seen is None or not seen.fits(self._wanted.preprocessing):
            raise ImageError(ReasonCode.CRASHED, "its answer is none")
        found.code = ReasonCode.READ
        if begun.kind is MediaType.DICOM:
            found.study_instance_uid = developed.study_instance_uid
            found.sop_instance_uid = developed.header.sop_instance_uid
            found.view_position = developed.header.view_position
        found.warnings = tuple(str(warning) for warning in developed.warnings)
        found.geometry = developed.geometry
        found.film = seen
        found.seconds = developed.seconds

    def _identify(self, begun: _Begun) -> None:
        """Learn what a sound DICOM file is that is not for the model; a broken one is not opened again."""
        found = begun.found
        if begun.future is None or begun.kind is not MediaType.DICOM or found.code is None:
            return
        if REASONS[found.code].outcome is not Outcome.REFUSED:
            return
        try:
            header = self._sandbox.run(read_dicom_header, begun.path)
        except (ImageError, StorageError):
            return
        found.study_instance_uid = header.study.study_instance_uid
        found.sop_instance_uid = header.instance.sop_instance_uid
        found.view_position = header.instance.view_position


def _require_unchanged(begun: _Begun) -> None:
    """Raise StorageError where the name leads to other bytes by now: hash and picture might not be of one file."""
    try:
        unchanged = identity_of(begun.path.stat()) == begun.identity
    except OSError as error:
        raise StorageError(f"it cannot be read: {error.strerror}") from error
    if not unchanged:
        raise StorageError("it changed while it was read")
