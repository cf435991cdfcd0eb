"""Reviews: what is recorded, what counts, and that No Finding never contradicts the other labels."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_clinic.database import views
from agcnn_clinic.database.queries import find_study
from agcnn_clinic.database.reviews import (
    ReviewRequest,
    completed,
    record_review,
    reviewed_films,
    standing_reviews,
)
from agcnn_clinic.database.tables import Finding, ReceivedFile, Review
from agcnn_clinic.database.views import FindingFilter
from agcnn_clinic.domain import Outcome, ReasonCode, Verdict
from agcnn_clinic.errors import UsageError
from agcnn_models.labels import NO_FINDING, PATHOLOGIES

PRESENT, ABSENT, UNCERTAIN, CLEARED = Verdict.PRESENT, Verdict.ABSENT, Verdict.UNCERTAIN, Verdict.CLEARED
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def review(database, text="A00001", *, at=NOW, confirm=False, instance=None, **given):
    """Record a review of a study; keywords name labels, with NF for No Finding."""
    verdicts = {NO_FINDING if label == "NF" else label: verdict for label, verdict in given.items()}
    request = ReviewRequest(verdicts, confirm, reviewer="Dr. X", note="seen", instance=instance)
    with database.write() as session:
        return record_review(session, find_study(session, text), request, at)


def key_of(database, text="A00001"):
    """A study's key."""
    with database.session() as session:
        return find_study(session, text).key


def standing(database, text="A00001"):
    """The verdicts that count, label by label, of a study's only or first image."""
    with database.session() as session:
        found = standing_reviews(session, find_study(session, text).id)
    return {label: Verdict(review.verdict) for label, review in next(iter(found.values()), {}).items()}


@pytest.fixture
def read_study(database, factories):
    """A database with one study of two images that were read and one that was refused; Mass is the positive one."""
    with database.write() as session:
        study, model = factories.make_study(session, 1), factories.make_model(session)
        for number in (1, 2):
            file = factories.make_file(session, study, number)
            inference = factories.make_inference(session, file, model, random.Random(number))
            for finding in inference.findings:
                finding.positive = finding.label == "Mass"
        factories.make_file(session, study, 3, ReasonCode.WRONG_VIEW)
    return database


def test_a_review_is_of_every_image_that_was_read(read_study):
    """Without --instance both images get the verdict, the refused one none; with it only that one."""
    assert len(review(read_study, Effusion=PRESENT)) == 2
    (only,) = review(read_study, Mass=UNCERTAIN, instance="1.2.826.0.2.2")
    assert only.sop_instance_uid == "1.2.826.0.2.2"
    with read_study.connection() as connection:
        rows = list(views.reviews(connection, next(iter(views.findings(connection, FindingFilter())))["study_key"]))
    assert [(row["label"], row["sop_instance_uid"][-1]) for row in rows if row["label"] in ("Mass", "Effusion")] == [
        ("Mass", "2"),
        ("Effusion", "2"),
        ("Effusion", "1"),
    ]
    assert all(row["reviewer"] == "Dr. X" and row["reviewed_at"] == "2026-06-01T12:00:00.000000Z" for row in rows)


def test_the_findings_are_never_touched(read_study):
    """Whatever is reviewed, the rows of finding and the study's revision, from which reports follow, are the same."""

    def everything():
        with read_study.connection() as connection:
            return [
                connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()
                for table in ("finding", "study", "report")
            ]

    before = everything()
    review(read_study, confirm=True, Hernia=PRESENT)
    assert everything() == before


def test_confirming_takes_the_models_word(read_study):
    """Its positive findings are present, all others absent; what is set beside it is an exception."""
    (first, _) = review(read_study, confirm=True, Nodule=UNCERTAIN)
    assert first.verdicts == {
        **dict.fromkeys(PATHOLOGIES, ABSENT),
        "Mass": PRESENT,
        "Nodule": UNCERTAIN,
        NO_FINDING: ABSENT,
    }
    assert first.undecided == ()


def test_confirming_takes_the_reading_that_counts(read_study, factories):
    """What another model found since, beside it, is neither confirmed nor what the review is about."""
    with read_study.write() as session:
        other = factories.make_model(session, "other", "2.0")
        for file in session.query(ReceivedFile).filter_by(outcome=Outcome.ANALYSED):
            beside = factories.make_inference(session, file, other, random.Random(9), beside=True)
            for finding in beside.findings:
                finding.positive = finding.label == "Effusion"
    found = review(read_study, confirm=True)
    assert {(image.model, image.verdicts["Mass"], image.verdicts["Effusion"]) for image in found} == {
        ("starter 1.0", PRESENT, ABSENT)
    }
    with read_study.session() as session:
        assert not any(review.inference.beside for review in session.query(Review))


