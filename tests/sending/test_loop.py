"""The sending loop: every report that waits reaches the archive, whatever that does meanwhile."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from agcnn_clinic.database.tables import Report
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.sending.loop import LONGEST_REST_SECONDS, REST_SECONDS, TOGETHER
from agcnn_clinic.sending.objects import Before, structured

STUDY_UID = "1.2.826.0.1.3680043.8.498.77"
SUCCESS = 0x0000
EVENTS = "SELECT studies, details FROM audit_event WHERE event = 'sent' ORDER BY id"


def test_all_that_waits_is_sent_and_waits_no_more(clinic, archive):
    """The PDF and the SR of one study, the PDF of the other."""
    sending = clinic.sending()
    assert sending.waiting() == 2
    assert sending.step() == 2
    assert [dataset.Modality for dataset in archive.stored] == ["DOC", "SR", "DOC"]
    assert clinic.rows() == [(False, True), (False, True)]
    assert sending.step() == sending.waiting() == 0


def test_the_audit_trail_says_what_went_where(clinic, archive, select):
    """An event a report, with its version and how many objects."""
    clinic.sending().step()
    events = [row["details"] for row in select(clinic.config.database_url, EVENTS)]
    assert events == [f'{{"objects":{count},"to":"{archive.address}","version":1}}' for count in (2, 1)]


def test_an_archive_that_is_away_is_left_alone_for_a_while_and_told_of_once(clinic, archive, caplog):
    """Then all that waited is sent, and what comes after; a night's outage is two lines of the log."""
    caplog.set_level(logging.INFO, "agcnn_clinic")
    sending = clinic.sending()
    archive.stop()
    for _ in range(3):
        assert sending.step() == 0
        assert sending.step() == 0, "at once, it is not even asked"
        clinic.elapsed += REST_SECONDS
    assert sending.waiting() == 2
    archive.start()
    assert sending.step() == 2
    clinic.later_version(clinic.report_id(dicom=False), 2, to_send=True)
    assert sending.step() == 1
    assert clinic.rows() == [(False, True)] * 3
    told = [record.getMessage() for record in caplog.records if record.name.startswith("agcnn_clinic.sending")]
    assert [f"The archive {archive.address} does not answer" in told[0], "answers again" in told[1]] == [True, True]
    assert len(told) == 2


def test_a_report_that_is_refused_keeps_no_other_waiting(clinic, archive, caplog):
    """It is tried again a minute later, then two, then four; and the log says why once."""
    sending = clinic.sending()
    archive.answers = [0xC000]
    assert sending.step() == 2
    assert clinic.rows() == [(True, False), (False, True)]
    for rest in (REST_SECONDS, 2 * REST_SECONDS):
        clinic.elapsed += rest - 1
        assert sending.step() == 0
        clinic.elapsed += 1
        archive.answers = [0xC000]
        assert sending.step() == 1
    clinic.elapsed += 4 * REST_SECONDS
    assert sending.step() == 1
    assert clinic.rows() == [(False, True), (False, True)]
    assert caplog.text.count("refuses an object") == 1


def test_a_report_that_is_refused_for_days_is_tried_each_hour(clinic, archive):
    """The rests grow no longer than that."""
    sending = clinic.sending()
    archive.answer = lambda _: 0xC000
    for _ in range(12):
        assert sending.step() == 2
        clinic.elapsed += LONGEST_REST_SECONDS


def test_what_a_person_has_sent_meanwhile_is_not_tried_again(clinic, archive):
    """By `agcnn-clinic send`, which tells the loop nothing."""
    sending = clinic.sending()
    archive.answers = [0xC000, 0xC000]
    sending.step()
    with clinic.database.write() as session:
        session.execute(update(Report).values(to_send=False))
    clinic.elapsed += REST_SECONDS
    assert sending.step() == 0
    assert archive.heard == ["DOC", "DOC"]


