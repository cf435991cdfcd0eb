"""Which experiment trains which recipes, and what is written of them; the ids are those of the paper's tables."""

from dataclasses import dataclass
from typing import Final

from agcnn_training.errors import TrainingError
from agcnn_training.experiments.products import (
    Product,
    branch_curves_product,
    labels_product,
    network_curves_product,
    orders_product,
    regions_product,
    statistics_product,
    tau_curve_product,
    tau_sets_product,
    top_ten_product,
)
from agcnn_training.recipe import Recipe, load_recipe, recipe_names


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: what it is asked for by.
        title: as the paper has it.
        recipes: in the order of its rows.
        product: writes it.
    """

    name: str
    title: str
    recipes: tuple[str, ...]
    product: Product


_TAUS: Final = tuple(f"tau-0.{tenths}" for tenths in range(1, 10))

EXPERIMENTS: Final = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "table1",
            "Table I. Comparison results of various methods on ChestX-ray14",
            ("wang-2017", "yao-2017", "chexnet", "kumar-2017", "table1-resnet50", "table1-densenet121"),
            labels_product,
        ),
        Experiment(
            "table2",
            "Table II. Results of different training strategies",
            ("table2-GL_F", "table2-GLF", "table2-G_LF", "table2-G_L_F_star", "table2-G_L_F"),
            orders_product,
        ),
        Experiment(
            "table3",
            "Table III. Results corresponding different statistics",
            ("table3-max", "table3-l1", "table3-l2"),
            statistics_product,
        ),
        Experiment(
            "controls",
            "Controls. What the local branch sees, against the attended region trained alike",
            (
                "table2-GLF",
                "control-joint",
                "table1-resnet50",
                "control-sequential",
                "control-random-box",
                "control-centre-box",
            ),
            regions_product,
        ),
        Experiment("fig5", "Fig. 5. ROC curves of the branches", ("table1-densenet121",), branch_curves_product),
        Experiment(
            "fig6",
            "Fig. 6. ROC curves of AG-CNN on the 14 diseases",
            ("table1-resnet50", "table1-densenet121"),
            network_curves_product,
        ),
        Experiment("fig7", "Fig. 7. Examples of classification results", ("table1-resnet50",), top_ten_product),
        Experiment("fig8", "Fig. 8. Average AUC for different tau on the validation set", _TAUS, tau_curve_product),
        Experiment("fig9", "Fig. 9. Average AUC for different tau on the test set", _TAUS, tau_sets_product),
    )
}


def recipe_experiments() -> tuple[str, ...]:
    """The names of the recipes that are experiments too: those that learn from one table of films, as all others do."""
    return tuple(name for name in recipe_names() if not _needs_more(load_recipe(name)))


def find_experiment(name: str) -> Experiment:
    """The experiment of that name; a recipe's name is an experiment with that recipe alone.

    Raises:
        TrainingError: there is neither, or the recipe learns from further films, of which an experiment has none.
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    if name not in recipe_names():
        raise TrainingError(
            f"There is no experiment {name!r}: give one of {', '.join(EXPERIMENTS)}, or the name of a recipe "
            f"({', '.join(recipe_experiments())})."
        )
    recipe = load_recipe(name)
    if _needs_more(recipe):
        raise TrainingError(
            f"The recipe {name} learns from pretraining films too, which an experiment is not given: run it by "
            f"`agcnn-clinic train --recipe {name}` with --pretrain-data and --pretrain-images."
        )
    return Experiment(name, recipe.description, (name,), labels_product)


def _needs_more(recipe: Recipe) -> bool:
    return recipe.joint.pretraining_share > 0
