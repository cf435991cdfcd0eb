"""How SQLite goes about the questions that the commands ask: by which index, in which order."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event

from agcnn_clinic.database import views
from agcnn_clinic.database.views import FindingFilter, StudyFilter
from agcnn_clinic.domain import StudyState

pytestmark = pytest.mark.sqlite_only("its plans")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM finding_list ORDER BY inference_id DESC, finding_id LIMIT 9",
        "SELECT * FROM finding_list WHERE patient_id = 'x'",
        "SELECT * FROM finding_list WHERE study_key = 'x'",
        "SELECT * FROM finding_list WHERE label = 'Mass' AND probability > 0.99",
        "SELECT * FROM study_summary WHERE study_key = 'x'",
        "SELECT * FROM study_summary ORDER BY study_id DESC LIMIT 9",
    ],
)
def test_no_query_reads_whole_tables(database, query):
    """SQLite answers the daily questions from indexes: no table is scanned inside another, and no label for a study."""
    with database.connection() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    scans = [step for step in plan if step.startswith("SCAN") and step != "SCAN positive"]
    assert scans in ([], ["SCAN study"], ["SCAN finding USING INDEX sqlite_autoindex_finding_1"])
    if "study_summary" in query:
        wrong = ("ix_finding_label_inference_id (label=?)", "ix_received_file_outcome")
        assert not any(index in step for step in plan for index in wrong)


@pytest.mark.parametrize("days", [1, 7, 28])
@pytest.mark.parametrize("more", [{}, {"label": "Mass"}, {"label": "Mass", "positive": True}])
def test_findings_of_a_few_days_come_from_the_index_of_days(database, days, more):
    """In the middle of many years, too: no finding of another day is read on the way to them."""
    first = date(2024, 2, 20)
    asked = []
    event.listen(database._engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    wanted = FindingFilter(date_from=first, date_to=first + timedelta(days=days - 1), **more)
    with database.connection() as connection:
        list(views.findings(connection, wanted, limit=101))
        statement, parameters = asked[-1]
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert plan[0] == "SEARCH study USING INDEX ix_study_study_date (study_date=?)"


@pytest.mark.parametrize("wanted", ["", "AND positive IS 1", "AND probability >= 0.5", "AND positive IS 0"])
def test_findings_of_a_label_come_from_the_index_in_the_order_in_which_they_are_shown(database, wanted):
    """A hundred of a million are shown without sorting the million."""
    order = "ORDER BY inference_id DESC, finding_id LIMIT 101"
    query = f"SELECT * FROM finding_list WHERE label = 'Mass' {wanted} {order}"
    with database.connection() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert plan[0] == "SEARCH finding USING INDEX ix_finding_label_inference_id (label=?)"
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_studies_that_are_receiving_come_from_the_indexes_of_what_is_new(database):
    """Those with a pending file and those of the last half minute, and not all studies of the years."""
    asked = []
    event.listen(database._engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    wanted = StudyFilter(state=StudyState.RECEIVING)
    with database.connection() as connection:
        list(views.studies(connection, wanted, now=datetime(2026, 6, 1, tzinfo=UTC), quiet_seconds=30, limit=101))
        statement, parameters = asked[-1]
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert plan[0] == "SEARCH study USING INTEGER PRIMARY KEY (rowid=?)"
    assert (
        "SEARCH study USING COVERING INDEX ix_study_last_received_at (last_received_at>? AND last_received_at<?)"
        in plan
    )
