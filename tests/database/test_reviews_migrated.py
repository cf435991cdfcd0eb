"""Reviews of an older clinic: what migrations make of them, up and down."""

from datetime import UTC, datetime

from sqlalchemy import inspect

from agcnn_clinic.database import migrate, views
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Finding, Review
from agcnn_clinic.database.views import FindingFilter

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_reviews_come_and_go_with_their_migration(url, select, factories):
    """A database with data goes down to 0001 without its reviews, keeps all else, and up again with the table empty."""
    with open_database(url) as database:
        with database.write() as session:
            factories.make_clinic_rows(session, studies=6)
            session.add(Review(inference_id=1, label="Mass", verdict="present", reviewer="x", reviewed_at=NOW))
        with database.connection() as connection:
            findings = list(views.findings(connection, FindingFilter()))
    migrate.downgrade(url, "0001")
    with open_database(url, check_revision=False) as database, database.connection() as connection:
        left = inspect(connection)
        assert not [name for name in left.get_table_names() + left.get_view_names() if "review" in name]
    assert select(url, "SELECT count(*) AS count FROM finding_list") == [{"count": len(findings)}]
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        assert list(views.findings(connection, FindingFilter())) == findings
        assert connection.exec_driver_sql("SELECT count(*) FROM review_list").scalar() == 0


def test_reviews_that_named_their_finding_name_its_reading_and_label(url, factories):
    """A verdict of before is one of the same image and label, up and down; without a finding it is lost going down."""
    with open_database(url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=6)
        finding = session.get(Finding, 17)
        inference, label = finding.inference_id, finding.label
        session.query(Finding).filter_by(inference_id=1, label="Hernia").delete()
        for what in ((inference, label), (1, "Hernia")):
            made = {"verdict": "present", "reviewer": "x", "reviewed_at": NOW}
            session.add(Review(inference_id=what[0], label=what[1], **made))
    columns = "finding_id, inference_id, label, verdict, newest"
    for revision in ("0007", "head"):
        (migrate.downgrade if revision == "0007" else migrate.upgrade)(url, revision)
        with open_database(url, check_revision=False) as database, database.connection() as connection:
            rows = connection.exec_driver_sql(f"SELECT {columns} FROM review_list").all()
        assert [tuple(row) for row in rows] == [(17, inference, label, "present", True)]
