"""Figures: their arithmetic, and that each is drawn whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pypdf import PdfReader

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_models.manifest import BranchName
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from agcnn_training.data.pictures import read_picture
from agcnn_training.data.source import open_data
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.colours import BRANCH_COLOURS
from agcnn_training.experiments.charts import branch_curves, dot_chart, network_curves, tau_chart
from agcnn_training.experiments.films import choose_films, regions, show_films, top_ten
from agcnn_training.experiments.products import TrainedExperiment, branch_curves_product, network_curves_product
from agcnn_training.experiments.registry import EXPERIMENTS
from agcnn_training.experiments.style import new_figure, save
from agcnn_training.experiments.tables import Table, label_table, order_table, tau_table
from agcnn_training.recipe import SplitRecipe


def texts_that_overlap(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure that lie on each other."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)]
    ticks = [tick for axes in figure.axes if axes.axison for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    boxes = [
        (text.get_text(), text.get_window_extent(renderer)) for text in (*texts, *ticks) if text.get_text().strip()
    ]
    return [
        (one, other)
        for place, (one, first) in enumerate(boxes)
        for other, second in boxes[place + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]


def test_no_figure_writes_over_itself(make_outcome, tmp_path: Path) -> None:
    """Tables as dots, Fig. 5, 6 and 9: every text is legible, and both files are written."""
    outcomes = {name: make_outcome(name, seeds=2) for name in EXPERIMENTS["table2"].recipes}
    branches, sweep = make_outcome("table1-densenet121"), [make_outcome(name) for name in EXPERIMENTS["fig9"].recipes]
    other = make_outcome("table1-resnet50")
    readings = {"ResNet-50": other.predictions("test"), "DenseNet-121": branches.predictions("test")}
    figures = {
        "table2": dot_chart(order_table("Table II", list(outcomes.values()))),
        "table1": dot_chart(label_table("Table I", [other, branches])),
        "fig5": branch_curves("Fig. 5", readings["DenseNet-121"]),
        "fig6": network_curves("Fig. 6", readings),
        "fig9": tau_chart("Fig. 9", [tau_table("tau", sweep, films) for films in ("validation", "test")]),
    }
    for name, figure in figures.items():
        picture, page = save(figure, tmp_path, name)
        with Image.open(picture) as image:
            assert min(image.size) > 300
        assert page.read_bytes().startswith(b"%PDF")
        assert texts_that_overlap(figure) == []


def test_fig_5_and_6_have_the_papers_panels(make_outcome) -> None:
    """Fourteen pathologies with three curves each; one panel a backbone with fourteen curves."""
    predictions = make_outcome("table1-densenet121").predictions("test")
    drawn = [axes for axes in branch_curves("Fig. 5", predictions).axes if axes.axison]
    assert len(drawn) == 14
    assert {len(axes.lines) for axes in drawn} == {4}  # and the diagonal
    panels = network_curves("Fig. 6", {"one": predictions, "other": predictions}).axes
    assert [len(axes.lines) for axes in panels] == [15, 15]


def test_a_label_without_both_outcomes_is_said_to_have_no_curve(make_outcome) -> None:
    """Its panel stays, and says why it is empty."""
    predictions = make_outcome("table1-densenet121").predictions("test")
    predictions.truth[:, 13] = 0
    hernia = branch_curves("Fig. 5", predictions).axes[13]
    assert [text.get_text() for text in hernia.texts] == ["not both\noutcomes"]


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    """No date and no random name in it, so that a table made again does not look changed."""
    files = []
    for name in ("one", "other"):
        figure = new_figure(2, 2)
        figure.add_subplot().plot([0, 1])
        files.append([path.read_bytes() for path in save(figure, tmp_path, name)])
    assert files[0] == files[1]


def test_a_figure_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(TrainingError, match="cannot be written in"):
        save(new_figure(1, 1), tmp_path / "gone", "figure")


def test_films_are_drawn_without_regard_to_what_was_said_of_them(make_outcome) -> None:
    """Of different patients, with a pathology, the same films whatever the network says."""
    predictions = make_outcome("table1-resnet50").predictions("test")
    names = choose_films(predictions, 7)
    assert len(names) == 7
    places = [predictions.images.index(name) for name in names]
    assert len({predictions.patients[place] for place in places}) == 7
    assert (predictions.truth[places, :14].sum(axis=1) > 0).all()
    predictions.logits[BranchName.FUSION][:] = 0
    assert choose_films(predictions, 7) == names


def test_fig_7_and_8_show_films_as_the_network_sees_them(make_outcome, small_root: Path, tmp_path: Path) -> None:
    """The picture is the network's input, a drawn lesion lies where the nodule is bright, and ten labels are named."""
    preprocessing = Preprocessing(resize=72, crop=64)
    dataset = open_data(small_root, None, SplitRecipe())
    predictions = make_outcome("table1-resnet50").predictions("test")
    names = [row.image for row in dataset.rows if "Nodule" in row.findings][:2]
    films = show_films(dataset, names, read_picture, preprocessing)
    seen = to_model_input(read_picture(small_root / "images" / names[0]), preprocessing)[0]
    np.testing.assert_allclose(films[0].picture, seen.numpy() * IMAGENET_STD[0] + IMAGENET_MEAN[0], atol=1e-5)
    x_min, y_min, x_max, y_max = (round(edge) for edge in films[0].lesions[0])
    inside, mirrored = (
        view[y_min : y_max + 1, x_min : x_max + 1] for view in (films[0].picture, films[0].picture[:, ::-1])
    )
    assert inside.mean() > mirrored.mean() + 0.15  # the other lung, at the same height

    figure = top_ten("Fig. 7", films, predictions)
    words = [text.get_text() for text in figure.axes[1].texts]
    assert len(words) == 20
    place = predictions.images.index(names[0])
    likeliest = np.sort(1 / (1 + np.exp(-predictions.logits[BranchName.FUSION][place])))[::-1][:10]
    assert words[1::2] == [f"{probability:.3f}" for probability in likeliest]
    first = next(label for label in LABELS if display_name(label) in words[0])
    predictions.truth[:, LABELS.index(first)] = np.nan  # as of a label that the network never learnt
    words = [text.get_text() for text in top_ten("Fig. 7", films, predictions).axes[1].texts]
    assert words[1:18:2] == [f"{probability:.3f}" for probability in likeliest[1:]]
    save(figure, tmp_path, "fig7")
    grid = regions("Fig. 8", films, {0.1: predictions, 0.7: predictions, 0.9: predictions})
    assert len(grid.axes) == 2 * 2 * 3
    save(grid, tmp_path, "fig8-regions")