def test_a_label_that_the_model_does_not_assess_is_reviewed_as_any_other(read_study):
    """Nothing of it is confirmed, a verdict on it stands and is listed without a finding, and No Finding follows."""
    with read_study.write() as session:
        for finding in session.query(Finding).filter(Finding.label.in_(("Hernia", NO_FINDING))):
            session.delete(finding)
    (first, _) = review(read_study, confirm=True, instance=None)
    assert first.undecided == ("Hernia",)
    review(read_study, Hernia=PRESENT)
    assert (standing(read_study)["Hernia"], standing(read_study)[NO_FINDING]) == (PRESENT, ABSENT)
    with read_study.connection() as connection:
        (listed, _) = [row for row in views.reviews(connection, key_of(read_study)) if row["label"] == "Hernia"]
    assert (listed["finding_id"], listed["probability"], listed["newest"]) == (None, None, True)
    with read_study.session() as session:
        assert {film.verdicts["Hernia"] for film in reviewed_films(session).films} == {PRESENT}


def test_a_label_without_a_threshold_cannot_be_confirmed(read_study):
    """The model called it neither positive nor negative, so nothing is put into its mouth."""
    with read_study.write() as session:
        for finding in session.query(Finding).filter_by(label="Hernia"):
            finding.threshold = finding.positive = None
    (first, _) = review(read_study, confirm=True)
    assert first.undecided == ("Hernia",)
    assert "Hernia" not in first.verdicts


def test_a_later_review_supersedes_and_the_history_stays(read_study):
    """The newest verdict counts, cleared is none, and every row is kept with what the model had said."""
    for number, verdict in enumerate((PRESENT, ABSENT, CLEARED)):
        review(read_study, at=NOW + timedelta(minutes=number), instance="1.2.826.0.2.1", Mass=verdict)
    assert "Mass" not in standing(read_study)
    with read_study.connection() as connection:
        (key,) = {row["study_key"] for row in views.findings(connection, FindingFilter())}
        rows = [row for row in views.reviews(connection, key) if row["label"] == "Mass"]
    assert [(row["verdict"], row["newest"]) for row in rows] == [
        ("cleared", True),
        ("absent", False),
        ("present", False),
    ]
    assert all(row["positive"] is True and row["probability"] is not None for row in rows)


def test_a_verdict_outlives_the_next_model(read_study, factories):
    """A new reading of the same image changes nothing of what was said of it; a new review looks at the new reading."""
    review(read_study, instance="1.2.826.0.2.1", Mass=ABSENT)
    with read_study.write() as session:
        (instance,) = [one for one in find_study(session, "A00001").instances if one.sop_instance_uid.endswith(".1")]
        newer = factories.make_inference(
            session, instance.files[0], factories.make_model(session, version="2.0"), random.Random(9)
        )
    assert standing(read_study)["Mass"] is ABSENT
    review(read_study, instance="1.2.826.0.2.1", Mass=PRESENT)
    with read_study.connection() as connection:
        listed = list(views.findings(connection, FindingFilter(label="Mass", reviewed=True)))
        newest = [row for row in views.reviews(connection, listed[0]["study_key"]) if row["newest"]]
    assert [(row["verdict"], row["model_version"]) for row in listed] == [("present", "2.0")]
    assert {row["inference_id"] for row in newest if row["label"] == "Mass"} == {newer.id}


def test_findings_can_be_limited_to_what_was_reviewed(read_study):
    """`reviewed` gives the rows of finding_list that were reviewed, and not cleared, with the verdict."""
    review(read_study, Mass=PRESENT, Effusion=PRESENT)
    review(read_study, Effusion=CLEARED)
    with read_study.connection() as connection:
        rows = list(views.findings(connection, FindingFilter(reviewed=True)))
    assert {(row["label"], row["verdict"]) for row in rows} == {("Mass", "present"), (NO_FINDING, "absent")}
    assert list(rows[0]) == [column.name for column in views.finding_columns(FindingFilter(reviewed=True))]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"Mass": CLEARED}, "Mass has no verdict that could be cleared"),
        ({"NF": PRESENT, "Mass": UNCERTAIN}, "No Finding cannot be present with Mass uncertain"),
        ({"NF": UNCERTAIN, "Mass": PRESENT}, "No Finding cannot be uncertain while"),
        ({"Mass": PRESENT, "instance": "9.9"}, r"'9\.9' names no image that was read:\n  1\.2\.826\.0\.2\.1\n"),
        ({"Mass": PRESENT, "instance": "1.2"}, "names more than one image"),
        ({"Mass": PRESENT, "instance": "1.2.826.0.2.3"}, "names no image that was read"),
    ],
)
def test_what_cannot_be_recorded_is_a_sentence_and_no_row(read_study, options, sentence):
    """A contradiction or an image that was not read stops the whole review."""
    with pytest.raises(UsageError, match=sentence):
        review(read_study, **options)
    assert standing(read_study) == {}


def test_a_study_without_a_reading_has_nothing_to_review(database, factories):
    """A study whose images were all refused says where to look."""
    with database.write() as session:
        factories.make_file(session, factories.make_study(session, 1), 1, ReasonCode.WRONG_VIEW)
    with pytest.raises(UsageError, match=r"No image of the study \w+ was read"):
        review(database, Mass=PRESENT)


