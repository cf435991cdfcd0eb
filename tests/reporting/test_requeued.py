"""A quarantined file is taken back: a new report is made where it says something new, and only there."""

import pytest

from agcnn_clinic.database.claims import WholeClinic
from agcnn_clinic.database.outcomes import decide, reopen
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import REASONS, ReasonCode
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.reporting.making import make_report
from agcnn_clinic.reporting.remaking import Remade, remake

STUCK = REASONS[ReasonCode.DEADLINE].sentence


@pytest.fixture
def reported(clinic, doors):
    """A study of two images with its report, and the file of the one that was quarantined."""
    study = clinic.add_study()
    clinic.add_file(study)
    stuck = clinic.add_file(study, ReasonCode.DEADLINE)
    return study, stuck, make_report(clinic.database, study, **doors)


@pytest.fixture
def try_again(clinic):
    """Takes a file back, and an hour later it ends for this reason."""

    def try_again(file_id: int, reason: ReasonCode) -> None:
        with clinic.database.write() as session:
            reopen(session.get_one(ReceivedFile, file_id))
        clinic.clock.forward(hours=1)
        with clinic.database.write() as session:
            decide(session.get_one(ReceivedFile, file_id), reason, now=clinic.clock.now)

    return try_again


def test_a_file_that_fails_again_makes_no_report_with_nothing_new_in_it(clinic, doors, reported, try_again) -> None:
    """However often it is tried: none is due, and the one that was delivered is made again byte for byte the same."""
    study, stuck, path = reported
    for _ in range(2):
        try_again(stuck, ReasonCode.DEADLINE)
        assert clinic.due() == []
        assert remake(clinic.database, study, **doors) == Remade(path, "")
    with clinic.database.session() as session:
        assert session.get_one(ReceivedFile, stuck).decided_at == clinic.clock.now


def test_a_file_that_fails_for_another_reason_makes_a_report_that_says_so(
    clinic, doors, reported, try_again, text_of
) -> None:
    """The new version has the new reason; so has the next one that says the first reason again."""
    study, stuck, _ = reported
    for reason in (ReasonCode.MEMORY, ReasonCode.DEADLINE):
        try_again(stuck, reason)
        assert clinic.due() == [study]
        pages = " ".join(text_of(make_report(clinic.database, study, **doors).read_bytes()))
        assert (REASONS[reason].sentence in pages, STUCK in pages) == (True, reason is ReasonCode.DEADLINE)
        assert clinic.due() == []


def test_a_file_that_fails_again_is_in_the_reports_that_come_later(clinic, doors, reported, try_again, text_of) -> None:
    """A late image makes version 2, which names both the image and what failed; both versions can be made again."""
    study, stuck, first = reported
    try_again(stuck, ReasonCode.DEADLINE)
    clinic.add_file(study, at=clinic.clock.now)
    clinic.clock.forward(hours=1)
    second = make_report(clinic.database, study, **doors)
    pages = " ".join(text_of(second.read_bytes()))
    assert "2 images read, 1 not read" in pages
    assert STUCK in pages
    for version, path in enumerate((first, second), start=1):
        assert remake(clinic.database, study, version, **doors) == Remade(path, "")


def test_a_file_that_fails_again_before_any_report_leaves_the_first_one_due(clinic, doors, try_again, text_of) -> None:
    """It is made once, and says why the file was not read."""
    study = clinic.add_study()
    clinic.add_file(study)
    try_again(clinic.add_file(study, ReasonCode.DEADLINE), ReasonCode.DEADLINE)
    assert clinic.due() == [study]
    assert STUCK in " ".join(text_of(make_report(clinic.database, study, **doors).read_bytes()))
    with clinic.database.session() as session:
        row = session.get_one(Study, study)
        assert row.reported_revision == row.revision


def test_no_report_is_made_while_a_file_is_taken_back(clinic, try_again, text_of, caplog) -> None:
    """It was due when the loop looked: composed without the file, it would never tell that this was not read."""
    study = clinic.add_study()
    clinic.add_file(study)
    stuck = clinic.add_file(study, ReasonCode.DEADLINE)

    class Requeued(WholeClinic):
        """Between the look and the composing somebody takes the file back."""

        def take(self, work, keys, still_due=None):
            with clinic.database.write() as session:
                reopen(session.get_one(ReceivedFile, stuck))
            return super().take(work, keys, still_due)

    def reporting(claims):
        return Reporting(clinic.database, clinic.config, clinic.press, clinic.clock, claims=claims)

    assert reporting(Requeued()).step(quiet_seconds=0) == 0
    assert not clinic.config.reports.exists()
    clinic.clock.forward(hours=1)
    with clinic.database.write() as session:
        decide(session.get_one(ReceivedFile, stuck), ReasonCode.DEADLINE, now=clinic.clock.now)
    assert reporting(WholeClinic()).step(quiet_seconds=0) == 1
    (path,) = clinic.config.reports.iterdir()
    assert STUCK in " ".join(text_of(path.read_bytes()))
    assert caplog.messages == []


@pytest.mark.parametrize("read_later", [False, True])
def test_a_file_that_turns_out_to_be_a_duplicate_is_no_longer_said_to_be_unread(
    clinic, doors, try_again, text_of, read_later
) -> None:
    """A new version leaves it out; none is made where a file that came later was read in its place and told of it."""
    study = clinic.add_study()
    reasons = [ReasonCode.READ, ReasonCode.DEADLINE]
    files = {reason: clinic.add_file(study, reason, uid="1.2.7") for reason in reasons[:: -1 if read_later else 1]}
    first = make_report(clinic.database, study, **doors)
    assert (STUCK in " ".join(text_of(first.read_bytes()))) is not read_later
    try_again(files[ReasonCode.DEADLINE], ReasonCode.HEADER_DIFFERS)
    assert clinic.due() == ([] if read_later else [study])
    if not read_later:
        assert STUCK not in " ".join(text_of(make_report(clinic.database, study, **doors).read_bytes()))
