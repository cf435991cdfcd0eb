"""Where a study stands: in SQL as in Python."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_clinic.database import views
from agcnn_clinic.database.queries import study_detail
from agcnn_clinic.database.tables import Study
from agcnn_clinic.database.views import StudyFilter
from agcnn_clinic.domain import ReasonCode, StudyState

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def study_and_state(database, factories, reasons, reported, age) -> tuple[int, str]:
    """Make the only study, with files that ended so, and give its id and where it stands by `studies`."""
    with database.write() as session:
        study = factories.make_study(session, 1, received_at=NOW - timedelta(seconds=age))
        for number, reason in enumerate(reasons):
            factories.make_file(session, study, number, reason)
        if reported is not None:
            factories.make_report(session, study).study_revision = reported
    with database.connection() as connection:
        (row,) = views.studies(connection, StudyFilter(), now=NOW, quiet_seconds=30)
    return study.id, row["state"]


def state_in_python(database, study) -> StudyState:
    """Where the study stands by `queries.study_state`."""
    with database.session() as session:
        return study_detail(session, session.get_one(Study, study), now=NOW, quiet_seconds=30).state


@settings(max_examples=40)
@given(
    reasons=st.lists(
        st.sampled_from([None, ReasonCode.READ, ReasonCode.WRONG_VIEW, ReasonCode.BLANK, ReasonCode.SAME_BYTES]),
        max_size=3,
    ),
    reported=st.none() | st.integers(0, 4),
    age=st.sampled_from([0.0, 29.999999, 30.0, 31.0, 1e6, -30.0, -30.000001, -1e6]),
)
def test_the_state_is_the_same_in_sql_and_in_python(emptied, factories, reasons, reported, age):
    """The state that `studies` computes in SQL is that of `queries.study_state` for all there can be of a study."""
    database = emptied()
    study, found = study_and_state(database, factories, reasons, reported, age)
    assert found == state_in_python(database, study)


@pytest.mark.parametrize(
    ("reasons", "reported", "age", "state"),
    [
        ([], None, 10, StudyState.RECEIVING),
        ([], None, 60, StudyState.NOT_READ),
        ([], None, -10, StudyState.RECEIVING),
        ([ReasonCode.READ], None, -31_536_000, StudyState.READ),
        ([None, ReasonCode.READ], None, 60, StudyState.RECEIVING),
        ([ReasonCode.READ], None, 60, StudyState.READ),
        ([ReasonCode.READ], 1, 60, StudyState.REPORTED),
        ([ReasonCode.READ, ReasonCode.READ], 1, 60, StudyState.READ),
        ([ReasonCode.WRONG_VIEW], None, 60, StudyState.NOT_READ),
    ],
)
def test_states_worked_by_hand(database, factories, reasons, reported, age, state):
    """Where a study stands, for the cases that a person would name."""
    study, found = study_and_state(database, factories, reasons, reported, age)
    assert found == state_in_python(database, study) == state
