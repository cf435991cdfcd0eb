"""What is written of an experiment once its recipes are trained: tables and figures, named after the experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Final

from matplotlib.figure import Figure

from agcnn_models.settings import Backbone
from agcnn_training.data.splits import TEST, VALIDATION
from agcnn_training.errors import TrainingError
from agcnn_training.experiments.charts import branch_curves, dot_chart, network_curves, tau_chart
from agcnn_training.experiments.films import ShownFilm, choose_films, regions, top_ten
from agcnn_training.experiments.outcomes import Outcome, common_set
from agcnn_training.experiments.style import save, styled
from agcnn_training.experiments.tables import (
    Table,
    gain_note,
    label_table,
    order_table,
    region_table,
    statistic_table,
    tau_table,
    to_csv,
    to_markdown,
)
from agcnn_training.files import replace_text
from agcnn_training.recipe import Recipe

SHOWN_FILMS: Final = 7
"""As many as the paper's Fig. 7 has."""

_SWEPT_FILMS: Final = 3

_LETTERS_AN_INCH: Final = 14
_LINE: Final = 0.15
"""Inches from one line of a title to the next."""


@dataclass(frozen=True)
class TrainedExperiment:
    """An experiment once its recipes are trained: what products are made from.

    Attributes:
        name: of the experiment, and of its files.
        title: of its table or figure.
        outcomes: one a recipe, in the experiment's order.
        notes: sentences that belong under every table and into every figure.
        out: the folder to write into.
        films: names of the films to show; drawn among the measured ones when empty.
        show: reads films as a recipe's network sees them.
    """

    name: str
    title: str
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    out: Path
    films: tuple[str, ...]
    show: Callable[[Sequence[str], Recipe], tuple[ShownFilm, ...]]


Product = Callable[[TrainedExperiment], tuple[Path, ...]]
"""Writes some files, and says which; none where the runs that it needs have failed."""


def labels_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """A table in Table I's shape."""
    return _write(trained, label_table(trained.title, trained.outcomes))


def orders_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """A table in Table II's shape."""
    return _with_gain(trained, order_table(trained.title, trained.outcomes))


def statistics_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """A table in Table III's shape."""
    return _with_gain(trained, statistic_table(trained.title, trained.outcomes))


def regions_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """A table of what the local branch is shown."""
    return _with_gain(trained, region_table(trained.title, trained.outcomes))


def branch_curves_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """Fig. 5, and its areas as a table."""
    paths = labels_product(trained)
    for outcome in _finished(trained):
        films = common_set([outcome])
        title = f"{trained.title} ({_network(outcome)}, {films} films)"
        paths += _draw(_of_first_seed(trained), partial(branch_curves, title, outcome.predictions(films)))
    return paths


def network_curves_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """Fig. 6, and its areas as a table."""
    paths, outcomes = labels_product(trained), _finished(trained)
    if outcomes:
        films = common_set(outcomes)
        names = [_network(outcome) for outcome in outcomes]
        networks = {
            name if names.count(name) == 1 else f"{outcome.recipe.name}, {name}": outcome.predictions(films)
            for name, outcome in zip(names, outcomes, strict=True)
        }
        paths += _draw(_of_first_seed(trained), partial(network_curves, f"{trained.title} ({films} films)", networks))
    return paths


def top_ten_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """Fig. 7."""
    paths: tuple[Path, ...] = ()
    for outcome in _finished(trained):
        predictions = outcome.predictions(common_set([outcome]))
        names = trained.films or choose_films(predictions, SHOWN_FILMS)
        _require_measured(names, predictions.images)
        shown = trained.show(names, outcome.as_run)
        paths += _draw(_of_first_seed(trained), partial(top_ten, trained.title, shown, predictions))
    return paths


def tau_curve_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """Fig. 8: areas against tau on the validation films; and the regions and crops of a few films."""
    table = tau_table(trained.title, trained.outcomes, VALIDATION)
    paths = _write(trained, table, chart=partial(tau_chart, trained.title, [table]))
    sweep = _finished(trained)
    if not sweep:
        return paths
    films = common_set(sweep)
    predictions = {outcome.recipe.network.attention.tau: outcome.predictions(films) for outcome in sweep}
    first = next(iter(predictions.values()))
    names = trained.films or choose_films(first, _SWEPT_FILMS)
    _require_measured(names, first.images)
    title = "Attended region and crop for different tau"
    shown = trained.show(names, sweep[0].as_run)
    return paths + _draw(_of_first_seed(trained), partial(regions, title, shown, predictions), suffix="-regions")


def tau_sets_product(trained: TrainedExperiment) -> tuple[Path, ...]:
    """Fig. 9: areas against tau on the test films, beside those on the validation films."""
    sets = [VALIDATION, TEST] if common_set(trained.outcomes) == TEST else [VALIDATION]
    tables = [tau_table(trained.title, trained.outcomes, films) for films in sets]
    return _write(trained, tables[-1], chart=partial(tau_chart, trained.title, tables))


def _write(
    trained: TrainedExperiment, table: Table, *notes: str, chart: Callable[[], Figure] | None = None
) -> tuple[Path, ...]:
    """Write a table as Markdown, CSV and figure."""
    texts = {".md": to_markdown(table, (*notes, *trained.notes)), ".csv": to_csv(table)}
    paths = tuple(trained.out / f"{trained.name}{suffix}" for suffix in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        replace_text(path, text)
    return paths + _draw(trained, chart or partial(dot_chart, table))


def _with_gain(trained: TrainedExperiment, table: Table) -> tuple[Path, ...]:
    return _write(trained, table, gain_note(trained.outcomes, table.digits))


def _draw(trained: TrainedExperiment, make: Callable[[], Figure], *, suffix: str = "") -> tuple[Path, ...]:
    """Write a figure; what must be known of every number of it stands in it, since it is shown without its table."""
    with styled():
        figure = make()
        if trained.notes:
            width, height = figure.get_size_inches()
            lines = wrap(" ".join(trained.notes), int(width * _LETTERS_AN_INCH))
            figure.set_size_inches(width, height + _LINE * len(lines))
            figure.suptitle("\n".join([figure.get_suptitle(), *lines]), fontsize=8.5)
        return save(figure, trained.out, trained.name + suffix)


def _of_first_seed(trained: TrainedExperiment) -> TrainedExperiment:
    """The same, for a figure of one network of each recipe: where several were trained it says which."""
    seeds = max(len(outcome.runs) for outcome in trained.outcomes)
    if seeds == 1:
        return trained
    return replace(trained, notes=(*trained.notes, f"Shown is what the first of {seeds} seeds trained."))


def _finished(trained: TrainedExperiment) -> tuple[Outcome, ...]:
    return tuple(outcome for outcome in trained.outcomes if outcome.runs)


def _network(outcome: Outcome) -> str:
    """What a figure calls the backbone that was trained."""
    match outcome.as_run.network.backbone:
        case Backbone.RESNET50:
            return "ResNet-50"
        case Backbone.DENSENET121:
            return "DenseNet-121"


def _require_measured(names: Sequence[str], measured: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in measured]:
        raise TrainingError(
            f"{unknown[0]} is not among the films that were measured: name test films (validation films where none "
            "test), or leave --film out."
        )
