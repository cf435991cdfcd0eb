"""The tables of an evaluation's page: numbers as a person reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.branches import Comparison
from agcnn_training.evaluation.decision import OperatingPoint
from agcnn_training.evaluation.localisation import ALL, Hit
from agcnn_training.evaluation.printed import NONE, share, signed, span, three
from agcnn_training.evaluation.results import SetResult

TOTAL: Final = "Mean"


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names its row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def finding_table(result: SetResult) -> Table:
    """Areas of each branch, and what the counted branch is worth beside the prevalence."""
    best = result.branches[result.headline]
    means = (three(branch.score.mean) for branch in result.branches.values())
    mean = (TOTAL, "", *means, span(best.interval), NONE, NONE)
    return Table(
        "",
        ("Finding", "Films with it", *result.branches, f"95 % ({result.headline})", "Average precision", "Prevalence"),
        (*(_finding_row(result, label) for label in PATHOLOGIES), mean),
    )


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """The differences of branches, finding by finding: each with its interval over patients and DeLong's p."""
    columns = [(f"{one.second} minus {one.first}", "p") for one in comparisons]
    labels = [label for label in PATHOLOGIES if label in comparisons[0].per_label]
    means = [(_difference(one.difference, one.interval), NONE) for one in comparisons]
    return Table(
        "",
        ("Finding", *chain.from_iterable(columns)),
        (
            *(
                (display_name(label), *chain.from_iterable(_compared(one, label) for one in comparisons))
                for label in labels
            ),
            (TOTAL, *chain.from_iterable(means)),
        ),
    )


def calibration_table(result: SetResult) -> Table:
    """Calibration before and after Platt's scaling."""
    return Table(
        "",
        ("Label", "ECE", "ECE, Platt", "ECE, equal widths", "the same, Platt", "Brier", "Brier, Platt"),
        tuple(
            (
                display_name(label),
                three(result.before[label].ece),
                three(result.after[label].ece),
                three(result.before[label].ece_equal_width),
                three(result.after[label].ece_equal_width),
                three(result.before[label].brier),
                three(result.after[label].brier),
            )
            for label in LABELS
            if label in result.before
        ),
    )


def decision_table(name: str, method: str, points: Mapping[str, OperatingPoint]) -> Table:
    """What one threshold set does."""
    return Table(
        f"{name}: {method}",
        ("Label", "Threshold", "Sensitivity", "Specificity", "PPV", "NPV"),
        tuple(
            (
                display_name(label),
                three(point.threshold),
                *map(share, point.shares.values()),
            )
            for label, point in points.items()
        ),
    )


def group_table(result: SetResult) -> Table:
    """The mean area within each group."""
    return Table(
        "",
        ("Group", "Films", "Patients", "Findings", "Mean AUC", "95 % over patients"),
        tuple(
            (
                one.name,
                str(one.films),
                str(one.patients),
                str(one.labels),
                three(one.mean),
                span(one.interval),
            )
            for one in result.subgroups
        ),
    )


def lesion_table(hits: Sequence[Hit]) -> Table:
    """Every measure over all lesions together."""
    return Table(
        "All lesions",
        ("Measure", "Network", "Chance", "Difference", "95 % over patients"),
        tuple(
            (
                measure_name(hit.measure),
                three(hit.value),
                three(hit.control),
                signed(hit.difference),
                span(hit.interval, signed),
            )
            for hit in hits
            if hit.label == ALL
        ),
    )


def lesion_table_by_finding(hits: Sequence[Hit]) -> Table:
    """Every measure of each finding beside chance; localisation.csv has the intervals."""
    measures = list(dict.fromkeys(hit.measure for hit in hits))
    labels = [label for label in dict.fromkeys(hit.label for hit in hits) if label != ALL]
    found = {(hit.label, hit.measure): hit for hit in hits}
    return Table(
        "By finding: the network, and chance in brackets",
        ("Finding", "Lesions", *(measure_name(measure) for measure in measures)),
        tuple(
            (
                display_name(label),
                str(found[label, measures[0]].lesions),
                *(f"{found[label, one].value:.2f} ({found[label, one].control:.2f})" for one in measures),
            )
            for label in labels
        ),
    )


def measure_name(measure: str) -> str:
    """A measure as a person reads it: "iobb>=0.25" becomes "IoBB" and a threshold."""
    named = {"iou": "mean IoU", "pointing": "pointing game"}
    written = measure.replace("iou", "IoU").replace("iobb", "IoBB").replace(">=", " \u2265 ")
    return named.get(measure, written)


def _compared(one: Comparison, label: str) -> tuple[str, str]:
    found = one.per_label[label]
    return _difference(found.difference, one.label_intervals.get(label)), _p(found.p)


def _difference(value: float, interval: Interval | None) -> str:
    number = partial(signed, digits=3)
    return f"{number(value)} ({span(interval, number)})"


def _finding_row(result: SetResult, label: str) -> tuple[str, ...]:
    best = result.branches[result.headline]
    return (
        display_name(label),
        # Of how many it is known: where each film was reviewed for some findings alone, these differ.
        f"{result.positives.get(label, 0)} of {result.known.get(label, 0)}",
        *(three(branch.score.per_label.get(label)) for branch in result.branches.values()),
        span(best.label_intervals.get(label)),
        three(best.average_precision.get(label)),
        three(result.prevalence.get(label)),
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
