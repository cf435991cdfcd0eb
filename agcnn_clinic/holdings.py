"""Whether the folders hold what the rows say: every archived file, every delivered report, and nothing else."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select

from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile, Report
from agcnn_clinic.domain import SUFFIXES, MediaType
from agcnn_clinic.errors import StorageError
from agcnn_clinic.layout import remade_beside
from agcnn_clinic.wording import counted

_TOP_OF_A_DISK = "lost+found"
"""A disk that was just made has this folder."""


@dataclass(frozen=True)
class Holdings:
    """What was found; all paths are relative to the archive, or to the folder of the reports."""

    files: int
    """Archived files that rows name."""
    missing: tuple[str, ...]
    """Those of them that are not there."""
    altered: tuple[str, ...]
    """Those of them whose bytes are not the ones that came in; empty where nobody looked."""
    unlisted: tuple[str, ...]
    """Archived files that no row names: a run was killed, or the database was restored from before they came."""
    reports: int
    """Reports that rows name."""
    missing_reports: tuple[str, ...]
    """Those of them that are not there, nor one that was made again beside."""
    altered_reports: tuple[str, ...]

    @property
    def unlisted_pngs(self) -> tuple[str, ...]:
        """Those of the unlisted that say nothing of themselves.

        Whose they are, and from which side, a study.toml may have said; that they are no film, the medium they came on.
        """
        return tuple(path for path in self.unlisted if path.endswith(SUFFIXES[MediaType.PNG]))

    @property
    def unlisted_others(self) -> tuple[str, ...]:
        """Those of the unlisted that can be read again as they are."""
        return tuple(path for path in self.unlisted if not path.endswith(SUFFIXES[MediaType.PNG]))


def compare(database: Database, config: Config, *, thorough: bool = False) -> Holdings:
    """Compare the archive and the reports with the rows; what retention has removed need not be there.

    Args:
        database: the clinic's.
        config: where its folders are.
        thorough: whether to read every file and compare its SHA-256, which takes as long as the disk takes.

    Raises:
        OSError: a folder cannot be listed or a file of it cannot be read.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        files = select(ReceivedFile.stored_path, ReceivedFile.sha256).where(ReceivedFile.removed_at.is_(None))
        digests = {row.stored_path: row.sha256 for row in session.execute(files)}
        delivered = select(Report.path, Report.sha256).where(Report.removed_at.is_(None))
        reports = {Path(row.path).name: row.sha256 for row in session.execute(delivered)}
    there = set(_archived(config.archive))
    here = [path for path in reports if config.report_file(path).is_file()]
    lost = [path for path in reports.keys() - set(here) if _is_missing(config.report_file(path))]
    return Holdings(
        files=len(digests),
        missing=tuple(sorted(digests.keys() - there)),
        altered=tuple(_altered(config.archive, digests, sorted(digests.keys() & there))) if thorough else (),
        unlisted=tuple(sorted(there - digests.keys())),
        reports=len(reports),
        missing_reports=tuple(sorted(lost)),
        altered_reports=tuple(_altered(config.reports, reports, here)) if thorough else (),
    )


class LostReport(NamedTuple):
    """A delivered report whose PDF is missing or altered."""

    study_id: int
    version: int
    pdf: Path
    """Where it should lie."""


def lost_reports(database: Database, config: Config) -> list[LostReport]:
    """The reports that are missing, or have other bytes than were delivered; each PDF is read.

    Without those that were made again and came out otherwise: to make them once more changes nothing, but where an
    archive waits for one, which gets a new version then.

    Raises:
        OSError: a file cannot be read.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        columns = Report.study_id, Report.version, Report.path, Report.sha256, Report.to_send
        rows = session.execute(select(*columns).where(Report.removed_at.is_(None)).order_by(Report.id)).all()
    lost = []
    for row in rows:
        pdf = config.report_file(row.path)
        is_dealt_with = remade_beside(pdf).is_file() and not (row.to_send and config.sending.is_on)
        if not is_dealt_with and not is_as_delivered(pdf, row.sha256):
            lost.append(LostReport(row.study_id, row.version, pdf))
    return lost


def delivered_names(database: Database) -> set[str]:
    """What reports that rows name are called, whether they are there or not; of any revision that has reports.

    Raises:
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        return {Path(path).name for path in session.scalars(select(Report.path))}


def _is_missing(pdf: Path) -> bool:
    """Whether neither a report is there, nor what was made in its place where it could not be made the same."""
    return not pdf.is_file() and not remade_beside(pdf).is_file()


def check_archive(database: Database, config: Config) -> None:
    """See that the archive is the one that the rows speak of, before anything is made or called gone there.

    On a disk that is not mounted a new archive would grow below the mount point, hidden as soon as it is mounted; and
    what is called gone without having been removed would stay on that disk for ever.

    Raises:
        StorageError: nothing lies in it, and something should; or it cannot be read.
        DatabaseError: the database cannot be used.
    """
    try:
        # One in which a clinic has ever worked has a folder for what is on its way there, if nothing else.
        if any(entry.is_dir() and entry.name != _TOP_OF_A_DISK for entry in config.archive.iterdir()):
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"The archive ({config.archive}) cannot be read: {error.strerror or error}.") from error
    with database.session() as session:
        kept = select(func.count()).select_from(ReceivedFile).where(ReceivedFile.removed_at.is_(None))
        count = session.scalar(kept)
    if count:
        raise StorageError(
            f"The archive ({config.archive}) is empty, and should hold {counted(count, 'file')}: mount its disk, or "
            "put back from a backup what it held. To go on without, make a folder .incoming there."
        )


def check_reports(database: Database, config: Config) -> None:
    """See that the folder of the reports is the one that the rows speak of, before any of them is called gone.

    Raises:
        StorageError: none of the reports that should lie in it does; or it cannot be read.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        kept = select(Report.path).where(Report.removed_at.is_(None)).order_by(Report.id.desc())
        paths = session.scalars(kept).all()
    try:
        if not paths or any(not _is_missing(config.report_file(path)) for path in paths):
            return
    except OSError as error:
        raise StorageError(f"The reports ({config.reports}) cannot be read: {error.strerror or error}.") from error
    raise StorageError(
        f"{config.reports} should hold {counted(len(paths), 'report')}, and holds none: mount its disk, or put back "
        "from a backup what it held."
    )


def _archived(archive: Path) -> Iterator[str]:
    """The files of the archive; what is on its way there does not count."""
    for folder in archive.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            for file in folder.iterdir():
                yield f"{folder.name}/{file.name}"


def _altered(root: Path, digests: dict[str, str], paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if not is_as_delivered(root / path, digests[path]):
            yield path


def is_as_delivered(path: Path, sha256: str) -> bool:
    """Whether a file is there, and has the bytes of this hash.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
