"""Batches are taken one after another, and the next one is copied before one gets its rows."""

import pytest
from drops import text

from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.faults import FaultPoint

NAMES = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"]


@pytest.fixture
def dropped(desk, monkeypatch):
    """Five files in the inbox, which come in batches of two, two and one."""
    monkeypatch.setattr("agcnn_clinic.intake.inbox.BATCH", 2)
    for size, name in enumerate(NAMES, start=10):
        text(desk.config.inbox / name, size)
    return desk


def test_the_next_batch_is_copied_before_one_gets_its_rows(dropped, at_point):
    """So children have its headers to read while this process writes rows; and never more than one batch waits."""
    seen = []

    def look() -> None:
        seen.append((len(dropped.left_half_copied()), len(dropped.rows())))

    at_point(FaultPoint.ARRIVALS_COMMITTED, look, passage=None)
    assert dropped.new_inbox().sweep() == (5, None)
    assert seen == [(2, 2), (1, 4), (0, 5)]
    assert sorted(row.original_name for row in dropped.rows()) == NAMES


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_where_a_batch_fails_the_one_that_was_begun_after_it_is_left_as_it_was(dropped, at_point, batch):
    """The database goes away while a batch is written: what is not committed lies in the inbox, and nowhere else."""

    def fail() -> None:
        raise DatabaseUnavailableError("it is away")

    at_point(FaultPoint.ARRIVALS_WRITTEN, fail, passage=batch)
    with pytest.raises(DatabaseUnavailableError):
        dropped.new_inbox().sweep()
    assert (len(dropped.rows()), len(dropped.waiting())) == (2 * (batch - 1), 5 - 2 * (batch - 1))
    assert dropped.left_half_copied() == []
    dropped.new_inbox().sweep()
    assert (len(dropped.rows()), dropped.waiting()) == (5, [])


def test_a_stop_lets_what_is_begun_get_its_rows(dropped, at_point):
    """It comes while the first batch is written: the second one is copied already, and the third is not begun."""
    heard = []
    at_point(FaultPoint.ARRIVALS_WRITTEN, lambda: heard.append(True))
    inbox = dropped.new_inbox()
    assert inbox.sweep(lambda: bool(heard))[0] == 4
    assert (len(dropped.waiting()), inbox.left_behind, dropped.left_half_copied()) == (1, 1, [])
