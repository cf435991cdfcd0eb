"""Numbers as a person reads them: on an evaluation's page, in a model card and in the tables of an experiment."""

import math
from collections.abc import Callable
from typing import Final

from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.decision import Proportion

NONE: Final = "\u2013"
"""Stands where there is no number."""


def three(value: float | None) -> str:
    """0.734, or a dash where there is no number."""
    return NONE if value is None or math.isnan(value) else f"{value:.3f}"


def signed(value: float | None, digits: int = 4) -> str:
    """+0.0031, or a dash where there is no number."""
    return NONE if value is None or math.isnan(value) else f"{value:+.{digits}f}".replace("-", "\u2212")


def span(interval: Interval | None, number: Callable[[float], str] = three) -> str:
    """0.701 to 0.766, or a dash where there is no interval."""
    if interval is None or not interval.known:
        return NONE
    return f"{number(interval.low)} to {number(interval.high)}"


def share(proportion: Proportion) -> str:
    """0.81 (0.74 to 0.87), or a dash where there is nothing to take a share of."""
    if math.isnan(proportion.value):
        return NONE
    return f"{proportion.value:.2f} ({proportion.interval.low:.2f} to {proportion.interval.high:.2f})"
