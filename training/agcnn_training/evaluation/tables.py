"""Results as long tables, for pandas, R or a spreadsheet: one row a number, with its interval where it has one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agcnn_models.labels import LABELS
from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.results import SetResult
from agcnn_training.files import csv_text, replace_text

MEAN: Final = "mean"


class Number(NamedTuple):
    """A row of metrics.csv; label "mean" is the mean over the 14 pathologies; low and high may be None."""

    set: str
    branch: str
    label: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None


def write_metrics(path: Path, sets: Mapping[str, SetResult]) -> None:
    """Write metrics.csv: set, branch, label, metric, value, low, high; empty where there is no number.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    _write(path, Number._fields, [number for name, result in sets.items() for number in numbers(name, result)])


def write_localisation(path: Path, sets: Mapping[str, SetResult]) -> None:
    """Write localisation.csv: set, label, measure, lesions, patients, value, control, difference, low, high.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    columns = ("set", "label", "measure", "lesions", "patients", "value", "control", "difference", "low", "high")
    rows = [
        (
            name,
            hit.label,
            hit.measure,
            hit.lesions,
            hit.patients,
            hit.value,
            hit.control,
            hit.difference,
            hit.interval.low,
            hit.interval.high,
        )
        for name, result in sets.items()
        if result.localisation is not None
        for hit in result.localisation.hits
    ]
    _write(path, columns, rows)


def numbers(name: str, result: SetResult) -> Iterator[Number]:
    """Every number of one set, as rows of metrics.csv."""
    yield from _branches(name, result)
    yield from _comparisons(name, result)
    headline = str(result.headline)
    for label in (one for one in LABELS if one in result.known):
        yield Number(name, headline, label, "films", result.known[label])
        yield Number(name, headline, label, "positives", result.positives[label])
        for state, found in (("", result.before[label]), ("_calibrated", result.after[label])):
            yield Number(name, headline, label, f"brier{state}", found.brier)
            yield Number(name, headline, label, f"ece{state}", found.ece)
            yield Number(name, headline, label, f"ece_equal_width{state}", found.ece_equal_width)
    for chosen, points in result.operating.items():
        for label, point in points.items():
            yield Number(name, headline, label, f"threshold:{chosen}", point.threshold)
            for metric, share in point.shares.items():
                yield _with(Number(name, headline, label, f"{metric}:{chosen}", share.value), share.interval)
    for group in result.subgroups:
        metric = f"auc:{group.attribute}={group.group}"
        yield _with(Number(name, headline, MEAN, metric, group.mean), group.interval)


def _branches(name: str, result: SetResult) -> Iterator[Number]:
    for branch, found in result.branches.items():
        yield _with(Number(name, branch, MEAN, "auc", found.score.mean), found.interval)
        for label, area in found.score.per_label.items():
            yield _with(Number(name, branch, label, "auc", area), found.label_intervals.get(label))
        for label, precision in found.average_precision.items():
            yield Number(name, branch, label, "average_precision", precision)


def _comparisons(name: str, result: SetResult) -> Iterator[Number]:
    for one in result.comparisons:
        pair = f"{one.second}-{one.first}"
        yield _with(Number(name, pair, MEAN, "auc_difference", one.difference), one.interval)
        for label, found in one.per_label.items():
            yield _with(Number(name, pair, label, "auc_difference", found.difference), one.label_intervals.get(label))
            yield Number(name, pair, label, "auc_difference_delong", found.difference, found.low, found.high)
            yield Number(name, pair, label, "delong_p", found.p)


def _with(number: Number, interval: Interval | None) -> Number:
    return number if interval is None else number._replace(low=interval.low, high=interval.high)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    replace_text(path, csv_text(columns, (map(_known, row) for row in rows)))


def _known(cell: str | float | None) -> str | float | None:
    return None if isinstance(cell, float) and math.isnan(cell) else cell
