"""Reports of studies whose images retention has removed."""

import hashlib
from contextlib import nullcontext
from datetime import timedelta

import pytest
from sqlalchemy import update

from agcnn_clinic.database.claims import WholeClinic
from agcnn_clinic.database.tables import ReceivedFile, Report
from agcnn_clinic.errors import RemovedError
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.loop import Upkeep


def remove_image(clinic, file_id: int, *, back: bool = False) -> None:
    with clinic.database.write() as session:
        moment = None if back else clinic.clock()
        session.execute(update(ReceivedFile).where(ReceivedFile.id == file_id).values(removed_at=moment))


def test_a_report_whose_image_is_gone_cannot_be_made_again(clinic, make, again):
    """A sentence says so, since when, and where the delivered PDF is; with the image back, the report is the same."""
    study = clinic.add_study()
    file = clinic.add_file(study)
    path = make(study)
    before = path.read_bytes()
    clinic.clock.forward(days=100)
    remove_image(clinic, file)
    with pytest.raises(RemovedError, match=f"removed 1 of its images on {clinic.clock().date()}.*{path.name}"):
        again(study)
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(RemovedError, match="is not there, either"):
        again(study)
    remove_image(clinic, file, back=True)
    assert again(study).path.read_bytes() == before


def test_a_late_image_is_reported_beside_one_that_is_gone(clinic, make, again, text_of):
    """Version 2 says of the first image what was found, and that its picture is no more; it can be made again."""
    study = clinic.add_study()
    first = clinic.add_file(study)
    make(study)
    clinic.clock.forward(days=100)
    remove_image(clinic, first)
    clinic.clock.forward(days=1)
    clinic.add_file(study, at=clinic.clock() - timedelta(hours=1))
    assert Reporting(clinic.database, clinic.config, clinic.press, clinic.clock).step(quiet_seconds=30) == 1
    (path,) = clinic.config.reports.glob("*-v2.pdf")
    assert "cannot be read any more" in " ".join(text_of(path.read_bytes()))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashlib.sha256(again(study).path.read_bytes()).hexdigest() == before


def test_a_pdf_that_was_removed_is_there_again_once_it_is_made_again(clinic, make, again):
    """The row says so, too."""
    study = clinic.add_study()
    clinic.add_file(study)
    path = make(study)
    path.unlink()
    with clinic.database.write() as session:
        session.execute(update(Report).values(removed_at=clinic.clock()))
    assert again(study).path == path
    with clinic.database.session() as session:
        assert session.query(Report).one().removed_at is None


@pytest.fixture
def upkeep(clinic):
    """The clinic's retention, which lets reports go after thirty days."""
    retention = clinic.config.retention.model_copy(update={"reports_days": 30})
    config = clinic.config.model_copy(update={"retention": retention})
    return Upkeep(clinic.database, Storage(config), config, clinic.clock)


@pytest.fixture
def old(clinic, make):
    """A study whose report may go, and that report."""
    study = clinic.add_study()
    clinic.add_file(study)
    path = make(study)
    clinic.clock.forward(days=31)
    return study, path


def test_a_pdf_that_is_removed_while_it_is_made_again_is_no_stray(old, again, upkeep, at_point):
    """Its row does not call it removed: retention removes it the next time."""
    study, path = old
    seen = []
    at_point(FaultPoint.REPORT_WRITTEN, lambda: seen.append((len(upkeep.step()), path.exists())))
    assert again(study).path == path
    assert (seen, path.exists()) == ([(1, False)], True)
    assert len(upkeep.step()) == 1
    assert not path.exists()


@pytest.mark.parametrize("left_by_another_run", [False, True])
def test_a_pdf_that_is_made_again_before_what_was_called_gone_is_removed_stays(
    clinic, old, again, upkeep, left_by_another_run
):
    """Somebody asks for it after its row was said to be gone and before it goes: no row claims what is not there."""
    study, path = old

    class Meanwhile(WholeClinic):
        def removing(self):
            return nullcontext(lambda: again(study))

    if left_by_another_run:
        with clinic.database.write() as session:
            session.execute(update(Report).values(removed_at=clinic.clock()))
    Upkeep(clinic.database, Storage(upkeep._config), upkeep._config, clinic.clock, claims=Meanwhile()).step()
    assert path.exists()
    with clinic.database.session() as session:
        assert session.query(Report).one().removed_at is None


def test_a_process_that_ends_while_it_makes_a_removed_report_again_leaves_no_stray(old, again, upkeep, at_point):
    """Whenever a PDF has its name its row does not call it removed."""
    study, path = old
    assert len(upkeep.step()) == 1

    def end() -> None:
        raise KeyboardInterrupt

    at_point(FaultPoint.REPORT_RENAMED, end)
    with pytest.raises(KeyboardInterrupt):
        again(study)
    assert path.exists()
    assert len(upkeep.step()) == 1
    assert not path.exists()


def test_retention_removes_what_was_made_again_of_a_report_that_it_had_removed(clinic, make, again, upkeep):
    """Made again by another version of the program it has a name of its own, and does not lie there for ever."""
    for _ in range(2):
        study = clinic.add_study()
        clinic.add_file(study)
        make(study)
        clinic.clock.forward(days=31)
        assert len(upkeep.step()) == 1
    with clinic.database.write() as session:
        session.execute(update(Report).values(sha256="0", software_version="0.0.9"))
    made = again(1).path
    assert made.name.endswith(".remade.pdf")
    assert made.exists()
    assert len(upkeep.step()) == 1
    assert not made.exists()
