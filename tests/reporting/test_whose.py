"""Images that may be another patient's: the report says so, and a new one is made when that becomes known."""

import pytest

from agcnn_clinic.database.outcomes import decide, doubt
from agcnn_clinic.database.tables import ReceivedFile, Report, Study
from agcnn_clinic.domain import WARNINGS, InstanceDescription, ReasonCode, Warn
from agcnn_clinic.reporting.making import make_report
from agcnn_clinic.reporting.remaking import Remade, as_it_was, make_on_request, remake

LATER = WARNINGS[Warn.OTHER_PATIENT_LATER]
UIDS = {"series_instance_uid": "1.2.3", "sop_instance_uid": "1.2.7"}


@pytest.fixture
def send_again(clinic):
    """A later file of an image whose picture was read, with another header that names the study's patient or not."""

    def send_again(study: int, uid: str, *remarks: Warn) -> None:
        clinic.clock.forward(hours=1)
        file_id = clinic.add_file(study, None, at=clinic.clock.now, uid=uid)
        with clinic.database.write() as session:
            file = session.get_one(ReceivedFile, file_id)
            file.header = file.header | {"remarks": list(remarks)}
            decide(file, ReasonCode.HEADER_DIFFERS, now=clinic.clock.now)
        clinic.clock.forward(hours=1)

    return send_again


def test_a_patient_who_is_corrected_at_the_sender_makes_a_new_report_that_says_so(
    clinic, doors, send_again, text_of
) -> None:
    """One new version and no more, however often the film comes; version 1 is made again as it was delivered."""
    study = clinic.add_study()
    clinic.add_file(study, uid="1.2.7")
    first = make_report(clinic.database, study, **doors)
    send_again(study, "1.2.7")
    assert clinic.due() == []
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    assert clinic.due() == [study]
    second = make_report(clinic.database, study, **doors)
    assert LATER in text_of(second.read_bytes())[0]
    assert LATER not in text_of(first.read_bytes())[0]
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    assert clinic.due() == []
    for version, path in enumerate((first, second), start=1):
        assert remake(clinic.database, study, version, **doors) == Remade(path, "")


def test_an_image_that_named_another_patient_from_the_start_is_not_remarked_upon_twice(
    clinic, composed, send_again
) -> None:
    """The remark on the image itself stands; a later file of it adds nothing and makes no report due."""
    study = clinic.add_study()
    file_id = clinic.add_file(study, uid="1.2.7", warnings=[Warn.OTHER_PATIENT, Warn.LOSSY])
    with clinic.database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        file.header = file.header | {"remarks": [Warn.OTHER_PATIENT]}
    before = composed(study)
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    after = composed(study)
    assert after.study_revision == before.study_revision
    (image,) = after.images
    assert (image.other_patient, image.remarks) == (WARNINGS[Warn.OTHER_PATIENT], (WARNINGS[Warn.LOSSY],))


def test_a_correction_is_told_of_after_another_picture_came_under_the_uid(clinic, composed, send_again) -> None:
    """Whom a UID conflict names, and its bytes sent again, says nothing of the image that was read."""
    study = clinic.add_study()
    clinic.add_file(study, uid="1.2.7")
    for reason in (ReasonCode.UID_CONFLICT, ReasonCode.SAME_BYTES):
        with clinic.database.write() as session:
            file = session.get_one(ReceivedFile, clinic.add_file(study, reason, uid="1.2.7"))
            file.header = file.header | {"remarks": [Warn.OTHER_PATIENT]}
    before = composed(study)
    assert before.images[0].other_patient == ""
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    after = composed(study)
    assert (after.study_revision, after.images[0].other_patient) == (before.study_revision + 1, LATER)


def test_what_is_decided_after_the_clock_was_set_back_is_in_no_report_of_before(clinic, doors, send_again) -> None:
    """A correction and a refusal that are stamped before a report without them: it is made again as it was."""
    study = clinic.add_study()
    clinic.add_file(study, uid="1.2.7")
    clinic.clock.forward(hours=5)
    first = make_report(clinic.database, study, **doors)
    clinic.clock.forward(hours=-4)
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    second = make_report(clinic.database, study, **doors)
    lateral = clinic.add_file(study, None, at=clinic.clock.now)
    with clinic.database.write() as session:
        decide(session.get_one(ReceivedFile, lateral), ReasonCode.WRONG_VIEW, now=clinic.clock.now)
    third = make_report(clinic.database, study, **doors)
    for version, path in enumerate((first, second, third), start=1):
        assert remake(clinic.database, study, version, **doors) == Remade(path, "")
    with clinic.database.session() as session:
        content = [
            as_it_was(session, session.get_one(Study, study), row, clinic.config) for row in session.query(Report)
        ]
    assert [bool(one.images[0].other_patient) for one in content] == [False, True, True]
    assert [len(one.unread) for one in content] == [0, 0, 1]


def test_a_film_that_came_under_the_right_patient_later_makes_a_new_report_of_the_wrong_ones_study(
    clinic, doors, text_of
) -> None:
    """One new version and no more, whatever names another patient then; version 1 is made again as it was delivered."""
    study = clinic.add_study()
    file_id = clinic.add_file(study, uid="1.2.7")
    first = make_report(clinic.database, study, **doors)
    for number in range(2):
        clinic.clock.forward(hours=1)
        with clinic.database.write() as session:
            file = session.get_one(ReceivedFile, file_id)
            doubt(session, [(file.instance_id, InstanceDescription(**UIDS | file.header))], clinic.clock.now)
        clinic.clock.forward(hours=1)
        assert clinic.due() == ([study] if number == 0 else [])
        if number == 0:
            second = make_report(clinic.database, study, **doors)
    assert (LATER in text_of(first.read_bytes())[0], LATER in text_of(second.read_bytes())[0]) == (False, True)
    for version, path in enumerate((first, second), start=1):
        assert remake(clinic.database, study, version, **doors) == Remade(path, "")


def test_a_report_by_request_tells_of_a_corrected_patient_too(clinic, doors, send_again) -> None:
    """Asked again after the correction, it is a new version, though the readings are the same."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study, uid="1.2.7"), "large")
    for name in ("-v1.pdf", "-v1.pdf"):
        assert make_on_request(clinic.database, study, model_id, **doors).path.name.endswith(name)
    send_again(study, "1.2.7", Warn.OTHER_PATIENT)
    assert make_on_request(clinic.database, study, model_id, **doors).path.name.endswith("-v2.pdf")


def test_page_1_says_which_of_many_images_is_another_patients(
    clinic, composed, picture, settings, text_of, render
) -> None:
    """However many there are, the remark stands above their pictures, and the picture itself is marked, too."""
    study = clinic.add_study()
    for _ in range(11):
        clinic.add_file(study, warnings=[Warn.LOSSY])
    clinic.add_file(study, warnings=[Warn.OTHER_PATIENT])
    pages = text_of(render(composed(study), picture, settings))
    assert f"Image 12, PA {WARNINGS[Warn.OTHER_PATIENT]} Image 1, PA" in pages[0]
    assert ["another patient?" in page for page in pages].count(True) == 1
