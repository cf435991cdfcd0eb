"""One page that shows an evaluation: HTML that needs nothing beside it, with no script and no link."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from agcnn_models.labels import display_name
from agcnn_models.manifest import Manifest
from agcnn_training.evaluation import figures, page_tables
from agcnn_training.evaluation.localisation import Localisation
from agcnn_training.evaluation.page_tables import Table
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.printed import signed, span, three
from agcnn_training.evaluation.results import SetResult, over_labels
from agcnn_training.evaluation.subgroups import SMALL

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Report:
    """What a page shows.

    Attributes:
        manifest: of the model.
        set_name: of the films: test, validation or all.
        cautions: what a reader must know first, a sentence each.
        predictions: of the films.
        result: what was measured on them.
    """

    manifest: Manifest
    set_name: str
    cautions: tuple[str, ...]
    predictions: Predictions
    result: SetResult


@dataclass(frozen=True)
class Tile:
    """A number for the top of the page."""

    name: str
    value: str
    range: str


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, a figure as SVG, and tables."""

    title: str
    sentences: tuple[str, ...]
    figure: Markup | None = None
    tables: tuple[Table, ...] = ()


def page(report: Report) -> str:
    """The page as HTML; the same report gives the same page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("agcnn_training.evaluation").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        manifest=report.manifest,
        set_name=report.set_name,
        result=report.result,
        cautions=report.cautions,
        total=page_tables.TOTAL,
        tiles=list(_tiles(report.result)),
        sections=list(_sections(report)),
    )


def _tiles(result: SetResult) -> Iterator[Tile]:
    for name, branch in result.branches.items():
        yield Tile(
            f"{name}: mean AUC{over_labels(len(branch.score.per_label))}",
            three(branch.score.mean),
            span(branch.interval),
        )
    for one in result.comparisons:
        if one.is_gain:
            yield Tile("fusion minus global", signed(one.difference), span(one.interval, signed))


def _sections(report: Report) -> Iterator[Section]:
    result = report.result
    yield _findings(result)
    if result.comparisons:
        yield _comparisons(result)
    yield Section(
        "ROC curves",
        ("Each finding with both outcomes among these films; the diagonal is chance.",),
        _svg(figures.roc_figure(report.predictions)),
    )
    yield _calibration(result)
    yield _decisions(report)
    if result.subgroups:
        yield _groups(result)
    if result.localisation is not None:
        yield _localisation(result.localisation)


def _findings(result: SetResult) -> Section:
    meaning = (
        "Area under the ROC curve of each finding; the mean is over the pathologies with both outcomes. Average "
        f"precision is the {result.headline} branch's, and a random score gets the prevalence. A finding that fewer "
        "than two patients have, or lack, carries no interval, nor does a mean of such findings alone."
    )
    again = (
        (
            "The interval of the mean is over draws of patients in which all of these have both outcomes: "
            f"{result.drawn_again:,} draws without were drawn again."
        ),
    ) * (result.drawn_again > 0)
    names = ", ".join(display_name(label) for label in result.skipped)
    why = "Not assessed by the model, or without both outcomes among these films, so without an area"
    skipped = (f"{why}: {names}.",) if names else ()
    figure = _svg(figures.area_figure(result))
    return Section("Findings", (meaning, *again, *skipped), figure, (page_tables.finding_table(result),))


def _comparisons(result: SetResult) -> Section:
    meaning = (
        "Differences of areas on the same films. The intervals draw patients again, the same ones for both branches. "
        "p is DeLong's, which takes films to be independent; films of one patient are not, so it stands here for "
        "comparison with other papers, one test a finding and not corrected for their number."
    )
    shown = next((one for one in result.comparisons if one.is_gain), result.comparisons[0])
    table = page_tables.comparison_table(result.comparisons)
    return Section("What each branch adds", (meaning,), _svg(figures.difference_figure(shown)), (table,))


def _calibration(result: SetResult) -> Section:
    meaning = (
        f"Whether the {result.headline} branch's probabilities mean what they say, before and after the model's own "
        "Platt scaling. The expected calibration error (ECE) is over 15 bins of equally many films; few films raise "
        "it by themselves. The Brier score is the mean squared error."
    )
    figure = _svg(figures.reliability_figure(result))
    return Section("Calibration", (meaning,), figure, (page_tables.calibration_table(result),))


def _decisions(report: Report) -> Section:
    meaning = (
        "What the model's thresholds do on these films. They were chosen on the validation films of its training. "
        "Intervals are Wilson's at the effective number of films, since films of one patient resemble each other. PPV "
        "and NPV hold only where findings are as frequent as here."
    )
    sets = (report.manifest.thresholds, *report.manifest.further_thresholds)
    tables = (page_tables.decision_table(one.set_id, one.method, report.result.operating[one.set_id]) for one in sets)
    return Section("Decisions", (meaning,), tables=tuple(tables))


def _groups(result: SetResult) -> Section:
    meaning = (
        f"Mean AUC of the {result.headline} branch within each group, over the pathologies that the group can be "
        "judged on. Groups differ in how ill their patients are and in how they were filmed, so a difference is a "
        f"reason to look closer, not yet unfairness. Groups of fewer than {SMALL} patients are marked small."
    )
    return Section("Groups", (meaning,), tables=(page_tables.group_table(result),))


def _localisation(found: Localisation) -> Section:
    measures = (
        f"The attended region and the heat map against {found.lesions} boxes that radiologists drew on {found.films} "
        f"films. The region covers {found.attended:.0%} of the network's field of view on average. IoU is intersection "
        "over union, IoBB intersection over the attended region; the pointing game asks whether the heat map's "
        "maximum lies in the box."
    )
    chance = (
        "Chance is a box as large as the attended one, averaged over every place in the field of view (a point, for "
        "the pointing game). The intervals are of the difference, by bootstrap over patients."
    )
    lost = f"The centre crop loses {found.lost} boxes wholly and cuts {found.cut}; what is lost counts as missed."
    figure = _svg(figures.localisation_figure(found.hits))
    tables = (page_tables.lesion_table(found.hits), page_tables.lesion_table_by_finding(found.hits))
    return Section("Where it looked", (measures, chance, lost), figure, tables)


def _svg(content: str) -> Markup:
    # Made by us from numbers and the fixed names of labels: nothing of it comes from outside.
    return Markup(content)  # noqa: S704 - see above
