"""A table in the paper's shape: its rows and columns, and under each row of the paper's ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from agcnn_models.labels import PATHOLOGIES, display_name
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Architecture, Backbone
from agcnn_training.data.splits import TEST
from agcnn_training.evaluation.printed import NONE, signed
from agcnn_training.experiments.outcomes import Outcome, OverSeeds, common_set
from agcnn_training.files import csv_text

SHORT_NAMES: Final[Mapping[str, str]] = dict(
    zip(
        PATHOLOGIES,
        ("Atel", "Card", "Effu", "Infi", "Mass", "Nodu", "Pne1", "Pne2", "Cons", "Edem", "Emph", "Fibr", "PT", "Hern"),
        strict=True,
    )
)
"""Table I's own headings: Pne1 is Pneumonia, Pne2 Pneumothorax, PT Pleural_Thickening."""

BRANCH_TITLES: Final = {
    BranchName.GLOBAL: "Global branch (baseline)",
    BranchName.LOCAL: "Local branch",
    BranchName.FUSION: "AG-CNN",
}

_REFERENCES: Final = {
    "wang-2017": ("Wang et al.", "R-50"),
    "yao-2017": ("Yao et al.", "D-/"),
    "chexnet": ("Rajpurkar et al.*", "D-121"),
    "kumar-2017": ("Kumar et al.*", "D-161"),
}
"""Table I's own words."""

_STRATEGIES: Final = {
    "table2-GL_F": "GL_F",
    "table2-GLF": "GLF",
    "table2-G_LF": "G_LF",
    "table2-G_L_F_star": "G_L_F*",
    "table2-G_L_F": "G_L_F",
}

_STAR_OF_TABLE_1: Final = "by the paper, another split of the data, 80 % to train and 20 % to test"
_STAR_OF_TABLE_2: Final = "global and local branch go on learning while the fusion is trained"

_PAPER, _HERE = "paper", "here"


@dataclass(frozen=True)
class Cell:
    """One figure: the paper's and ours, either of which may be missing."""

    published: float | None
    measured: OverSeeds | None


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes:
        heads: what it is about, in the paper's words.
        ours: the same for the line of ours, of which the first is the recipe.
        cells: a figure a column.
        lacking: the pathologies over which our mean is not, since they lack one outcome among our films.
    """

    heads: tuple[str, ...]
    ours: tuple[str, ...]
    cells: tuple[Cell, ...]
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of areas under the ROC curve.

    Attributes:
        title: one line.
        films: the set of films that ours are measured on.
        heads: headings of what rows are about.
        columns: headings of the figures.
        rows: in the paper's order.
        branches: what the columns are, where they are branches; empty where they are labels and their mean.
        digits: decimals, as the paper prints them.
    """

    title: str
    films: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    branches: tuple[BranchName, ...] = ()
    digits: int = 3


def label_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Table I's shape: a row for each branch of each recipe, a column for each pathology and their mean."""
    films = common_set(outcomes)
    columns: tuple[str | None, ...] = (*PATHOLOGIES, None)
    rows = tuple(
        TableRow(
            heads=_method(outcome, branch),
            ours=(outcome.recipe.name, _cnn(outcome.as_run.network.backbone)),
            cells=tuple(
                Cell(outcome.published(branch, label), outcome.measured(films, branch, label)) for label in columns
            ),
            lacking=outcome.lacking(films),
        )
        for outcome in outcomes
        for branch in outcome.recipe.parts
    )
    return Table(title, films, ("Method", "CNN"), (*SHORT_NAMES.values(), "Mean"), rows)


def order_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Table II's shape: a row for each order of training, with its batch sizes."""
    heads = [(_STRATEGIES[outcome.recipe.name], _batches(outcome)) for outcome in outcomes]
    return _branch_table(title, outcomes, ("Strategy", "Batchsize"), heads)


def statistic_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Table III's shape: a row for each statistic of the heat map."""
    heads = [(outcome.recipe.network.attention.statistic.value.capitalize(),) for outcome in outcomes]
    return _branch_table(title, outcomes, ("Statistic",), heads, digits=4)