def test_a_new_report_goes_before_those_that_were_refused(clinic, archive):
    """However many these are, which may be due again, and are tried one after the other."""
    first = clinic.report_id(dicom=False)
    for version in range(2, TOGETHER):
        clinic.later_version(first, version, to_send=True)
    sending = clinic.sending()
    archive.answer = lambda _: 0xC000
    assert sending.step() == TOGETHER
    archive.answer = lambda _: SUCCESS
    clinic.later_version(first, TOGETHER, to_send=True)
    clinic.elapsed += REST_SECONDS
    assert sending.step() == TOGETHER
    assert archive.of("DOC")[0].InstanceNumber == TOGETHER


def test_an_archive_without_room_is_asked_for_nothing_more(clinic, archive):
    """The second report is not tried: the first one's answer holds for it."""
    archive.answers = [0xA700]
    assert clinic.sending().step() == 1
    assert clinic.rows() == [(True, False), (True, False)]
    assert archive.stored == []


@pytest.mark.parametrize("told", [None, 0xA700])
def test_a_report_that_ends_the_association_keeps_no_other_waiting(clinic, archive, told):
    """An archive may fall over this one, or lack room for it alone: it is tried after all others."""
    sending = clinic.sending()
    archive.answer = lambda dataset: told if dataset.StudyInstanceUID == STUDY_UID else SUCCESS
    assert sending.step() == 1
    assert sending.step() == 0, "for a minute the archive is left alone"
    clinic.elapsed += REST_SECONDS
    sending.step()
    assert clinic.rows() == [(True, False), (False, True)]
    archive.answer = lambda _: SUCCESS
    clinic.elapsed += REST_SECONDS
    assert sending.step() == 1
    assert sending.waiting() == 0


@pytest.mark.parametrize("told", [None, 0xA700])
def test_what_was_not_tried_goes_before_what_ends_the_association(clinic, archive, told):
    """While one is taken now and then, the archive is there: it is not left alone for the one that is not."""
    sending = clinic.sending()
    archive.answer = lambda dataset: told if dataset.StudyInstanceUID == STUDY_UID else SUCCESS
    sending.step()
    clinic.elapsed += REST_SECONDS
    assert sending.step() == 2
    clinic.later_version(clinic.report_id(dicom=False), 2, to_send=True)
    assert sending.step() == 1
    assert clinic.rows() == [(True, False), (False, True), (False, True)]


def test_an_archive_without_room_for_a_night_is_told_of_once(clinic, archive, caplog):
    """Though it answers each time, and says so of one report after the other; both go as soon as there is room."""
    caplog.set_level(logging.INFO, "agcnn_clinic")
    sending = clinic.sending()
    archive.answer = lambda _: 0xA700
    for _ in range(9):
        assert sending.step() == 1
        clinic.elapsed += REST_SECONDS
    archive.answer = lambda _: SUCCESS
    assert sending.step() == 2
    assert sending.waiting() == 0
    assert [told for told in caplog.messages if "room" in told or "answers again" in told] == [
        f"The archive {archive.address} has no room (status A700, refused: out of resources); make some there."
    ]


def test_what_an_archive_has_of_a_report_it_is_not_sent_again_for_what_it_refuses(clinic, archive):
    """It takes the PDF, and never the SR: with thousands of reports it would be sent all their PDFs each hour."""
    sending = clinic.sending()
    archive.answer = lambda dataset: 0xC000 if dataset.Modality == "SR" else SUCCESS
    sending.step()
    clinic.elapsed += REST_SECONDS
    sending.step()
    assert archive.heard == ["DOC", "SR", "DOC", "SR"]


