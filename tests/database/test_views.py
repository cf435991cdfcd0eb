"""The views: what they hold, and that filters choose as a plain loop over all rows would."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, select, text

from agcnn_clinic.database import views
from agcnn_clinic.database.queries import study_detail
from agcnn_clinic.database.tables import Finding, Study
from agcnn_clinic.database.views import FindingFilter, StudyFilter
from agcnn_clinic.domain import Outcome, StudyState
from agcnn_clinic.errors import UsageError

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def newest_first(row):
    return -row["inference_id"], row["finding_id"]


def iso(moment):
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture(scope="module")
def all_findings(filled):
    with filled.connection() as connection:
        return list(views.findings(connection, FindingFilter()))


@pytest.fixture(scope="module")
def all_studies(filled):
    with filled.connection() as connection:
        return list(views.studies(connection, StudyFilter(), now=NOW, quiet_seconds=30))


def test_the_documented_columns_are_those_of_the_views(filled):
    """Each view has the columns that `views` documents, in that order, each with a sentence."""
    with filled.connection() as connection:
        for view in (views.finding_list, views.study_summary, views.review_list):
            found = [column["name"] for column in inspect(connection).get_columns(view.name)]
            assert found == [column.name for column in view.columns]
            assert all(column.comment and column.comment.endswith(".") for column in view.columns)


def test_finding_list_equals_the_tables(filled, all_findings):
    """Each row of finding_list holds what the objects of its finding hold, and no finding is missing or twice."""
    with filled.session() as session:
        expected = {}
        for finding in session.scalars(select(Finding)):
            inference = finding.inference
            file = inference.file
            study = file.instance.study
            expected[finding.id] = {
                "finding_id": finding.id,
                "inference_id": inference.id,
                "file_id": file.id,
                "study_key": study.key,
                **{
                    name: getattr(study, name)
                    for name in (
                        *("study_instance_uid", "patient_id", "patient_name", "patient_sex", "patient_birth_date"),
                        *("accession_number", "study_date"),
                    )
                },
                "series_instance_uid": file.instance.series_instance_uid,
                "sop_instance_uid": file.instance.sop_instance_uid,
                "view_position": file.header["view_position"],
                **{
                    name: getattr(finding, name)
                    for name in (
                        *("label", "probability", "threshold", "positive"),
                        *("probability_global", "probability_local", "probability_fusion"),
                    )
                },
                "model_name": inference.model.name,
                "model_version": inference.model.version,
                "weights_sha256": inference.model.weights_sha256,
                "thresholds_id": inference.thresholds_id,
                "software_version": inference.software_version,
                "created_at": iso(inference.created_at),
                "beside": inference.beside,
            }
    assert len(expected) > 300
    assert {row["finding_id"]: row for row in all_findings} == expected
    assert len(all_findings) == len(expected)


def test_the_newest_reading_comes_first(filled, all_findings):
    """`findings` gives readings backwards, labels forwards; a plain SELECT the same rows, and in SQLite that order."""
    assert all_findings == sorted(all_findings, key=newest_first)
    with filled.connection() as connection:
        plain = connection.execute(text("SELECT * FROM finding_list")).mappings().all()
        ordered = connection.dialect.name == "sqlite"
    found = [dict(row) for row in plain]
    assert (found if ordered else sorted(found, key=newest_first)) == all_findings


def test_study_summary_equals_the_tables(filled, all_studies):
    """Each row of study_summary counts the study's files and has the highest probabilities of readings that count."""
    with filled.session() as session:
        for row, study in zip(all_studies, session.scalars(select(Study).order_by(Study.id.desc())), strict=True):
            files = [file for instance in study.instances for file in instance.files]
            own = [[reading for reading in file.inferences if not reading.beside] for file in files]
            newest = [readings[-1] for readings in own if readings]
            findings = [finding for inference in newest for finding in inference.findings]
            assert (row["study_id"], row["study_key"], row["revision"]) == (study.id, study.key, study.revision)
            assert (row["patient_name"], row["study_date"]) == (study.patient_name, study.study_date)
            assert row["first_received_at"] == iso(study.first_received_at)
            assert row["instances"] == len(study.instances)
            for outcome in set(Outcome) - {Outcome.UNPACKED}:  # an archive belongs to no study
                assert row[f"files_{outcome}"] == sum(file.outcome == outcome for file in files)
            for label, column in views.LABEL_COLUMNS.items():
                assert row[column] == max((f.probability for f in findings if f.label == label), default=None)
            assert row["positive_labels"] == ("|".join(sorted({f.label for f in findings if f.positive})) or None)
            report = study.reports[-1] if study.reports else None
            assert (row["report_version"], row["report_path"]) == (
                (report.version, report.path) if report else (None, None)
            )
            assert row["report_created_at"] == (report and iso(report.created_at))


