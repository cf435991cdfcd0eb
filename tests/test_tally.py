"""Counting a film's numbers and looking them up, strip by strip: the same as NumPy does in one go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agcnn_clinic import tally as module
from agcnn_clinic.picture import levels_of
from agcnn_clinic.tally import tally

KINDS = (np.uint8, np.uint16, np.int16, np.int32)


@pytest.fixture(params=[1, 7, 64, 2**17])
def strip(request, monkeypatch):
    """A few pixels a strip, so that small films have several, or as many as films have."""
    monkeypatch.setattr(module, "STRIP", request.param)
    return request.param


def _films(kind):
    low, high = max(np.iinfo(kind).min, -(2**15)), min(np.iinfo(kind).max, 2**16 - 1)
    shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))
    return arrays(kind, shapes, elements=st.integers(low, high))


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_it_counts_and_shows_what_numpy_does(data, kind):
    """Of any whole numbers the counts are those of `unique`, and each is shown as the table says."""
    values = data.draw(_films(kind))
    tallied = tally(values)
    there, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(tallied.numbers()[tallied.counts > 0], there)
    np.testing.assert_array_equal(tallied.counts[tallied.counts > 0], counts)
    greys = np.random.default_rng(0).random(len(tallied.counts), np.float32)
    pixels, levels = tallied.shown(greys)
    np.testing.assert_array_equal(pixels, greys[values.astype(np.int64) - tallied.lowest])
    whole = levels_of(pixels)
    np.testing.assert_array_equal(levels.of_pixels, whole.of_pixels)
    np.testing.assert_array_equal(levels.counts, whole.counts)


def test_strips_of_any_size_give_the_same(strip):
    """Rows that do not fill the last strip, and rows longer than a strip, are counted and shown once."""
    values = np.random.default_rng(1).integers(-5, 900, (53, 41)).astype(np.int16)
    tallied = tally(values)
    assert tallied.counts.sum() == values.size
    pixels, _ = tallied.shown(np.linspace(0, 1, len(tallied.counts), dtype=np.float32))
    np.testing.assert_allclose(pixels, (values - values.min()) / np.ptp(values), atol=1e-6)


def test_one_channel_of_several_needs_no_copy(strip):
    """Pixels that lie apart in memory are what they are."""
    colours = np.random.default_rng(2).integers(0, 256, (19, 23, 3)).astype(np.uint8)
    alone = tally(colours[..., 1])
    np.testing.assert_array_equal(alone.counts, tally(np.ascontiguousarray(colours[..., 1])).counts)


def test_nothing_counts_as_nothing():
    """Where all of a film is transparent there is no number, and no error."""
    tallied = tally(np.zeros(0, np.uint16))
    assert (tallied.lowest, tallied.counts.tolist()) == (0, [0])
