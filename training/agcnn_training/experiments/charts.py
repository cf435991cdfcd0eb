"""Figures of numbers: tables as dots with intervals, ROC curves (Fig. 5 and 6), areas against tau (Fig. 8 and 9)."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType
from numpy.typing import NDArray

from agcnn_models.labels import PATHOLOGIES, display_name
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.colours import BLACK, BRANCH_COLOURS, DASHES, MARKERS, PALETTE
from agcnn_training.evaluation.metrics import area_under_curve, labelled_films, roc_curve
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.experiments.outcomes import OverSeeds
from agcnn_training.experiments.style import GREY, PALE, new_figure, plain
from agcnn_training.experiments.tables import Cell, Table, TableRow

_TITLES: Final = {BranchName.GLOBAL: "global", BranchName.LOCAL: "local", BranchName.FUSION: "fusion (AG-CNN)"}

_ACROSS: Final = 4
"""Panels in a row, and rows."""


def dot_chart(table: Table) -> Figure:
    """A line a row: ours as dots with their intervals and each seed as a speck, the paper's as hollow diamonds."""
    branches = list(enumerate(table.branches))
    figure = new_figure(7.2, 1.4 + (0.52 if branches else 0.36) * len(table.rows))
    axes = figure.add_subplot()
    for place, row in enumerate(table.rows):
        if branches:
            for offset, (column, branch) in zip((-0.24, 0, 0.24), branches, strict=True):
                _dot(axes, place + offset, row.cells[column], BRANCH_COLOURS[branch], MARKERS[branch])
        else:
            _dot(axes, place, row.cells[-1], BRANCH_COLOURS[BranchName.GLOBAL], "o")
    axes.set_yticks(range(len(table.rows)), [", ".join(row.heads) for row in table.rows])
    axes.set_ylim(len(table.rows) - 0.4, -0.6)
    axes.set_xlabel(f"mean AUC over {_averaged(table.rows)}, {table.films} films")
    plain(axes)
    axes.grid(visible=False, axis="y")
    named = [_key(_TITLES[branch], BRANCH_COLOURS[branch], MARKERS[branch]) for _, branch in branches]
    ours = named or [_key("here", BRANCH_COLOURS[BranchName.GLOBAL], "o")]
    figure.legend(handles=[*ours, _key_of_the_paper()], loc="outside lower center", ncols=4)
    figure.suptitle(table.title, fontsize=10)
    return figure


def branch_curves(title: str, predictions: Predictions) -> Figure:
    """Fig. 5: the ROC curves of one network's branches, a panel for each pathology."""
    figure, panels = _panels(title)
    for column, (label, axes) in enumerate(zip(PATHOLOGIES, panels, strict=False)):
        for branch, logits in predictions.logits.items():
            _curve(axes, predictions, column, logits, BRANCH_COLOURS[branch], DASHES[branch])
        _finish(axes, display_name(label))
    handles = [
        Line2D([], [], color=BRANCH_COLOURS[branch], linestyle=DASHES[branch], label=_TITLES[branch])
        for branch in predictions.logits
    ]
    _legend_in_the_gap(panels[len(PATHOLOGIES) :], panels[len(PATHOLOGIES) - _ACROSS : -_ACROSS], handles)
    return figure


def network_curves(title: str, networks: Mapping[str, Predictions]) -> Figure:
    """Fig. 6: the ROC curves of networks over the 14 pathologies, a panel for each network."""
    figure = new_figure(5.4 * len(networks), 5.2)
    figure.suptitle(title, fontsize=10)
    solid_then_dashed: tuple[LineStyleType, ...] = ("-", "--")
    lines = [(colour, dash) for dash, colour in product(solid_then_dashed, PALETTE)]
    for place, (name, predictions) in enumerate(networks.items(), start=1):
        axes = figure.add_subplot(1, len(networks), place)
        logits = predictions.logits[predictions.headline]
        for column, (label, (colour, dash)) in enumerate(zip(PATHOLOGIES, lines, strict=True)):
            _curve(axes, predictions, column, logits, colour, dash, name=display_name(label))
        _finish(axes, name)
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        # Its ground covers the curves of a poor network, which run through the corner.
        axes.legend(loc="lower right", fontsize=7, handlelength=2.6, labelspacing=0.25, frameon=True, edgecolor=PALE)
    return figure


def tau_chart(title: str, tables: Sequence[Table]) -> Figure:
    """Fig. 8 and 9: mean areas against tau, a panel for each set of films, the paper's own points as diamonds."""
    figure = new_figure(4.6 * len(tables) + 0.6, 3.6)
    figure.suptitle(title, fontsize=10)
    first: Axes | None = None
    for place, table in enumerate(tables, start=1):
        axes = figure.add_subplot(1, len(tables), place, sharey=first)
        first = first or axes
        taus = np.array([float(row.heads[0]) for row in table.rows])
        for column, branch in enumerate(BranchName):
            cells = [row.cells[column] for row in table.rows]
            _against(axes, taus, cells, branch)
        axes.set_title(f"{table.films} films, over {_averaged(table.rows)}", fontsize=9)
        axes.set_xlabel("tau")
        axes.set_xticks(taus)
        plain(axes)
    if first is not None:
        first.set_ylabel("mean AUC")
    handles = [_key(_TITLES[branch], BRANCH_COLOURS[branch], MARKERS[branch]) for branch in BranchName]
    figure.legend(handles=[*handles, _key_of_the_paper()], loc="outside lower center", ncols=4)
    return figure


