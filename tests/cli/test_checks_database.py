"""doctor on the database: what cannot be so is told."""

from datetime import UTC, datetime, timedelta

import pytest

from agcnn_clinic.cli.checks_database import tables, times
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database


def test_studies_that_came_later_than_now_are_remarked_on(tmp_path, new_clinic, factories):
    """One that came by a clock a year ahead is counted; one of a moment ago, or by a clock a minute ahead, is not."""
    new_clinic(tmp_path / "clinic")
    config = load_config(tmp_path / "clinic" / "config.toml")
    now = datetime.now(UTC)
    with open_database(config.database_url) as database:
        with database.write() as session:
            factories.make_study(session, 1, received_at=now)
            factories.make_study(session, 2, received_at=now + timedelta(minutes=1))
        assert list(times(database)) == []
        with database.write() as session:
            factories.make_study(session, 3, received_at=now + timedelta(days=365))
        (found,) = times(database)
    assert found.state is State.REMARK
    assert found.found.startswith("1 study came later than now")


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE claim", "claim"),
        ("DROP VIEW review_list", "review_list"),
        ("ALTER TABLE study DROP COLUMN study_time", "study.study_time"),
    ],
)
def test_a_database_that_lacks_a_part_is_not_well(tmp_path, new_clinic, execute, statement, missing):
    """A table, a view or a column that somebody has dropped, whatever the revision says; a whole one is not told of."""
    new_clinic(tmp_path / "clinic")
    config = load_config(tmp_path / "clinic" / "config.toml")
    with open_database(config.database_url) as database:
        assert list(tables(database)) == []
    execute(config.database_url, statement)
    with open_database(config.database_url) as database:
        (found,) = tables(database)
    assert found.state is State.PROBLEM
    assert found.found.endswith(f": {missing}")
