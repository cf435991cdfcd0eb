"""What finished runs measured: one recipe's runs, one a seed, and each figure with its interval and its spread."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agcnn_models.labels import PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_training.data.splits import TEST, TRAIN, VALIDATION
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.writing import RESULTS_FILE
from agcnn_training.recipe import Recipe

_NO_BOUNDS: Final = (None, None)
_DOES: Final = {TRAIN: "train", VALIDATION: "validate", TEST: "test"}


Bounds = tuple[float | None, float | None]
"""The ends of an interval; None where there is none."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # results.json says more than tables print


class BranchAreas(_Part):
    """One branch on one set of films: areas under the ROC curve with their 95 % intervals, where they have one."""

    mean_auc: float
    ci: Bounds
    auc: Mapping[str, float]
    auc_ci: Mapping[str, Bounds] = Field(default_factory=dict)


class BranchDifference(_Part):
    """How much the mean area of a second branch exceeds a first one's, with the interval of paired draws."""

    first: BranchName
    second: BranchName
    mean_auc: float
    ci: Bounds


class SetAreas(_Part):
    """All branches of one run on one set of films."""

    films: int
    patients: int
    branches: Mapping[BranchName, BranchAreas]
    differences: tuple[BranchDifference, ...] = ()


class Sides(_Part):
    """How many films and patients lie on each side of a split, and how many patients each two sides share."""

    films: Mapping[str, int]
    patients: Mapping[str, int]
    overlap: Mapping[str, int]

    def told(self) -> str:
        """The counts as part of a sentence."""
        counts = ", ".join(
            f"{number:,} films of {self.patients[side]:,} patients {_DOES[side]}"
            for side, number in self.films.items()
            if number
        )
        shared = ", ".join(f"{number:,} ({pair})" for pair, number in self.overlap.items() if number)
        return f"{counts}; {'patients on two sides: ' + shared if shared else 'no patient is on two sides'}"


class RunAreas(_Part):
    """What one run measured, by set of films, and what it had to learn from."""

    recipe: str
    seed: int
    sets: Mapping[str, SetAreas]
    split: Sides


@dataclass(frozen=True)
class OverSeeds:
    """A figure over the seeds of one recipe.

    Attributes:
        value: the mean of the seeds.
        low, high: of its 95 % interval over films: the mean of the seeds' own; None where none was computed.
        spread: the standard deviation of the seeds (n - 1); None for one seed.
        seeds: each seed's own value.
    """

    value: float
    low: float | None
    high: float | None
    spread: float | None
    seeds: Mapping[int, float]


@dataclass(frozen=True)
class Outcome:
    """One recipe of an experiment.

    Attributes:
        recipe: as it is shipped.
        as_run: the same with what was set otherwise, which stands in the notes under the table.
        runs: what each finished seed measured; empty when every run failed.
        folders: the run folder of each, in the same order.
    """

    recipe: Recipe
    as_run: Recipe
    runs: tuple[RunAreas, ...]
    folders: tuple[Path, ...]

    def published(self, branch: BranchName, label: str | None = None) -> float | None:
        """The paper's figure for a branch: of one label, or the mean over the 14 pathologies."""
        if self.recipe.paper is None:
            return None
        if label is None:
            return self.recipe.paper.mean_auc.get(branch)
        return self.recipe.paper.auc.get(branch, {}).get(label)

    def measured(self, films: str, branch: BranchName, label: str | None = None) -> OverSeeds | None:
        """Our figure on a set of films, or None where no run has it."""
        found = {
            run.seed: areas
            for run in self.runs
            if films in run.sets and (areas := run.sets[films].branches.get(branch)) is not None
        }
        if label is None:
            return _over_seeds({seed: (areas.mean_auc, areas.ci) for seed, areas in found.items()})
        return _over_seeds(
            {
                seed: (areas.auc[label], areas.auc_ci.get(label, _NO_BOUNDS))
                for seed, areas in found.items()
                if label in areas.auc
            }
        )

    def difference(self, films: str, first: BranchName, second: BranchName) -> OverSeeds | None:
        """How much the mean area of the second branch exceeds the first one's, or None where no run has both."""
        return _over_seeds(
            {
                run.seed: (one.mean_auc, one.ci)
                for run in self.runs
                if films in run.sets
                for one in run.sets[films].differences
                if (one.first, one.second) == (first, second)
            }
        )

    def lacking(self, films: str) -> tuple[str, ...]:
        """The pathologies that lack one outcome among a set of films, so that no mean of ours is over them."""
        measured = [areas.auc for run in self.runs if films in run.sets for areas in run.sets[films].branches.values()]
        return tuple(label for label in PATHOLOGIES if any(label not in areas for areas in measured))

    def predictions(self, films: str) -> Predictions:
        """What the first seed's network said of each film of a set.

        Raises:
            TrainingError: no run has finished, or its file is gone.
        """
        if not self.folders:
            raise TrainingError(f"No run of {self.recipe.name} has finished: repeat the command to train it.")
        return Predictions.load(self.folders[0] / f"predictions-{films}.npz")


def read_run(folder: Path) -> RunAreas:
    """Read a finished run's results.

    Raises:
        TrainingError: the file is missing or is not of that shape.
    """
    path = folder / RESULTS_FILE
    try:
        return RunAreas.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            f"{path} holds no results ({error}): take the folder away and repeat the command."
        ) from error


def common_set(outcomes: Sequence[Outcome]) -> str:
    """The films that a table is about: test where every run measured those, else validation."""
    runs = [run for outcome in outcomes for run in outcome.runs]
    return TEST if runs and all(TEST in run.sets for run in runs) else VALIDATION


def notes_on_films(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A sentence on the films that ours are made of, for each split that runs have: the paper's are 112,120."""
    recipes: dict[str, list[str]] = {}
    for outcome in outcomes:
        for told in dict.fromkeys(run.split.told() for run in outcome.runs):
            recipes.setdefault(told, []).append(outcome.recipe.name)
    return tuple(
        f"Here{_whose(names, among=recipes)}: {told}. The paper has 112,120 films of 30,805 patients, split by film "
        "(70/10/20)."
        for told, names in recipes.items()
    )


def _whose(names: Sequence[str], *, among: Collection[str]) -> str:
    return f" ({', '.join(names)})" if len(among) > 1 else ""


def _over_seeds(found: Mapping[int, tuple[float, Bounds]]) -> OverSeeds | None:
    """One figure of each seed's value and interval."""
    if not found:
        return None
    values = [value for value, _ in found.values()]
    lows = [low for _, (low, _) in found.values() if low is not None]
    highs = [high for _, (_, high) in found.values() if high is not None]
    return OverSeeds(
        value=fmean(values),
        low=fmean(lows) if lows else None,
        high=fmean(highs) if highs else None,
        spread=stdev(values) if len(values) > 1 else None,
        seeds={seed: value for seed, (value, _) in found.items()},
    )