VERDICTS = st.dictionaries(st.sampled_from((*PATHOLOGIES[:3], NO_FINDING)), st.sampled_from(Verdict), min_size=1)


@given(st.lists(VERDICTS | st.just(dict.fromkeys(PATHOLOGIES, ABSENT)), max_size=8))
def test_no_finding_never_contradicts_the_others(reviews):
    """After any reviews No Finding is present only when all fourteen are absent, and absent when one is present."""
    current: dict[str, Verdict] = {}
    for said in reviews:
        try:
            verdicts = completed(said, current)
        except UsageError:
            continue
        assert said.items() <= verdicts.items()
        current = {label: verdict for label, verdict in {**current, **verdicts}.items() if verdict is not CLEARED}
        others = [current.get(label) for label in PATHOLOGIES]
        if current.get(NO_FINDING) is PRESENT:
            assert set(others) == {ABSENT}
        if PRESENT in others and said.get(NO_FINDING) is not CLEARED:
            assert current[NO_FINDING] is ABSENT
        if set(others) == {ABSENT} and NO_FINDING not in said:
            assert current[NO_FINDING] is PRESENT


@pytest.mark.parametrize(
    ("said", "current", "no_finding"),
    [
        ({"Mass": PRESENT}, {}, ABSENT),
        ({"Mass": ABSENT}, {}, None),
        ({"Mass": ABSENT}, {"Mass": PRESENT, NO_FINDING: ABSENT}, CLEARED),
        ({"Mass": UNCERTAIN}, {"Mass": PRESENT, NO_FINDING: ABSENT}, UNCERTAIN),
        ({"Mass": ABSENT}, {NO_FINDING: ABSENT}, None),
        ({"Mass": UNCERTAIN}, dict.fromkeys((*PATHOLOGIES[:4], *PATHOLOGIES[5:]), ABSENT), None),
        ({"Mass": CLEARED}, dict.fromkeys(PATHOLOGIES, ABSENT) | {NO_FINDING: PRESENT}, CLEARED),
        ({"Mass": ABSENT}, dict.fromkeys(PATHOLOGIES, ABSENT) | {"Mass": PRESENT, NO_FINDING: ABSENT}, PRESENT),
    ],
)
def test_no_finding_worked_by_hand(said, current, no_finding):
    """What follows for No Finding from a verdict on Mass, in the cases that a person would name."""
    assert completed(said, current).get(NO_FINDING) is no_finding


@settings(max_examples=25)
@given(choices=st.lists(st.tuples(st.integers(0, 59), st.sampled_from(Verdict)), max_size=25))
def test_the_view_and_the_program_agree_on_what_counts(emptied, factories, choices):
    """For any reviews of findings of two readings of two images, review_list marks as newest what `show` goes by."""
    database = emptied()
    with database.write() as session:
        study = factories.make_study(session, 1)
        models = [factories.make_model(session, version=version) for version in ("1.0", "2.0")]
        for number in (1, 2):
            received = factories.make_file(session, study, number)
            for model in models:
                factories.make_inference(session, received, model, random.Random(number))
        session.flush()
        findings = session.query(Finding).order_by(Finding.id).all()
        for index, verdict in choices:
            session.add(
                Review(
                    inference=findings[index].inference,
                    label=findings[index].label,
                    verdict=verdict,
                    reviewer="x",
                    reviewed_at=NOW,
                )
            )
            session.flush()
    with database.connection() as connection:
        rows = [row for row in views.reviews(connection, study.key) if row["newest"]]
    with database.session() as session:
        counted = {review.id for labels in standing_reviews(session, study.id).values() for review in labels.values()}
    assert {row["review_id"] for row in rows if row["verdict"] != CLEARED} == counted
    assert len({(row["sop_instance_uid"], row["label"]) for row in rows}) == len(rows)


def test_the_database_refuses_an_unknown_verdict(read_study):
    """The check holds for every program that writes, not only for this one."""
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError, match="ck_review_verdict"), read_study.write() as session:
        session.add(Review(inference_id=1, label="Mass", verdict="perhaps", reviewer="x", reviewed_at=NOW))


@pytest.mark.sqlite_only("its plans")
@pytest.mark.parametrize(
    "query", ["SELECT * FROM review_list WHERE study_key = 'x'", "SELECT * FROM review_list ORDER BY review_id DESC"]
)
def test_listing_reviews_scans_no_other_table(database, query):
    """SQLite reads the reviews and finds everything else by index, later reviews of the same finding among it."""
    with database.connection() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert {step for step in plan if step.startswith("SCAN")} <= {"SCAN review"}
    later = "SEARCH later USING COVERING INDEX ix_review_inference_id_label (inference_id=? AND label=?"
    assert any(step.startswith(later) for step in plan)
