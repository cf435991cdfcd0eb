"""Results as files: ``results.json`` and the predictions of each set, in a run's folder."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from agcnn_training.data.source import Dataset
from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.branches import BranchResult, Comparison
from agcnn_training.evaluation.decision import OperatingPoint
from agcnn_training.evaluation.localisation import Localisation
from agcnn_training.evaluation.results import Measured, SetResult
from agcnn_training.files import replace_text
from agcnn_training.recipe import Recipe

RESULTS_FILE: Final = "results.json"

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | int | bool | None"


def write_results(folder: Path, measured: Measured, recipe: Recipe, dataset: Dataset) -> None:
    """Write ``results.json`` and ``predictions-<set>.npz`` into a run's folder.

    Args:
        folder: of the run.
        measured: what to write.
        recipe: of the run.
        dataset: that it trained on.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    for name, predictions in measured.predictions.items():
        predictions.save(folder / f"predictions-{name}.npz")
    content: dict[str, Json] = {
        "recipe": recipe.name,
        "version": recipe.version,
        "seed": recipe.seed,
        "split": _split_json(dataset),
        "sets": as_json(measured.sets),
    }
    write_json(folder / RESULTS_FILE, content)


def as_json(sets: Mapping[str, SetResult]) -> dict[str, Json]:
    """The results as JSON holds them."""
    return {name: _set_json(result) for name, result in sets.items()}


def write_json(path: Path, content: Json) -> None:
    """Write JSON whole or not at all; what is no number is null.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    replace_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _split_json(dataset: Dataset) -> dict[str, Json]:
    """Films and patients on each side of a split, and how many patients each two sides share."""
    sides = dataset.split.sides
    return {
        "films": {name: len(chosen) for name, chosen in sides.items()},
        "patients": {name: len({dataset.rows[index].patient for index in chosen}) for name, chosen in sides.items()},
        "overlap": {f"{one}-{other}": shared for (one, other), shared in dataset.split.overlap.items()},
    }


def _set_json(result: SetResult) -> dict[str, Json]:
    return {
        "films": result.films,
        "patients": result.patients,
        "positives": dict(result.positives),
        "known": dict(result.known),
        "branches": {name: _branch_json(branch) for name, branch in result.branches.items()},
        "drawn_again": result.drawn_again,
        "differences": [_comparison_json(one) for one in result.comparisons],
        "calibration": {
            state: {
                label: {"brier": one.brier, "ece": one.ece, "ece_equal_width": one.ece_equal_width}
                for label, one in labels.items()
            }
            for state, labels in (("before", result.before), ("after", result.after))
        },
        "thresholds": {
            name: {label: _point_json(point) for label, point in points.items()}
            for name, points in result.operating.items()
        },
        "subgroups": [
            {
                "attribute": one.attribute,
                "group": one.group,
                "films": one.films,
                "patients": one.patients,
                "labels": one.labels,
                "mean_auc": one.mean,
                "ci": _bounds(one.interval),
            }
            for one in result.subgroups
        ],
        "localisation": None if result.localisation is None else _localisation_json(result.localisation),
    }


def _branch_json(branch: BranchResult) -> dict[str, Json]:
    return {
        "mean_auc": branch.score.mean,
        "ci": _bounds(branch.interval),
        "auc": dict(branch.score.per_label),
        "auc_ci": {label: _bounds(interval) for label, interval in branch.label_intervals.items()},
        "average_precision": dict(branch.average_precision),
    }


def _comparison_json(one: Comparison) -> dict[str, Json]:
    return {
        "first": one.first,
        "second": one.second,
        "mean_auc": one.difference,
        "ci": _bounds(one.interval),
        "auc": {label: found.difference for label, found in one.per_label.items()},
        "auc_ci": {label: _bounds(interval) for label, interval in one.label_intervals.items()},
        "delong_ci": {label: [found.low, found.high] for label, found in one.per_label.items()},
        "delong_p": {label: found.p for label, found in one.per_label.items()},
    }


def _point_json(point: OperatingPoint) -> dict[str, Json]:
    return {
        "threshold": point.threshold,
        **{name: {"value": share.value, "ci": _bounds(share.interval)} for name, share in point.shares.items()},
    }


def _localisation_json(found: Localisation) -> dict[str, Json]:
    return {
        "lesions": found.lesions,
        "films": found.films,
        "outside_the_field": found.lost,
        "partly_outside": found.cut,
        "attended_share": found.attended,
        "measures": [
            {
                "label": hit.label,
                "measure": hit.measure,
                "lesions": hit.lesions,
                "patients": hit.patients,
                "value": hit.value,
                "control": hit.control,
                "difference": hit.difference,
                "ci": _bounds(hit.interval),
            }
            for hit in found.hits
        ],
    }


def _bounds(interval: Interval) -> list[Json]:
    return [interval.low, interval.high]


def _finite(value: Json) -> Json:
    """The same with null for every NaN, which JSON does not have."""
    match value:
        case Mapping():
            return {key: _finite(each) for key, each in value.items()}
        case str():
            return value
        case Sequence():
            return [_finite(each) for each in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
