"""doctor on the rows: what cannot be so is told."""

from datetime import UTC, datetime, timedelta

from agcnn_clinic.cli.checks_rows import times
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
        assert list(times(config)) == []
        with database.write() as session:
            factories.make_study(session, 3, received_at=now + timedelta(days=365))
        (found,) = times(config)
    assert found.state is State.REMARK
    assert found.found.startswith("1 studies came later than now")
