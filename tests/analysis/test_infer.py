"""What a reading says of a label."""

import pytest

from agcnn_clinic.analysis.infer import LabelReading


@pytest.mark.parametrize(
    ("probability", "threshold", "positive"),
    [(0.5, 0.5, True), (0.49999, 0.5, False), (0.0, 0.0, True), (0.9, None, None)],
)
def test_a_label_is_positive_from_its_threshold_on(probability, threshold, positive):
    """The calibrated probability counts, and none of the branches'; without a threshold nothing is said."""
    others = 1 - probability
    reading = LabelReading("Mass", probability, others, others, others, threshold)
    assert reading.positive is positive
