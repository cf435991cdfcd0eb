"""Whose a film is: its own header says so, and what another file of the same UID says is told of, or kept apart."""

from datetime import UTC, datetime

import pytest

from agcnn_clinic.database.outcomes import decide, doubted_since, names_another_patient
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.intake.requeue import requeue_files

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_a_film_that_names_another_study_than_its_instance_is_no_file_of_that_study(desk, film_of, in_one_batch):
    """It is kept apart, whatever became of the first one; none is shown under the study or the patient of the other."""
    film_of("1.dcm", 1, 1, PatientID="WRONG-1")
    if not in_one_batch:
        desk.take_in_one_batch()
    film_of("2.dcm", 2, 1, PatientID="RIGHT-2", SOPInstanceUID="1.2.1.1")
    film_of("3.dcm", 2, 2, PatientID="RIGHT-2")
    first, other, third = desk.taken_in_one_batch()
    assert (first.instance.study.study_instance_uid, first.instance.study.patient_id) == ("1.2.1", "WRONG-1")
    assert (other.outcome, other.reason_code, other.instance_id) == ("quarantined", "uid_conflict", None)
    assert f"it is known as an image of study {first.instance.study.key}" in other.reason
    assert (other.header["sop_instance_uid"], "remarks" in other.header) == ("1.2.1.1", False)
    assert (desk.config.quarantine / other.quarantine_path).is_file()
    assert (third.instance.study.study_instance_uid, third.instance.study.patient_id) == ("1.2.2", "RIGHT-2")
    film_of("4.dcm", 2, 1, PatientID="RIGHT-2", SOPInstanceUID="1.2.1.1")
    again = desk.taken_in_one_batch()[-1]
    assert (again.reason_code, again.instance_id, again.details) == ("same_bytes", None, {"same_as_file": other.id})


@pytest.mark.parametrize("in_one_batch", [True, False])
@pytest.mark.parametrize(
    ("said", "doubted"),
    [
        ({"PatientID": "RIGHT"}, True),
        ({"PatientID": "WRONG"}, False),
        ({"PatientID": "RIGHT", "ContentDate": "20260131"}, False),
    ],
)
def test_a_film_that_went_to_the_wrong_patient_is_doubted_once_it_comes_under_the_right_one(
    desk, film_of, in_one_batch, said, doubted
):
    """Whatever is known of it by then; not where it is the same patient's, or another exposure that has got its UID."""
    film_of("1.dcm", 1, 1, PatientID="WRONG")
    if not in_one_batch:
        desk.take_in_one_batch()
    film_of("2.dcm", 2, 1, SOPInstanceUID="1.2.1.1", **said)
    first, _ = desk.taken_in_one_batch()
    assert (doubted_since(first) == NOW, first.instance.study.revision) == (doubted, 0)
    with desk.database.write() as session:
        decide(session.get_one(ReceivedFile, first.id), ReasonCode.READ, now=NOW, details={"level": 0})
    first, _ = desk.rows()
    assert (names_another_patient(first), first.details["level"]) == (doubted, 0)


def test_a_film_with_a_uid_of_another_study_stays_when_it_is_requeued(desk, film_of):
    """Its header still names another study; the one that has the UID has received nothing."""
    film_of("1.dcm", 1, 1)
    film_of("2.dcm", 2, 1, SOPInstanceUID="1.2.1.1")
    _, other = desk.taken_in_one_batch()
    (tried,) = requeue_files(desk.database, desk.storage, desk.intake.sandbox, [other.id])
    assert "stays in quarantine; Another picture, or an image of another study" in str(tried)
    first, other = desk.rows()
    assert (other.outcome, other.instance_id, first.instance.study.last_received_at) == ("quarantined", None, NOW)


@pytest.mark.parametrize(
    ("of_study", "patient", "remarks"),
    [
        (("P-ONE", "One^Patient"), ("P-TWO", "Two^Patient"), ["other_patient"]),
        (("P-ONE", "One^Patient"), ("P-TWO", "One^Patient"), ["other_patient"]),
        (("P-ONE", "One^Patient"), ("", "Two^Patient"), ["other_patient"]),
        (("P-ONE", "One^Patient"), ("P-ONE", "Married^Patient"), None),
        (("P-ONE", "One^Patient"), ("", "ONE^PATIENT^^"), None),
        (("P-ONE", "One^Patient"), ("", ""), None),
        (("", ""), ("P-TWO", "Two^Patient"), ["other_patient"]),
        (("", ""), ("P-TWO", ""), ["other_patient"]),
        (("", ""), ("", "Two^Patient"), ["other_patient"]),
        (("", ""), ("", ""), None),
    ],
)
def test_a_film_that_names_a_patient_whom_its_study_does_not_name_is_remarked(
    desk, film_of, of_study, patient, remarks
):
    """By Patient ID, or by name where one of the two has no ID; it stays in the study that it names."""
    film_of("1.dcm", 1, 1, PatientID=of_study[0], PatientName=of_study[1])
    film_of("2.dcm", 1, 2, PatientID=patient[0], PatientName=patient[1])
    first, other = desk.taken_in_one_batch()
    assert first.instance.study_id == other.instance.study_id
    assert (first.header.get("remarks"), other.header.get("remarks")) == (None, remarks)
    named = {"patient_id": patient[0], "patient_name": patient[1]}
    assert (first.header.get("names"), other.header.get("names")) == (None, named if remarks else None)