def region_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """The controls: a row for what the local branch is shown, and in how many stages it is trained."""
    heads = [(outcome.recipe.network.attention.region.value, _order(outcome)) for outcome in outcomes]
    return _branch_table(title, outcomes, ("Local branch sees", "Training"), heads)


def tau_table(title: str, outcomes: Sequence[Outcome], films: str) -> Table:
    """Fig. 8 and 9 in numbers: a row for each tau. The paper prints none of the validation films."""
    heads = [(f"{outcome.recipe.network.attention.tau:g}",) for outcome in outcomes]
    return _branch_table(title, outcomes, ("tau",), heads, films=films, printed=films == TEST)


def _branch_table(
    title: str,
    outcomes: Sequence[Outcome],
    heads: tuple[str, ...],
    named: Sequence[tuple[str, ...]],
    *,
    digits: int = 3,
    films: str | None = None,
    printed: bool = True,
) -> Table:
    """A row a recipe, a column a branch; ``printed`` says whether the paper's figures are about such films."""
    films = films or common_set(outcomes)
    rows = tuple(
        TableRow(
            heads=names,
            ours=(outcome.recipe.name, *("" for _ in names[1:])),
            cells=tuple(
                Cell(outcome.published(branch) if printed else None, outcome.measured(films, branch))
                for branch in BranchName
            ),
            lacking=outcome.lacking(films),
        )
        for outcome, names in zip(outcomes, named, strict=True)
    )
    branches = tuple(BranchName)
    return Table(title, films, heads, tuple(branch.value.capitalize() for branch in branches), rows, branches, digits)


def gain_note(outcomes: Sequence[Outcome], digits: int) -> str:
    """What fusion adds to the global branch, which is the paper's claim, in a sentence; with the table's decimals."""
    films, number = common_set(outcomes), partial(signed, digits=digits)
    gains = [
        f"{outcome.recipe.name} {number(gain.value)} {_bounds(gain, number)}".rstrip()
        for outcome in outcomes
        if (gain := outcome.difference(films, BranchName.GLOBAL, BranchName.FUSION)) is not None
    ]
    return f"Fusion minus global branch, by paired draws of patients: {'; '.join(gains) or 'not measured'}."


def to_markdown(table: Table, notes: Sequence[str] = ()) -> str:
    """The table with its notes; ours stand under the paper's, bold."""
    heads = (*table.heads, "", *table.columns)
    ruler = [":--"] * (len(table.heads) + 1) + ["--:"] * len(table.columns)
    lines = [f"# {table.title}", "", _line(heads), _line(ruler)]
    for row in table.rows:
        paper = (_plain(cell.published, table.digits) for cell in row.cells)
        # Fourteen intervals in one line are no table; they are in the CSV.
        bounded = [bool(table.branches) or column == len(table.columns) - 1 for column in range(len(table.columns))]
        here = (
            _ours(cell.measured, table.digits, interval=interval)
            for cell, interval in zip(row.cells, bounded, strict=True)
        )
        lines += [_line((*row.heads, _PAPER, *paper)), _line((*row.ours, _HERE, *here))]
    return "\n".join([*lines, "", *(f"- {note}" for note in (*_legend(table), *notes))]) + "\n"


def to_csv(table: Table) -> str:
    """The same figures for programs: a line for the paper, for the mean over seeds, and for each seed."""
    ends = [f"{column} {end}" for column in table.columns for end in ("low", "high", "spread")]
    lines = []
    for row in table.rows:
        for source, films, values in _sources(table, row):
            extra: list[float | None] = [None] * len(ends)
            if source == _HERE:
                extra = [end for cell in row.cells for end in _ends(cell.measured)]
            lines.append((*row.heads, row.ours[0], films, source, *map(_number, (*values, *extra))))
    return csv_text((*table.heads, "recipe", "films", "source", *table.columns, *ends), lines)


def _sources(table: Table, row: TableRow) -> Iterator[tuple[str, str, list[float | None]]]:
    yield _PAPER, "", [cell.published for cell in row.cells]
    yield _HERE, table.films, [cell.measured.value if cell.measured else None for cell in row.cells]
    seeds = sorted({seed for cell in row.cells if cell.measured for seed in cell.measured.seeds})
    for seed in seeds:
        values = [cell.measured.seeds.get(seed) if cell.measured else None for cell in row.cells]
        yield f"seed {seed}", table.films, values