def test_once_one_is_taken_that_was_not_those_that_waited_for_the_same_reason_go(clinic, archive):
    """The archive was mended: they need not wait for an hour each."""
    dicom = clinic.report_id(dicom=True)
    sending = clinic.sending()
    archive.answer = lambda dataset: 0xC000 if dataset.Modality == "SR" else SUCCESS
    for _ in range(3):
        sending.step()
        clinic.elapsed += LONGEST_REST_SECONDS
    clinic.later_version(dicom, 2, to_send=True)
    sending.step()
    clinic.elapsed += REST_SECONDS
    archive.answer = lambda _: SUCCESS
    assert (sending.step(), sending.step()) == (1, 1)
    assert [dataset.InstanceNumber for dataset in archive.of("SR")] == [2, 1]
    assert sending.waiting() == 0


def test_an_end_after_the_archive_has_it_sends_the_same_once_more(clinic, archive, at_point):
    """A crash between the archive's answer and the row: the archive is told of no second object."""

    def crash():
        raise KeyboardInterrupt

    at_point(FaultPoint.REPORT_SENT, crash)
    with pytest.raises(KeyboardInterrupt):
        clinic.sending().step()
    assert clinic.rows() == [(True, False), (True, False)]
    assert clinic.sending().step() == 2
    first, again = archive.of("SR")
    assert first == again
    assert first.SOPInstanceUID == again.SOPInstanceUID


@pytest.mark.parametrize("altered", [None, b"another PDF"])
def test_a_pdf_that_is_not_as_it_was_delivered_is_not_sent(clinic, archive, altered, caplog):
    """Nor is its SR: the two say the same, or nothing. Made again, it goes."""
    report_id = clinic.report_id(dicom=True)
    with clinic.database.session() as session:
        path = clinic.config.report_file(session.get_one(Report, report_id).path)
    delivered = path.read_bytes()
    path.unlink()
    if altered is not None:
        path.write_bytes(altered)
    sending = clinic.sending()
    assert sending.step() == 2
    assert [dataset.Modality for dataset in archive.stored] == ["DOC"]
    assert "make it again with `agcnn-clinic report --missing`" in caplog.text
    path.write_bytes(delivered)
    clinic.elapsed += REST_SECONDS
    assert sending.step() == 1
    assert sending.waiting() == 0


def test_of_which_there_is_nothing_to_send_does_not_wait(clinic, archive, monkeypatch):
    """A PNG's report where the SR alone is wanted: it was not sent, and no event says so."""
    sr_alone = clinic.config.sending.model_copy(update={"objects": ("sr",)})
    monkeypatch.setattr(clinic, "config", clinic.config.model_copy(update={"sending": sr_alone}))
    clinic.sending().step()
    assert [dataset.Modality for dataset in archive.stored] == ["SR"]
    assert clinic.rows() == [(False, True), (False, False)]


def test_it_stops_between_two_reports(clinic):
    """SIGTERM does not wait for a thousand of them."""
    assert clinic.sending().step(lambda: True) == 0
    assert clinic.rows() == [(True, False), (True, False)]


def test_many_are_sent_over_several_associations(clinic, archive):
    """As many as wait, oldest first."""
    first = clinic.report_id(dicom=False)
    with clinic.database.write() as session:
        session.execute(update(Report).values(to_send=False))
    for version in range(2, 20):
        clinic.later_version(first, version, to_send=True)
    sending = clinic.sending()
    assert (sending.step(), sending.step(), sending.step()) == (16, 2, 0)
    assert [dataset.InstanceNumber for dataset in archive.stored] == list(range(2, 20))


def test_srs_are_made_side_by_side(clinic, archive):
    """Each in a child of its own: the second is begun before the first is sent."""
    clinic.later_version(clinic.report_id(dicom=True), 2, to_send=True)
    both = threading.Barrier(2)

    def made(content: ReportContent, before: Before | None) -> bytes:
        both.wait(timeout=60)
        return structured(content, before)

    with ThreadPoolExecutor(2) as children:
        clinic.sending(lambda content, before: children.submit(made, content, before).result).step()
    assert [dataset.InstanceNumber for dataset in archive.of("SR")] == [1, 2]
