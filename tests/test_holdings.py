"""Whether an archive is the one that the rows speak of, before anything is made there."""

from datetime import UTC, datetime

import pytest

from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import OnError, StorageError
from agcnn_clinic.holdings import check_archive
from agcnn_clinic.storage import Storage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clinic(tmp_path, new_clinic):
    """A new clinic and its database."""
    config = new_clinic(tmp_path / "clinic")
    with open_database(config.database_url) as database:
        yield config, database


def receive(database, **columns) -> None:
    """Write the row of an archived file."""
    file = ReceivedFile(
        original_name="film.dcm",
        media_type=MediaType.DICOM,
        size=10,
        sha256="ab" * 32,
        stored_path=f"ab/{'ab' * 32}.dcm",
        received_at=NOW,
        **columns,
    )
    with database.write() as session:
        session.add(file)


def test_a_new_clinic_may_begin_with_an_empty_archive_or_none(clinic):
    """No row speaks of any file."""
    config, database = clinic
    check_archive(database, config)
    config.archive.rmdir()
    check_archive(database, config)


@pytest.mark.parametrize("left", ["", "lost+found", None])
def test_an_archive_that_should_hold_files_and_is_empty_is_not_worked_on(clinic, left):
    """Its disk is not mounted: there is the mount point alone, a new disk, or not even a folder."""
    config, database = clinic
    receive(database)
    if left is None:
        config.archive.rmdir()
    else:
        (config.archive / left).mkdir(exist_ok=True)
    with pytest.raises(StorageError, match=r"should hold 1 file: mount its disk") as caught:
        check_archive(database, config)
    assert caught.value.on_error is OnError.RETRY
    (config.archive / ".incoming").mkdir(parents=True)
    check_archive(database, config)  # a person has said so


def test_an_archive_that_has_been_worked_on_may_be_without_files(clinic):
    """What is missing in it is for doctor to tell; what retention has removed is not missing."""
    config, database = clinic
    receive(database)
    Storage(config).prepare()
    check_archive(database, config)


def test_what_retention_has_removed_need_not_be_there(clinic):
    """An archive may be begun anew when nothing of the old one is kept."""
    config, database = clinic
    receive(database, removed_at=NOW)
    check_archive(database, config)
