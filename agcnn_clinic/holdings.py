"""Whether the folders hold what the rows say: every archived file, every delivered report, and nothing else."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile, Report


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
    altered_reports: tuple[str, ...]


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
    return Holdings(
        files=len(digests),
        missing=tuple(sorted(digests.keys() - there)),
        altered=tuple(_altered(config.archive, digests, sorted(digests.keys() & there))) if thorough else (),
        unlisted=tuple(sorted(there - digests.keys())),
        reports=len(reports),
        missing_reports=tuple(sorted(reports.keys() - set(here))),
        altered_reports=tuple(_altered(config.reports, reports, here)) if thorough else (),
    )


def _archived(archive: Path) -> Iterator[str]:
    """The files of the archive; what is on its way there does not count."""
    for folder in archive.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            for file in folder.iterdir():
                yield f"{folder.name}/{file.name}"


def _altered(root: Path, digests: dict[str, str], paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        with (root / path).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digests[path]:
                yield path