def _averaged(rows: Sequence[TableRow]) -> str:
    """What our means are over: fewer than the paper's 14 where films of ours show one outcome of a pathology only."""
    counts = sorted({len(PATHOLOGIES) - len(row.lacking) for row in rows})
    if counts == [len(PATHOLOGIES)]:
        return f"the {len(PATHOLOGIES)} pathologies"
    ours = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"pathologies (ours {ours}, paper {len(PATHOLOGIES)})"


def _dot(axes: Axes, place: float, cell: Cell, colour: str, marker: str) -> None:
    """One figure on its line."""
    if cell.published is not None:
        axes.plot(cell.published, place, marker="D", markersize=5.5, color=colour, fillstyle="none", linestyle="none")
    measured = cell.measured
    if measured is None:
        return
    if measured.low is not None and measured.high is not None:
        axes.plot((measured.low, measured.high), (place, place), color=colour, linewidth=1.6, alpha=0.55)
    axes.plot(measured.value, place, marker=marker, markersize=5.5, color=colour, linestyle="none")
    if len(measured.seeds) > 1:
        seeds = list(measured.seeds.values())
        axes.plot(seeds, [place] * len(seeds), marker="|", markersize=7, color=GREY, linestyle="none")


def _against(axes: Axes, taus: NDArray[np.float64], cells: Sequence[Cell], branch: BranchName) -> None:
    """One branch's areas against tau, with the band of their intervals."""
    colour = BRANCH_COLOURS[branch]
    known = [(tau, cell.measured) for tau, cell in zip(taus, cells, strict=True) if cell.measured is not None]
    if known:
        at = [tau for tau, _ in known]
        axes.plot(
            at, [measured.value for _, measured in known],
            color=colour, marker=MARKERS[branch], linestyle=DASHES[branch], markersize=5,
        )  # fmt: skip
        ends = [_ends(measured) for _, measured in known]
        axes.fill_between(
            at, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.12, linewidth=0
        )
    printed = [(tau, cell.published) for tau, cell in zip(taus, cells, strict=True) if cell.published is not None]
    for tau, area in printed:
        axes.plot(tau, area, marker="D", markersize=6.5, color=colour, fillstyle="none", linestyle="none")


def _ends(measured: OverSeeds) -> tuple[float, float]:
    low, high = measured.low, measured.high
    return (measured.value, measured.value) if low is None or high is None else (low, high)


def _curve(
    axes: Axes,
    predictions: Predictions,
    column: int,
    logits: NDArray[np.float32],
    colour: str,
    dash: LineStyleType,
    *,
    name: str = "",
) -> None:
    """One label's curve, where films with and without it are known; its area stands in the legend or in the panel."""
    known, truth = labelled_films(predictions.truth[:, column])
    score = logits[known, column].astype(np.float64)
    if truth.all() or not truth.any():
        return
    area = area_under_curve(truth, score)
    axes.plot(*roc_curve(truth, score), color=colour, linestyle=dash, linewidth=1.3, label=f"{name} {area:.3f}".strip())
    if not name:
        # In the legend's order: in a print without colours nothing else tells whose area it is.
        height = 0.29 - 0.12 * len(axes.texts)
        axes.text(0.97, height, f"{area:.3f}", color=colour, ha="right", transform=axes.transAxes)


def _panels(title: str) -> tuple[Figure, list[Axes]]:
    """Four by four square panels that share their scales."""
    figure = new_figure(8.4, 8.8)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(_ACROSS, _ACROSS, sharex=True, sharey=True)
    figure.supxlabel("1 - specificity", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    return figure, list(grid.flat)


def _finish(axes: Axes, title: str) -> None:
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.7, zorder=0)
    axes.set_title(title)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xticks((0, 0.5, 1))
    axes.set_yticks((0, 0.5, 1))
    plain(axes)
    if not axes.lines[:-1]:
        axes.text(0.5, 0.5, "not both\noutcomes", ha="center", va="center", color=GREY)


def _legend_in_the_gap(gap: Sequence[Axes], above: Sequence[Axes], handles: Sequence[Line2D]) -> None:
    """Two panels are left over; the legend takes their place, and the panels above them get the scale's numbers."""
    for axes in gap:
        axes.set_axis_off()
    for axes in above:
        axes.tick_params(labelbottom=True)
    gap[0].legend(handles=handles, loc="center left", title="branch, area in the panel", alignment="left")


def _key(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, markersize=5.5, linestyle="none", label=label)


def _key_of_the_paper() -> Line2D:
    return Line2D([], [], color=BLACK, marker="D", markersize=5, linestyle="none", fillstyle="none", label="paper")