def test_a_film_that_is_not_there_is_one_sentence(small_root: Path) -> None:
    """Runs and data must belong together."""
    dataset = open_data(small_root, None, SplitRecipe())
    with pytest.raises(TrainingError, match=r"other\.png is not among the data"):
        show_films(dataset, ["other.png"], read_picture, Preprocessing())


def test_areas_stand_in_the_order_of_the_legend(make_outcome) -> None:
    """In a print without colours only their order says whose they are; a panel with none below it has the scale."""
    figure = branch_curves("Fig. 5", make_outcome("table1-densenet121").predictions("test"))
    for axes in figure.axes[: len(PATHOLOGIES)]:
        falling = sorted(axes.texts, key=lambda text: -text.get_position()[1])
        assert [text.get_color() for text in falling] == [BRANCH_COLOURS[branch] for branch in BranchName]
    FigureCanvasAgg(figure).draw()
    numbered = [any(tick.label1.get_visible() for tick in axes.xaxis.get_major_ticks()) for axes in figure.axes]
    assert numbered[: len(PATHOLOGIES)] == [False] * 10 + [True] * 4


def test_a_figure_says_over_how_many_pathologies_its_means_are(make_outcome) -> None:
    """It says 14 only where ours are over 14, as the paper's are."""
    table = label_table("Table I", [make_outcome("table1-densenet121")])
    fewer = replace(table, rows=tuple(replace(row, lacking=("Hernia", "Fibrosis")) for row in table.rows))
    assert dot_chart(table).axes[0].get_xlabel() == "mean AUC over the 14 pathologies, test films"
    assert dot_chart(fewer).axes[0].get_xlabel() == "mean AUC over pathologies (ours 12, paper 14), test films"
    panels = tau_chart("Fig. 9", [against_tau(make_outcome, 2), against_tau(make_outcome, 0)]).axes
    titles = [axes.get_title() for axes in panels]
    assert titles == ["test films, over pathologies (ours 12, paper 14)", "test films, over the 14 pathologies"]


def against_tau(make_outcome, lacking: int) -> Table:
    """A table against tau in which so many pathologies lack one outcome."""
    table = tau_table("tau", [make_outcome("tau-0.1" if lacking else "tau-0.2")], "test")
    return replace(table, rows=tuple(replace(row, lacking=PATHOLOGIES[:lacking]) for row in table.rows))


def test_a_figure_says_which_network_was_trained_and_what_was_set(make_outcome, tmp_path: Path) -> None:
    """Shown without its table, it must not pass a small run of another backbone for the paper's."""
    outcomes = [make_outcome(name) for name in ("table1-resnet50", "table1-densenet121")]
    changed = outcomes[1].recipe.network
    first = replace(outcomes[0], as_run=outcomes[0].recipe.model_copy(update={"network": changed}))
    note = "NOT the recipes' settings: network.backbone densenet121 instead of resnet50 or densenet121."
    trained = TrainedExperiment(
        "fig6", "Fig. 6", (first, outcomes[1]), (note,), tmp_path, (), lambda _names, _recipe: ()
    )
    network_curves_product(trained)
    text = " ".join(PdfReader(tmp_path / "fig6.pdf").pages[0].extract_text().split())
    assert note in text
    assert "table1-resnet50, DenseNet-121" in text
    assert "table1-densenet121, DenseNet-121" in text
    assert "ResNet-50" not in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_figure_of_one_network_says_of_how_many_seeds_it_is_the_first(make_outcome, tmp_path: Path, seeds) -> None:
    """The table beside it has the mean of all of them."""
    outcome = make_outcome("table1-resnet50", seeds=seeds)
    trained = TrainedExperiment("fig5", "Fig. 5", (outcome,), (), tmp_path, (), lambda _names, _recipe: ())
    branch_curves_product(trained)
    text = " ".join(PdfReader(tmp_path / "fig5.pdf").pages[0].extract_text().split())
    assert ("Shown is what the first of 3 seeds trained." in text) is (seeds == 3)
    assert "the first of" not in (tmp_path / "fig5.md").read_text(encoding="utf-8")
