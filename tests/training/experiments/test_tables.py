"""Tables: the paper's rows and columns in its order, ours beneath, and what is said under them."""

import csv
import io
from dataclasses import replace

import pytest

from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.printed import NONE
from agcnn_training.experiments.outcomes import Outcome, OverSeeds, Sides, common_set, notes_on_films, read_run
from agcnn_training.experiments.products import TrainedExperiment, orders_product, statistics_product
from agcnn_training.experiments.registry import EXPERIMENTS
from agcnn_training.experiments.tables import (
    gain_note,
    label_table,
    order_table,
    region_table,
    statistic_table,
    tau_table,
    to_csv,
    to_markdown,
)
from agcnn_training.recipe import load_recipe


def lines_of(markdown: str) -> list[list[str]]:
    """The cells of a Markdown table's lines, without its ruler."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def test_table_1_has_the_papers_rows_columns_and_numbers(make_outcome) -> None:
    """Ten rows in the order of print, fourteen pathologies and the mean, each line of the paper's as printed."""
    outcomes = [make_outcome(name) for name in EXPERIMENTS["table1"].recipes]
    head, *lines = lines_of(to_markdown(label_table("Table I", outcomes)))
    assert " ".join(head[3:]) == "Atel Card Effu Infi Mass Nodu Pne1 Pne2 Cons Edem Emph Fibr PT Hern Mean"
    assert [line[:2] for line in lines[::2]] == [
        ["Wang et al.", "R-50"],
        ["Yao et al.", "D-/"],
        ["Rajpurkar et al.*", "D-121"],
        ["Kumar et al.*", "D-161"],
        ["Global branch (baseline)", "R-50"],
        ["Local branch", "R-50"],
        ["AG-CNN", "R-50"],
        ["Global branch (baseline)", "D-121"],
        ["Local branch", "D-121"],
        ["AG-CNN", "D-121"],
    ]
    assert [line[2] for line in lines] == ["paper", "here"] * 10
    printed = "0.844 0.937 0.904 0.753 0.893 0.827 0.776 0.919 0.842 0.919 0.941 0.857 0.836 0.903 0.868"
    assert " ".join(lines[12][3:]) == printed
    ours = outcomes[4].runs[0].sets["test"].branches[BranchName.FUSION]
    assert lines[13][3] == f"**{ours.auc['Atelectasis']:.3f}**"
    assert lines[13][-1] == f"**{ours.mean_auc:.3f}** ({ours.mean_auc - 0.02:.3f} to {ours.mean_auc + 0.02:.3f})"


def test_the_line_of_ours_names_the_network_that_was_trained(make_outcome) -> None:
    """With another backbone than the recipe's the paper's line keeps its own."""
    outcome = make_outcome("table1-resnet50")
    changed = outcome.recipe.network.model_copy(update={"backbone": Backbone.DENSENET121})
    ours = replace(outcome, as_run=outcome.recipe.model_copy(update={"network": changed}))
    _, *lines = lines_of(to_markdown(label_table("Table I", [ours])))
    assert [line[1:3] for line in lines] == [["R-50", "paper"], ["D-121", "here"]] * 3


def without(outcome: Outcome, *labels: str) -> Outcome:
    """The outcome as it would be if these pathologies lacked one outcome among the films."""
    (run,) = outcome.runs
    sets = {
        films: areas.model_copy(
            update={
                "branches": {
                    name: branch.model_copy(
                        update={"auc": {label: area for label, area in branch.auc.items() if label not in labels}}
                    )
                    for name, branch in areas.branches.items()
                }
            }
        )
        for films, areas in run.sets.items()
    }
    return replace(outcome, runs=(run.model_copy(update={"sets": sets}),))


def test_a_mean_over_fewer_pathologies_than_the_papers_is_called_that(make_outcome) -> None:
    """Where findings lack one outcome the legend says which, and of which recipe where recipes differ."""
    whole, first, second = (make_outcome(name) for name in EXPERIMENTS["table3"].recipes)
    said = "means{} are over 12 pathologies, the paper's over 14: Pleural Thickening, Hernia lack one outcome"
    some = [without(one, "Hernia", "Pleural_Thickening") for one in (whole, first, second)]
    assert "pathologies, the paper's" not in to_markdown(statistic_table("Table III", [whole, first, second]))
    assert said.format("") in to_markdown(statistic_table("Table III", some))
    mixed = to_markdown(statistic_table("Table III", [whole, *some[1:]]))
    assert said.format(f" of {first.recipe.name}, {second.recipe.name}") in mixed
    alone = label_table("Table I", [without(make_outcome("table1-resnet50"), "Hernia")])
    assert "Our means are over 13 pathologies" in to_markdown(alone)