def _method(outcome: Outcome, branch: BranchName) -> tuple[str, str]:
    recipe = outcome.recipe
    if recipe.name in _REFERENCES:
        return _REFERENCES[recipe.name]
    if recipe.network.architecture is not Architecture.AGCNN:
        return recipe.name, _cnn(recipe.network.backbone)
    return BRANCH_TITLES[branch], _cnn(recipe.network.backbone)


def _cnn(backbone: Backbone) -> str:
    """Table I's own word for it."""
    match backbone:
        case Backbone.RESNET50:
            return "R-50"
        case Backbone.DENSENET121:
            return "D-121"


def _batches(outcome: Outcome) -> str:
    """Batch sizes in the order global, local, fusion, as Table II prints them: of the stage that first trains each."""
    sizes: dict[BranchName, int] = {}
    for stage in outcome.recipe.stages:
        for part in stage.trains:
            sizes.setdefault(part, stage.phases[0].batch_size)
    return "/".join(str(sizes[part]) for part in outcome.recipe.parts)


def _order(outcome: Outcome) -> str:
    return ", then ".join(stage.name for stage in outcome.recipe.stages)


def _legend(table: Table) -> Iterator[str]:
    cells = [cell for row in table.rows for cell in row.cells]
    yield f"Areas under the ROC curve; ours ({_HERE}) are measured on the {table.films} films."
    yield from _shorter_means(table)
    if not table.branches:
        yield "Pne1: Pneumonia; Pne2: Pneumothorax; PT: Pleural Thickening; the others by their first four letters."
    if any("*" in head for row in table.rows for head in row.heads):
        yield f"A star: {_STAR_OF_TABLE_2 if table.branches else _STAR_OF_TABLE_1}."
    if any(cell.measured and cell.measured.low is not None for cell in cells):
        yield "In brackets: the 95 % interval of the mean, by bootstrap over patients."
    if any(cell.measured and cell.measured.spread is not None for cell in cells):
        seeds = max(len(cell.measured.seeds) for cell in cells if cell.measured)
        yield (
            f"Behind ±: the standard deviation over {seeds} seeds; the figure and the ends of the interval are the "
            "seeds' means."
        )
    if any(cell.published is None for cell in cells):
        yield "A dash: the paper has no such figure, or no run of ours has it."


def _shorter_means(table: Table) -> Iterator[str]:
    """A sentence for each number of pathologies that a mean of ours is over, where it is not the paper's 14."""
    recipes: dict[tuple[str, ...], list[str]] = {}
    for row in table.rows:
        named = recipes.setdefault(row.lacking, [])
        named += [row.ours[0]] * (row.ours[0] not in named)
    for lacking, named in recipes.items():
        if lacking:
            whose = f" of {', '.join(named)}" if len(recipes) > 1 else ""
            yield (
                f"Our means{whose} are over {len(PATHOLOGIES) - len(lacking)} pathologies, the paper's over "
                f"{len(PATHOLOGIES)}: {', '.join(map(display_name, lacking))} lack one outcome among our films."
            )


def _ours(measured: OverSeeds | None, digits: int, *, interval: bool) -> str:
    if measured is None:
        return NONE
    number = partial(_plain, digits=digits)
    spread = "" if measured.spread is None else f" ± {number(measured.spread)}"
    bounds = f" {bounds}" if interval and (bounds := _bounds(measured, number)) else ""
    return f"**{number(measured.value)}**{spread}{bounds}"


def _bounds(measured: OverSeeds, number: Callable[[float], str]) -> str:
    """The interval in brackets; nothing where there is none."""
    low, high = measured.low, measured.high
    return "" if low is None or high is None else f"({number(low)} to {number(high)})"


def _ends(measured: OverSeeds | None) -> tuple[float | None, float | None, float | None]:
    return (measured.low, measured.high, measured.spread) if measured else (None, None, None)


def _plain(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
