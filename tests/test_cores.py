"""How the cores are shared among decoders, readers of headers, presses and the network."""

import pytest

from agcnn_clinic import cores
from agcnn_clinic.cores import CoreShares
from agcnn_clinic.sections import Analysis


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, CoreShares(1, 2, 1, 1, 8)),
        (2, CoreShares(2, 2, 2, 2, 8)),
        (4, CoreShares(4, 2, 4, 2, 8)),
        (16, CoreShares(16, 4, 4, 4, 32)),
        (64, CoreShares(16, 4, 4, 4, 32)),
    ],
)
def test_what_the_settings_leave_open_follows_the_cores(monkeypatch, count, shares):
    """Decoders and batches grow up to sixteen cores, and the network's threads with the batches."""
    monkeypatch.setattr(cores, "usable_cores", lambda: count)
    assert Analysis().shares == shares


def test_what_the_settings_say_is_done(monkeypatch):
    """However many cores there are; what follows from a setting follows it."""
    monkeypatch.setattr(cores, "usable_cores", lambda: 16)
    said = Analysis(decode_workers=2, threads=16, batch_size=5)
    assert said.shares == CoreShares(2, 2, 2, 16, 5)
    assert Analysis(decode_workers=12).shares == CoreShares(12, 3, 4, 3, 24)
