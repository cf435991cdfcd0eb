"""The parts of a model card that say what was measured, each with how sure it is."""

import numpy as np

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_training.data.splits import TEST, VALIDATION
from agcnn_training.evaluation.decision import OperatingPoint
from agcnn_training.evaluation.printed import share, signed, span, three
from agcnn_training.evaluation.results import Measured, SetResult


def measured_part(measured: Measured, *, cautioned: bool, not_assessed: tuple[str, ...]) -> str:
    """How good each branch is: on the test films where there are any, and on the validation films.

    Args:
        measured: the weights as stored, measured.
        cautioned: whether something has to be said of the weights that the run was given; the card says it before.
        not_assessed: labels that the network never learnt, which are not judged.
    """
    result = measured.sets[measured.reported]
    whole = len(PATHOLOGIES) - len(result.skipped)
    skipped = [label for label in result.skipped if label not in not_assessed]
    left_out = f" Without both outcomes, so left out: {', '.join(skipped)}." if skipped else ""
    left_out += f" Not assessed, so left out: {', '.join(not_assessed)}." if not_assessed else ""
    caution = (
        "These films chose nothing: neither epochs, nor thresholds, nor calibration."
        if measured.reported == TEST
        else "These films also chose the epochs, so expect a little less on new ones."
    )
    before = " Its initial weights may have met them, though: see above." if cautioned else ""
    again = (
        f" (over draws in which each of these has both outcomes; {result.drawn_again:,} without were drawn again)"
        if result.drawn_again
        else ""
    )
    introduction = (
        f"Area under the ROC curve, mean over {_pathologies(whole)}, on the {result.films} {measured.reported} films "
        f"of {result.patients} patients, read with the weights as stored.{left_out} The intervals are 95 % by "
        f"bootstrap over patients{again}. {caution}{before}"
    )
    paragraphs = ["## What was measured", introduction, _means(result)]
    if measured.reported == TEST:
        validation = measured.sets[VALIDATION]
        paragraphs += [f"On the {validation.films} validation films, which chose them:", _means(validation)]
    paragraphs += [*_differences(result), _labels(result)]
    return "\n\n".join(paragraphs)


def _pathologies(number: int) -> str:
    return "one pathology" if number == 1 else f"the {number} pathologies"


def calibration_part(measured: Measured, not_assessed: tuple[str, ...]) -> str:
    """How far its probabilities and thresholds can be trusted.

    Args:
        measured: the weights as stored, measured.
        not_assessed: labels that the network never learnt.
    """
    result = measured.sets[measured.reported]
    before, after = (float(np.mean([one.ece for one in state.values()])) for state in (result.before, result.after))
    names = [chosen.set_id for chosen in measured.decision.threshold_sets]
    tables = [
        f"Threshold set `{name}` on the {measured.reported} films:\n\n"
        "| label | threshold | sensitivity | specificity | PPV | NPV |\n|---|---:|---|---|---|---|\n"
        + "\n".join(_point(label, result.operating[name][label]) for label in LABELS if label in result.operating[name])
        for name in names
    ]
    fitted = (
        " Calibration and thresholds were fitted to these very films, so all of this flatters them."
        if measured.reported == VALIDATION
        else " Calibration and thresholds were fitted on the validation films."
    )
    introduction = (
        f"Expected calibration error of the {result.headline} branch, mean over the labels: {before:.3f} as it is, "
        f"{after:.3f} after Platt's scaling (bins of equally many films).{fitted} The intervals are Wilson's at "
        "the effective number of films, since films of one patient resemble each other; PPV and NPV hold where "
        "findings are as frequent as here."
    )
    scales = measured.decision.scales
    undecided = [display_name(label) for label in LABELS if label not in scales and label not in not_assessed]
    uncalibrated = (
        f"Uncalibrated and without a threshold, since the validation films have one outcome only: "
        f"{', '.join(undecided)}. Their probabilities are the {result.headline} branch's output as it stands, and the "
        "model never calls them positive."
    )
    parts = ("## Probabilities and thresholds", introduction, *([uncalibrated] if undecided else []), *tables)
    return "\n\n".join(parts)


def subgroup_part(result: SetResult) -> str:
    """Whether it reads all kinds of films alike."""
    if not result.subgroups:
        return "## Groups\n\nSex, age and view of these films are unknown, so nothing can be said of groups."
    rows = "\n".join(
        f"| {one.name} | {one.films} | {one.patients} | {one.labels} | {three(one.mean)} | {span(one.interval)} |"
        for one in result.subgroups
    )
    return (
        "## Groups\n\n"
        f"Mean AUC of the {result.headline} branch within each group, over the pathologies that the group can be "
        "judged on; groups of fewer than 100 patients are marked small, and say little. Groups differ in how ill "
        "their patients are, so a difference is a reason to look, not yet unfairness.\n\n"
        "| group | films | patients | findings | mean AUC | 95 % interval |\n|---|---:|---:|---:|---:|---|\n"
        f"{rows}"
    )


def _means(result: SetResult) -> str:
    rows = "\n".join(
        f"| {name} | {branch.score.mean:.3f} | {span(branch.interval)} |" for name, branch in result.branches.items()
    )
    return f"| branch | mean AUC | 95 % interval |\n|---|---:|---|\n{rows}"


def _differences(result: SetResult) -> list[str]:
    """What the fusion adds to the global branch, where there is one."""
    return [
        f"Fusion minus global: {signed(one.difference)} ({span(one.interval, signed)}), from the "
        "same draws of patients for both."
        + (" The interval includes zero." if one.interval.low <= 0 <= one.interval.high else "")
        for one in result.comparisons
        if one.is_gain and one.interval.known
    ]


def _labels(result: SetResult) -> str:
    head = " | ".join(result.branches)
    best = result.branches[result.headline]
    rows = "\n".join(
        f"| {display_name(label)} | "
        + " | ".join(three(branch.score.per_label.get(label)) for branch in result.branches.values())
        + f" | {span(best.label_intervals.get(label))} | {three(best.average_precision.get(label))} "
        f"| {three(result.prevalence.get(label))} |"
        for label in PATHOLOGIES
    )
    return (
        f"| finding | {head} | 95 % interval ({result.headline}) | average precision | prevalence |\n"
        f"|---|{'---:|' * len(result.branches)}---|---:|---:|\n{rows}\n\n"
        f"Average precision is the {result.headline} branch's; a random score gets the prevalence. A finding that "
        "fewer than two patients have carries no interval, and its area says little."
    )


def _point(label: str, point: OperatingPoint) -> str:
    shares = " | ".join(map(share, point.shares.values()))
    return f"| {display_name(label)} | {three(point.threshold)} | {shares} |"
