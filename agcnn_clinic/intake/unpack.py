"""A zip is unpacked from the archive: each file in it goes the way of any file, with a row of its own.

The zip's row is pending until all its files have rows, and says so whenever the process ends in between: the next
look through the inbox goes on with it. A file in a zip is known by the zip's row and its place in the directory, so
that none is taken twice.

Inflating is done in a child process, in parts that fit into memory; what is written is written here. Nothing that the
zip says becomes a path.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import Work
from agcnn_clinic.database.outcomes import decide, reason_file
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.intake.accept import Intake, known_arrivals, read_directory
from agcnn_clinic.intake.grouping import Looked, Ways, grouped
from agcnn_clinic.intake.items import Group
from agcnn_clinic.intake.open_zip import InZip, OpenZip, as_member, in_zip
from agcnn_clinic.intake.zip_file import PAGE, Member, ZipLimits, examine
from agcnn_clinic.wording import counted

log = logging.getLogger(__name__)

_PENDING = select(ReceivedFile.id).where(
    ReceivedFile.outcome == Outcome.PENDING, ReceivedFile.media_type == MediaType.ZIP
)


class Unpacker:
    """Unpacks the zips of one clinic."""

    def __init__(self, config: Config, intake: Intake, take: Callable[[Iterable[Group]], tuple[int, int]]) -> None:
        """Set it up.

        Args:
            config: the clinic's settings.
            intake: its storage, database and child processes.
            take: takes groups of files; returns how many have rows now, and how many stay for another time.
        """
        self._settings = config.zip
        self._ignore = config.intake.ignore
        self._intake = intake
        self._take = take
        self._told: dict[int, str] = {}
        """Why a zip could not be unpacked when it was tried last: it is tried at every look."""

    def pending(self) -> list[int]:
        """The zips that are to be unpacked, in order of arrival; not those that another worker unpacks."""
        with self._intake.database.session() as session:
            found = list(session.scalars(_PENDING.order_by(ReceivedFile.id)))
        others = self._intake.claims.others(Work.FILE) if found else ()
        return [file_id for file_id in found if file_id not in others]

    def unpack(self, file_id: int, now: Callable[[], datetime]) -> int:
        """Take the files of a zip that have no row yet; it is decided once all have one, and pending until then.

        Returns:
            How many files were taken; 0 where that was broken off.
        """
        claims = self._intake.claims
        if not claims.take(Work.FILE, [file_id], _PENDING.where(ReceivedFile.id == file_id)):
            return 0
        try:
            return self._unpacked(file_id, now)
        finally:
            claims.release(Work.FILE, [file_id])

    def _unpacked(self, file_id: int, now: Callable[[], datetime]) -> int:
        archive, name = self._opened(file_id)
        told = self._told.pop(file_id, "")
        try:
            members, passed_over = self._examined(archive)
            groups = self._groups(archive, name, members)
            archive.wanted = [file.member for group in groups for file in group.files if isinstance(file, InZip)]
            taken, left = self._take(self._in_time(groups))
        except StorageError as error:
            self._told[file_id] = str(error)
            if str(error) != told:
                log.warning("a zip stays packed for now: %s", error)
            return 0
        except ImageError as error:
            self._decide(file_id, ReasonCode(error.code), error.detail, {}, now())
            return 0
        if not left:
            details = {"files": len(members), "passed_over": passed_over}
            also = f"; {passed_over} links, devices or ignored names were passed over" if passed_over else ""
            self._decide(file_id, ReasonCode.UNPACKED, f"{counted(len(members), 'file')}{also}", details, now())
        return taken

    def _in_time(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Hand the groups on, until the zip has taken too long.

        Raises:
            ImageError: ZIP_LIMIT.
        """
        until = time.monotonic() + self._settings.max_seconds
        for group in groups:
            if time.monotonic() > until:
                raise ImageError(ReasonCode.ZIP_LIMIT, f"it was not done after {self._settings.max_seconds:g} s")
            yield group

    def _opened(self, file_id: int) -> tuple[OpenZip, str]:
        with self._intake.database.session() as session:
            file = session.get_one(ReceivedFile, file_id)
            path = self._intake.storage.archived(file.stored_path)
            return OpenZip(self._intake, file_id, path), file.original_name

    def _examined(self, archive: OpenZip) -> tuple[list[Member], int]:
        """All members of a zip, and how many were passed over.

        Raises:
            ImageError: the zip goes beyond a limit, is damaged, or holds nothing to read.
        """
        limits = self._limits(archive.file_id)
        members: list[Member] = []
        first = passed_over = 0
        more = True
        while more:
            page = self._intake.sandbox.run(examine, archive.path, first, limits)
            members += page.members
            passed_over += page.passed_over
            first += PAGE
            more = first < page.entries
            # A child is not believed more than the zip that it reads.
            if (
                max(page.entries, len(members)) > limits.files
                or len({member.index for member in members}) < len(members)
                or any(one.size > limits.file_bytes and not one.problem for one in members)
            ):
                raise ImageError(ReasonCode.ZIP_DAMAGED, "its directory contradicts itself")
        readable = (MediaType.DICOM, MediaType.PNG, MediaType.ZIP)
        if not any(member.media_type in readable for member in members):
            broken = next((member for member in members if member.problem), None)
            if broken is not None:
                raise ImageError(broken.problem, broken.detail)
            raise ImageError(ReasonCode.ZIP_WITHOUT_IMAGES, counted(len(members), "file"))
        return members, passed_over

    def _limits(self, file_id: int) -> ZipLimits:
        """What is left of the limits for a zip: those that lie in one another share them.

        Raises:
            ImageError: ZIP_LIMIT, it lies too deep.
        """
        settings = self._settings
        with self._intake.database.session() as session:
            root, depth = file_id, 1
            while (above := session.get_one(ReceivedFile, root).container_id) is not None:
                root, depth = above, depth + 1
            if depth > settings.max_depth:
                raise ImageError(ReasonCode.ZIP_LIMIT, f"it is a zip in {depth - 1} others")
            files = total = 0
            layer = [root]
            while layer:
                inside = ReceivedFile.container_id.in_([one for one in layer if one != file_id])
                count, size = session.execute(
                    select(func.count(), func.coalesce(func.sum(ReceivedFile.size), 0)).where(inside)
                ).one()
                files, total = files + count, total + size
                zips = select(ReceivedFile.id).where(inside, ReceivedFile.media_type == MediaType.ZIP)
                layer = list(session.scalars(zips))
        return ZipLimits(
            files=max(settings.max_files - files, 0),
            total_bytes=max(settings.max_total_mb * 1_000_000 - total, 0),
            file_bytes=self._intake.max_file_bytes,
            ratio=settings.max_ratio,
            ignore=self._ignore,
        )

    def _groups(self, archive: OpenZip, name: str, members: Sequence[Member]) -> list[Group]:
        """The groups of a zip that have a file without a row; the zip is a folder of its own name."""
        files = [in_zip(archive.path, name, member) for member in members]
        looked = {file: Looked(file.member.media_type, file.member.media_directory) for file in files}
        ways = Ways(lambda file: looked[as_member(file)], lambda file: read_directory(self._intake, file, archive))
        known = known_arrivals(self._intake.database, [archive.arrival(member) for member in members])
        return [
            group
            for group in grouped(files, files, ways, container=archive)
            if any(
                archive.arrival(file.member) not in known and file.member.media_type is not MediaType.STUDY_TOML
                for file in map(as_member, group.files)
            )
        ]

    def _decide(self, file_id: int, code: ReasonCode, detail: str, details: dict[str, Any], now: datetime) -> None:
        with self._intake.database.session() as session:
            file = session.get_one(ReceivedFile, file_id)
        laid_out = ""
        if code is not ReasonCode.UNPACKED:
            reason = reason_file(code, detail, now)
            laid_out = self._intake.storage.quarantine(file.stored_path, reason)
        with self._intake.database.write() as session:
            if not self._intake.claims.kept(session, Work.FILE, [file_id]):
                return
            file = session.get_one(ReceivedFile, file_id)
            file.quarantine_path = laid_out
            decide(file, code, now=now, detail=detail, details=details)