def test_the_films_behind_a_table_are_counted(make_outcome) -> None:
    """A few hundred films are not taken for the paper's; runs with other films, or shared patients, have their own."""
    one, other = (make_outcome(name, seeds=2) for name in ("table3-max", "table3-l1"))
    sides = "1,400 films of 900 patients train, 200 films of 100 patients validate, 200 films of 100 patients test"
    (note,) = notes_on_films([one, other])
    assert note.startswith(f"Here: {sides}; no patient is on two sides. The paper has 112,120 films of 30,805 patients")
    shared = Sides(
        films={"train": 8, "validation": 1, "test": 0},
        patients={"train": 3, "validation": 1, "test": 0},
        overlap={"train-validation": 1, "train-test": 0, "validation-test": 0},
    )
    by_film = replace(other, runs=tuple(run.model_copy(update={"split": shared}) for run in other.runs))
    first, second = notes_on_films([one, by_film])
    assert first.startswith(f"Here (table3-max): {sides}")
    leaking = (
        "8 films of 3 patients train, 1 films of 1 patients validate; patients on two sides: 1 (train-validation). "
    )
    assert second.startswith(f"Here (table3-l1): {leaking}")
    assert notes_on_films([replace(one, runs=(), folders=())]) == ()


def test_table_2_has_the_papers_orders_and_batches(make_outcome) -> None:
    """The five orders with their batch sizes and three branches."""
    outcomes = [make_outcome(name) for name in EXPERIMENTS["table2"].recipes]
    head, *lines = lines_of(to_markdown(order_table("Table II", outcomes)))
    assert head == ["Strategy", "Batchsize", "", "Global", "Local", "Fusion"]
    assert [line for line in lines if line[2] == "paper"] == [
        ["GL_F", "64/64/64", "paper", "0.831", "0.800", "0.833"],
        ["GLF", "64/64/64", "paper", "0.847", "0.815", "0.849"],
        ["G_LF", "128/64/64", "paper", "0.841", "0.809", "0.843"],
        ["G_L_F*", "128/64/64", "paper", "0.852", "0.819", "0.854"],
        ["G_L_F", "128/64/64", "paper", "0.841", "0.817", "0.868"],
    ]


def test_table_3_has_four_decimals(make_outcome) -> None:
    """The statistics differ in the fourth decimal only, so the table prints it."""
    outcomes = [make_outcome(name) for name in EXPERIMENTS["table3"].recipes]
    _, *lines = lines_of(to_markdown(statistic_table("Table III", outcomes)))
    assert lines[::2] == [
        ["Max", "paper", "0.8412", "0.8171", "0.8680"],
        ["L1", "paper", "0.8412", "0.8210", "0.8681"],
        ["L2", "paper", "0.8412", "0.8213", "0.8672"],
    ]


def test_controls_stand_beside_what_is_trained_alike(make_outcome) -> None:
    """The joint control follows the joint order, the sequential ones the sequential order; new cells have a dash."""
    outcomes = [make_outcome(name) for name in EXPERIMENTS["controls"].recipes]
    _, *lines = lines_of(to_markdown(region_table("Controls", outcomes)))
    together, apart = "global+local+fusion", "global, then local, then fusion"
    assert [line[:2] for line in lines[::2]] == [
        ["attended", together],
        ["whole", together],
        ["attended", apart],
        ["whole", apart],
        ["random", apart],
        ["centre", apart],
    ]
    assert lines[2][3:] == ["0.845", "0.846", "0.851"]
    assert lines[6][3:] == [NONE, NONE, NONE]


def test_the_papers_points_of_the_sweep_belong_to_test_films(make_outcome) -> None:
    """Its text gives two taus of Fig. 9; of Fig. 8 it prints no number."""
    outcomes = [make_outcome(name) for name in EXPERIMENTS["fig9"].recipes]
    test, validation = (tau_table("tau", outcomes, films) for films in ("test", "validation"))
    assert [row.heads for row in test.rows] == [(f"0.{tenths}",) for tenths in range(1, 10)]
    printed = {row.heads[0]: [cell.published for cell in row.cells] for row in test.rows}
    assert printed["0.1"] == [0.841, 0.828, None]
    assert printed["0.7"] == [0.841, 0.817, 0.868]
    assert {cell.published for row in validation.rows for cell in row.cells} == {None}
    assert validation.rows[0].cells[0].measured != test.rows[0].cells[0].measured