def test_a_report_replaced_by_a_newer_one_is_not_listed(database, factories):
    """study_summary has one row for a study with three reports, and names the newest."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        for version in (1, 2, 3):
            factories.make_report(session, study, version)
    with database.connection() as connection:
        (row,) = views.studies(connection, StudyFilter(), now=NOW, quiet_seconds=30)
    assert row["report_version"] == 3


def test_the_newest_reading_of_an_image_replaces_an_older_one(database, factories):
    """A label that only an older model called positive is not in the summary, though its finding stays in the list."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = factories.make_file(session, study, 1)
        for version, probability in (("1.0", 0.9), ("2.0", 0.1)):
            model = factories.make_model(session, "starter", version)
            inference = factories.make_inference(session, file, model, random.Random(0))
            session.flush()
            for finding in inference.findings:
                finding.probability, finding.positive = probability, probability > 0.5
    with database.connection() as connection:
        (row,) = views.studies(connection, StudyFilter(), now=NOW, quiet_seconds=30)
        positive = list(views.findings(connection, FindingFilter(positive=True)))
    assert (row["effusion"], row["positive_labels"]) == (0.1, None)
    assert {finding["model_version"] for finding in positive} == {"1.0"}


def test_what_stands_beside_is_in_the_list_and_not_in_the_summary(database, factories):
    """The summary keeps the reading that counts and the clinic's own report, whatever was asked for besides."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = factories.make_file(session, study, 1)
        for name, beside, probability in (("own", False, 0.2), ("other", True, 0.9)):
            inference = factories.make_inference(
                session, file, factories.make_model(session, name), random.Random(0), beside=beside
            )
            for finding in inference.findings:
                finding.probability, finding.positive = probability, probability > 0.5
        factories.make_report(session, study, 1)
        factories.make_file(session, study, 2)
        factories.make_report(session, study, 2).model = inference.model
    with database.connection() as connection:
        (row,) = views.studies(connection, StudyFilter(), now=NOW, quiet_seconds=30)
        listed = list(views.findings(connection, FindingFilter(label="Mass")))
    assert (row["mass"], row["positive_labels"]) == (0.2, None)
    assert (row["report_version"], row["report_revision"], row["revision"]) == (1, 1, 2)
    assert row["state"] == StudyState.READ
    assert {(one["model_name"], one["beside"]) for one in listed} == {("own", False), ("other", True)}
    with database.session() as session:
        detail = study_detail(session, session.get_one(Study, 1), now=NOW, quiet_seconds=30)
    assert detail.state == row["state"]


def finding_filters(rows):
    """Filters that often fit some of the rows, and sometimes none."""

    def some(name):
        return st.none() | st.sampled_from(sorted({row[name] for row in rows} | {"nothing%"}))

    days = st.none() | st.dates(date(2025, 11, 20), date(2026, 2, 10))
    probability = st.none() | st.floats(0, 1) | st.sampled_from([row["probability"] for row in rows])
    return st.builds(
        FindingFilter,
        label=st.none() | st.sampled_from(tuple(views.LABEL_COLUMNS)),
        positive=st.none() | st.booleans(),
        min_probability=probability,
        max_probability=probability,
        date_from=days,
        date_to=days,
        patient=some("patient_id"),
        accession=some("accession_number"),
        model=some("model_name") | st.sampled_from(["starter@1.0", "large@1.0", rows[0]["weights_sha256"][:10]]),
        study=some("study_key"),
    )


def fits(row, wanted):
    """The filter, said again as plainly as possible."""
    model = (row["model_name"], f"{row['model_name']}@{row['model_version']}")
    return all(
        (
            wanted.label is None or row["label"] == wanted.label,
            wanted.positive is None or row["positive"] is wanted.positive,
            wanted.min_probability is None or row["probability"] >= wanted.min_probability,
            wanted.max_probability is None or row["probability"] <= wanted.max_probability,
            wanted.date_from is None or row["study_date"] >= str(wanted.date_from),
            wanted.date_to is None or "" < row["study_date"] <= str(wanted.date_to),
            wanted.patient is None or row["patient_id"] == wanted.patient,
            wanted.accession is None or row["accession_number"] == wanted.accession,
            wanted.model is None or wanted.model in model or row["weights_sha256"].startswith(wanted.model),
            wanted.study is None or row["study_key"] == wanted.study,
        )
    )


@settings(max_examples=150)
@given(data=st.data(), limit=st.none() | st.integers(0, 60))
def test_filters_choose_as_a_loop_would(filled, all_findings, data, limit):
    """For any filter, `findings` gives what a loop over all rows keeps, in the same order, cut at the limit."""
    wanted = data.draw(finding_filters(all_findings))
    with filled.connection() as connection:
        found = list(views.findings(connection, wanted, limit=limit))
    assert found == [row for row in all_findings if fits(row, wanted)][:limit]


@settings(max_examples=60)
@given(
    state=st.none() | st.sampled_from([str(state) for state in StudyState]),
    first=st.none() | st.dates(date(2025, 11, 20), date(2026, 2, 10)),
    last=st.none() | st.dates(date(2025, 11, 20), date(2026, 2, 10)),
    patient=st.none() | st.sampled_from(["P0001", "P0007", "P00%"]),
)
def test_study_filters_choose_as_a_loop_would(filled, all_studies, state, first, last, patient):
    """For any filter, `studies` gives what a loop over all rows keeps, in the same order."""
    wanted = StudyFilter(state=state, date_from=first, date_to=last, patient=patient)
    with filled.connection() as connection:
        found = list(views.studies(connection, wanted, now=NOW, quiet_seconds=30))
    assert found == [
        row
        for row in all_studies
        if (state is None or row["state"] == state)
        and (first is None or row["study_date"] >= str(first))
        and (last is None or "" < row["study_date"] <= str(last))
        and (patient is None or row["patient_id"] == patient)
    ]


def test_a_study_without_a_date_is_in_no_range(database, factories):
    """An unknown study date is neither before nor after any day."""
    with database.write() as session:
        factories.make_study(session, 1, study_date="")
    with database.connection() as connection:
        for wanted in (StudyFilter(date_from=date(1900, 1, 1)), StudyFilter(date_to=date(2100, 1, 1))):
            assert not list(views.studies(connection, wanted, now=NOW, quiet_seconds=30))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Effusion", "Effusion"),
        ("EFFUSION", "Effusion"),
        ("pleural thickening", "Pleural_Thickening"),
        ("Pleural-Thickening", "Pleural_Thickening"),
        (" no_finding ", "No Finding"),
    ],
)
def test_labels_are_understood_as_people_write_them(text, label):
    """Case, spaces, hyphens and underscores make no difference."""
    assert views.label_named(text) == label


def test_an_unknown_label_lists_those_there_are():
    """A label that does not exist is a usage error that lists the fifteen."""
    with pytest.raises(UsageError, match=r"atelectasis, .*no_finding"):
        views.label_named("Fracture")


def test_quotes_are_only_text(filled):
    """Text that would be SQL if it were pasted into a statement is a value like any other."""
    with filled.connection() as connection:
        for hostile in ("' OR 1=1 --", '"; DROP TABLE study; --', "%", "_"):
            for wanted in (FindingFilter(patient=hostile), FindingFilter(model=hostile), FindingFilter(study=hostile)):
                assert not list(views.findings(connection, wanted))


@pytest.mark.parametrize("days", [0, 1, 28, 29, 400])
def test_a_range_of_dates_holds_its_first_and_its_last_day(filled, all_studies, days):
    """However long it is, and whether it is asked for day by day or from end to end; a range of none holds nothing."""
    known = sorted({row["study_date"] for row in all_studies} - {""})
    first = date.fromisoformat(known[0])
    last = first + timedelta(days=days - 1)
    with filled.connection() as connection:
        found = views.studies(connection, StudyFilter(date_from=first, date_to=last), now=NOW, quiet_seconds=30)
        assert {row["study_date"] for row in found} == {day for day in known if day <= last.isoformat()}
