"""Which films training may learn from, and as whose: those that were reviewed, under a pseudonym of their patient."""

import random
from datetime import UTC, datetime

import pytest

from agcnn_clinic.database.outcomes import doubt
from agcnn_clinic.database.queries import find_study
from agcnn_clinic.database.reviews import ReviewRequest, record_review, reviewed_films
from agcnn_clinic.domain import InstanceDescription, ReasonCode, Verdict, Warn
from agcnn_models.labels import NO_FINDING

PRESENT, ABSENT, CLEARED = Verdict.PRESENT, Verdict.ABSENT, Verdict.CLEARED
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def review(database, text, **verdicts):
    """Record a review of a study; keywords name labels."""
    request = ReviewRequest(verdicts, confirm=False, reviewer="Dr. X")
    with database.write() as session:
        return record_review(session, find_study(session, text), request, NOW)


def test_films_for_training_bear_a_pseudonym_of_their_patient(database, factories):
    """Two studies of one patient share it, studies without a Patient ID have one each, and no name is in it."""
    with database.write() as session:
        model = factories.make_model(session)
        for number, patient in enumerate(("P1", "P2", "P1", "", ""), start=1):
            study = factories.make_study(session, number, patient_id=patient)
            file = factories.make_file(session, study, number, view_position="AP")
            factories.make_inference(session, file, model, random.Random(number))
    for number in (1, 2, 3, 4, 5):
        review(database, f"A{number:05}", Mass=PRESENT)
    review(database, "A00002", Mass=CLEARED)
    with database.session() as session:
        films, *_ = reviewed_films(session)
        keys = [find_study(session, f"A{number:05}").key for number in (1, 3, 4, 5)]
    assert [film.patient for film in films] == [keys[0], keys[0], keys[2], keys[3]]
    assert films[0].verdicts == {"Mass": PRESENT, NO_FINDING: ABSENT}
    assert films[0].view_position == "AP"


@pytest.mark.parametrize(
    ("later", "in_doubt"),
    [
        (None, True),
        (ReasonCode.HEADER_DIFFERS, True),
        (ReasonCode.UID_CONFLICT, False),
        (ReasonCode.UNREADABLE_PIXELS, False),
    ],
)
def test_a_film_that_may_be_another_patients_is_not_trained_on(database, factories, later, in_doubt):
    """Its file, or one that came later with the same picture, names another patient than its study."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = odd = factories.make_file(session, study, 1)
        factories.make_inference(session, file, factories.make_model(session), random.Random(1))
        if later is not None:
            odd = factories.make_file(session, study, 2, later)
            session.flush()
            session.delete(odd.instance)
            odd.instance = file.instance
        odd.header = odd.header | {"remarks": [Warn.OTHER_PATIENT]}
    assert [image.patient_in_doubt for image in review(database, "A00001", Mass=PRESENT)] == [in_doubt]
    with database.session() as session:
        found = reviewed_films(session)
        assert found.in_doubt == [study.key] * in_doubt
        assert len(found.films) == (not in_doubt)


def test_a_film_for_which_another_study_names_another_patient_is_not_trained_on(database, factories):
    """It went to the wrong patient, and came again under the right one."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = factories.make_file(session, study, 1)
        factories.make_inference(session, file, factories.make_model(session), random.Random(1))
        session.flush()
        doubt(session, [(file.instance_id, InstanceDescription(**file.header))], NOW)
    with database.session() as session:
        assert reviewed_films(session) == ([], [], 0)
    assert [image.patient_in_doubt for image in review(database, "A00001", Mass=PRESENT)] == [True]
    with database.session() as session:
        assert reviewed_films(session) == ([], [study.key], 0)


def test_films_whose_bytes_are_gone_are_counted(database, factories):
    """Retention removed them after they were reviewed; a verdict that was taken back asks for no film."""
    with database.write() as session:
        model = factories.make_model(session)
        files = []
        for number in (1, 2, 3):
            study = factories.make_study(session, number)
            files.append(factories.make_file(session, study, number))
            factories.make_inference(session, files[-1], model, random.Random(number))
    for number in (1, 2, 3):
        review(database, f"A{number:05}", Mass=PRESENT)
    review(database, "A00003", Mass=CLEARED)
    with database.write() as session:
        for file in files[1:]:
            session.merge(file).removed_at = NOW
    with database.session() as session:
        films, in_doubt, removed = reviewed_films(session)
    assert ([film.stored_path for film in films], in_doubt, removed) == ([files[0].stored_path], [], 1)
