"""The figures of an evaluation's page, as SVG that stands inside HTML: no script, no link, no font file."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agcnn_models.labels import PATHOLOGIES, display_name
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.branches import Comparison
from agcnn_training.evaluation.colours import BRANCH_COLOURS, DASHES, MARKERS
from agcnn_training.evaluation.localisation import ALL, Hit
from agcnn_training.evaluation.metrics import labelled_films, roc_curve
from agcnn_training.evaluation.page_tables import measure_name
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.results import SetResult

INK: Final = "#16191D"
MUTED: Final = "#59636E"
RULE: Final = "#C5CBD3"
PALE: Final = "#9AA7B4"
ACCENT: Final = "#0F4C6B"
"""What an evaluation is about, beside what it is compared with in `PALE`; the page's own accent."""

_WIDTH: Final = 8.4
"""Inches at 100 to the inch: the width of the page's column."""
_STYLE: Final = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 8.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
}


def area_figure(result: SetResult) -> str:
    """Each finding's area, branch by branch, with its interval; the mean at the top."""
    names = [label for label in PATHOLOGIES if label in result.branches[result.headline].score.per_label]
    lines = 1 + len(names)
    with _figure(0.3 * lines + 0.9) as (figure, drawn):
        axes = figure.subplots()
        apart = 0.5 / max(len(result.branches), 1)
        for position, (branch, found) in enumerate(result.branches.items()):
            offset = (position - (len(result.branches) - 1) / 2) * apart
            values = [found.score.mean, *(found.score.per_label[label] for label in names)]
            intervals = [found.interval, *(found.label_intervals.get(label) for label in names)]
            _whiskers(axes, values, intervals, offset, branch, branch)
        _lines(axes, ["Mean of the findings", *(display_name(label) for label in names)])
        axes.axhline(0.5, color=RULE, linewidth=0.8)
        axes.axvline(0.5, color=RULE, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_xlim(right=1.0)
        axes.set_xlabel("area under the ROC curve, 95 % interval by bootstrap over patients")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handletextpad=0.2, columnspacing=1.2)
    return drawn[0]


def difference_figure(one: Comparison) -> str:
    """How much each finding's area grows from one branch to another, with its interval."""
    names = list(one.per_label)
    with _figure(0.26 * (len(names) + 1) + 0.7) as (figure, drawn):
        axes = figure.subplots()
        values = [one.difference, *(found.difference for found in one.per_label.values())]
        intervals = [one.interval, *(one.label_intervals.get(label) for label in names)]
        _whiskers(axes, values, intervals, 0.0, one.second, None)
        _lines(axes, ["Mean of the findings", *(display_name(label) for label in names)])
        axes.axhline(0.5, color=RULE, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlabel(f"area of {one.second} minus area of {one.first}")
    return drawn[0]


def roc_figure(predictions: Predictions) -> str:
    """The ROC curve of each finding and branch."""
    columns = [
        (column, label)
        for column, label in enumerate(PATHOLOGIES)
        if len(np.unique(labelled_films(predictions.truth[:, column])[1])) == 2
    ]
    with _figure(1.75 * math.ceil(len(columns) / 5) + 0.3) as (figure, drawn):
        for axes, (column, label) in zip(_panels(figure, len(columns)), columns, strict=True):
            known, bears = labelled_films(predictions.truth[:, column])
            axes.plot((0, 1), (0, 1), color=RULE, linewidth=0.8)
            for branch, logits in predictions.logits.items():
                curve = roc_curve(bears, logits[known, column])
                axes.plot(*curve, color=BRANCH_COLOURS[branch], linestyle=DASHES[branch], linewidth=1.1, label=branch)
            axes.set(title=display_name(label), xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 1), yticks=(0, 1))
        _shared_legend(figure)
        figure.supxlabel("1 - specificity", color=MUTED, fontsize=8.5)
        figure.supylabel("sensitivity", color=MUTED, fontsize=8.5)
    return drawn[0]


def reliability_figure(result: SetResult) -> str:
    """What was said and what was true, before and after Platt's scaling."""
    labels = [label for label in PATHOLOGIES if result.positives.get(label)]
    with _figure(1.75 * math.ceil(len(labels) / 5) + 0.3) as (figure, drawn):
        for axes, label in zip(_panels(figure, len(labels)), labels, strict=True):
            states = (
                (result.before[label], PALE, "as it is"),
                (result.after[label], ACCENT, "Platt"),
            )
            highest = max(0.05, *(max(one.reliability.said.max(), one.reliability.true.max()) for one, _, _ in states))
            axes.plot((0, 1), (0, 1), color=RULE, linewidth=0.8)
            for one, colour, name in states:
                bins = one.reliability
                axes.plot(bins.said, bins.true, "o-", color=colour, linewidth=0.9, markersize=2.4, label=name)
            top = min(1.0, 1.05 * highest)
            axes.set(title=display_name(label), xlim=(0, top), ylim=(0, top), aspect="equal")
            axes.locator_params(nbins=3)
        _shared_legend(figure)
        figure.supxlabel("probability that was said", color=MUTED, fontsize=8.5)
        figure.supylabel("share that was true", color=MUTED, fontsize=8.5)
    return drawn[0]


def localisation_figure(hits: Sequence[Hit]) -> str:
    """Each measure over all lesions beside its random control."""
    shown = [hit for hit in hits if hit.label == ALL]
    with _figure(0.34 * len(shown) + 0.7) as (figure, drawn):
        axes = figure.subplots()
        lines = np.arange(len(shown))
        axes.barh(lines - 0.17, [hit.value for hit in shown], height=0.32, color=ACCENT, label="the network")
        axes.barh(lines + 0.17, [hit.control for hit in shown], height=0.32, color=PALE, label="chance")
        _lines(axes, [measure_name(hit.measure) for hit in shown])
        axes.set(xlim=(0, 1), xlabel="share of the lesions (mean IoU: its value)")
        axes.legend(loc="lower right")
    return drawn[0]


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; afterwards the list holds it as SVG."""
    drawn: list[str] = []
    # A constant salt: the same results give the same bytes.
    with style.context({**_STYLE, "svg.hashsalt": "agcnn"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, drawn
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
        content = file.getvalue()
        drawn.append(content[content.index("<svg") :])  # HTML has no place for an XML prolog


def _panels(figure: Figure, count: int) -> list[Axes]:
    """Small panels, five in a row."""
    axes = figure.subplots(math.ceil(count / 5), 5, squeeze=False).ravel()
    for empty in axes[count:]:
        empty.set_axis_off()
    return list(axes[:count])


def _shared_legend(figure: Figure) -> None:
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3, handlelength=1.4)


def _whiskers(
    axes: Axes,
    values: Sequence[float],
    intervals: Sequence[Interval | None],
    offset: float,
    branch: BranchName,
    label: str | None,
) -> None:
    colour = BRANCH_COLOURS[branch]
    lines = np.arange(len(values)) + offset
    for line, interval in zip(lines, intervals, strict=True):
        if interval is not None:
            axes.plot((interval.low, interval.high), (line, line), color=colour, linewidth=1.2, solid_capstyle="butt")
    axes.plot(values, lines, MARKERS[branch], color=colour, markersize=3.6, label=label)


def _lines(axes: Axes, names: Sequence[str]) -> None:
    """A line for each name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.spines["left"].set_visible(False)