def test_all_seeds_are_reported_with_their_mean_and_spread(make_outcome) -> None:
    """The line of ours is the mean with the standard deviation; the CSV has every seed besides."""
    outcome = make_outcome("table2-GLF", seeds=3)
    values = [run.sets["test"].branches[BranchName.FUSION].mean_auc for run in outcome.runs]
    measured = outcome.measured("test", BranchName.FUSION)
    assert measured is not None
    assert measured.value == pytest.approx(sum(values) / 3)
    assert measured.spread == pytest.approx((sum((value - measured.value) ** 2 for value in values) / 2) ** 0.5)
    assert measured.low == pytest.approx(measured.value - 0.02)
    table = order_table("Table II", [outcome])
    assert f"\N{PLUS-MINUS SIGN} {measured.spread:.3f}" in to_markdown(table)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["source"] for row in rows] == ["paper", "here", "seed 0", "seed 1", "seed 2"]
    assert [float(row["Fusion"]) for row in rows[2:]] == pytest.approx(values, rel=1e-5)
    assert float(rows[1]["Fusion spread"]) == pytest.approx(measured.spread, rel=1e-5)


def test_one_seed_has_no_spread(make_outcome) -> None:
    """A single run says nothing of how runs differ."""
    outcome = make_outcome("table2-GLF")
    assert outcome.measured("test", BranchName.LOCAL).spread is None
    assert "\N{PLUS-MINUS SIGN}" not in to_markdown(order_table("Table II", [outcome]))


def test_a_recipe_that_failed_leaves_dashes(make_outcome) -> None:
    """Its row stays, with the paper's numbers; the rest of the table is whole."""
    failed = load_recipe("table3-l1")
    outcomes = [make_outcome("table3-max"), Outcome(failed, failed, (), ()), make_outcome("table3-l2")]
    _, *lines = lines_of(to_markdown(statistic_table("Table III", outcomes)))
    assert lines[3] == ["table3-l1", "here", NONE, NONE, NONE]
    assert lines[2][2:] == ["0.8412", "0.8210", "0.8681"]
    assert "table3-l1" not in gain_note(outcomes, 4)
    with pytest.raises(TrainingError, match="No run of table3-l1 has finished"):
        outcomes[1].predictions("test")


def test_a_table_is_about_films_that_every_run_measured(make_outcome) -> None:
    """Where one run has no test films, all are compared on validation films, and the table says so."""
    outcomes = [make_outcome("table3-max"), make_outcome("table3-l1", sets=["validation"])]
    assert common_set(outcomes[:1]) == "test"
    assert common_set(outcomes) == "validation"
    assert "measured on the validation films" in to_markdown(statistic_table("Table III", outcomes))


@pytest.mark.parametrize(
    ("product", "name", "digits"), [(orders_product, "table2-GLF", 3), (statistics_product, "table3-max", 4)]
)
def test_what_fusion_adds_is_said_with_its_interval(make_outcome, tmp_path, product, name, digits) -> None:
    """The paper's claim is this difference; it has the decimals of the table above it."""
    outcome = make_outcome(name)
    gain = outcome.difference("test", BranchName.GLOBAL, BranchName.FUSION)
    assert isinstance(gain, OverSeeds)
    page, *_ = product(TrainedExperiment("table", "A table", (outcome,), (), tmp_path, (), show=None))
    style = f"+.{digits}f"
    told = f"{name} {gain.value:{style}} ({-0.01:{style}} to {0.03:{style}})"
    assert told.replace("-0", "\u22120") in page.read_text()


def test_results_of_another_shape_are_one_sentence(tmp_path) -> None:
    """A results file that is broken or missing is named."""
    with pytest.raises(TrainingError, match=r"results\.json holds no results"):
        read_run(tmp_path)
    (tmp_path / "results.json").write_text('{"recipe": "table3-max", "seed": "none"}')
    with pytest.raises(TrainingError, match=r"results\.json holds no results"):
        read_run(tmp_path)


def test_the_short_names_of_table_1_are_explained(make_outcome) -> None:
    """Pne1 and Pne2 are told apart below the table; so is the star, where a row has it. Table II's is another."""
    names = "Pne1: Pneumonia; Pne2: Pneumothorax; PT: Pleural Thickening"
    with_star, without = (
        to_markdown(label_table("I", [make_outcome(name)])) for name in ("chexnet", "table1-resnet50")
    )
    assert (names in with_star, "A star: by the paper" in with_star) == (True, True)
    assert (names in without, "A star: by the paper" in without) == (True, False)
    second = to_markdown(order_table("II", [make_outcome("table2-G_L_F_star")]))
    assert (names in second, "A star: by the paper" in second) == (False, False)
    assert "A star: global and local branch go on learning while the fusion is trained." in second
