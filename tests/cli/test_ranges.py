"""What a person names as a moment, where clocks are set twice a year."""

import time
from datetime import UTC, datetime

import pytest

from agcnn_clinic.cli.ranges import in_utc, moment


@pytest.fixture
def in_berlin():
    """This process is there for the length of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("named", "earliest", "latest"),
    [
        ("2026-06-01T12:00", "10:00", "10:00"),
        ("2026-10-25T02:30", "00:30", "01:30"),
        ("2026-03-29T02:30", "00:30", "01:30"),
    ],
    ids=["once", "twice", "never"],
)
def test_a_range_has_all_that_a_time_of_day_may_mean(named, earliest, latest):
    """In the night in which the clocks are set back it comes twice, in the other one not at all."""
    read = [in_utc(moment(named), latest=which) for which in (False, True)]
    assert [f"{one:%H:%M}" for one in read] == [earliest, latest]
    assert {one.tzinfo for one in read} == {UTC}
    assert {one.date() for one in read} == {datetime.fromisoformat(named).date()}
