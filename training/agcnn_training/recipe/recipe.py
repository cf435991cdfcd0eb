"""A whole recipe, and what holds between its tables."""

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from agcnn_models.manifest import SLUG_LENGTH, SLUG_PATTERN, BranchName
from agcnn_models.settings import Architecture, Preprocessing
from agcnn_training.recipe.choices import Aim
from agcnn_training.recipe.stages import FIRST_START, PhaseRecipe, StageRecipe
from agcnn_training.recipe.tables import (
    CardRecipe,
    ComputeRecipe,
    ImageRecipe,
    JointRecipe,
    NetworkRecipe,
    PaperRecipe,
    Settings,
    SplitRecipe,
)

_FINEST = 8192
"""Pixels a side above which a film cannot be meant; no detector has more."""


class Recipe(Settings):
    """A whole training run. ``phase`` is already merged into the phases of ``stages``.

    What a bundle's manifest refuses is refused here, where it costs nothing, and not when the training has ended.
    """

    name: str
    version: str = "1.0.0"
    description: str
    seed: int = 0
    network: NetworkRecipe = NetworkRecipe()
    images: ImageRecipe = ImageRecipe()
    split: SplitRecipe = SplitRecipe()
    compute: ComputeRecipe = ComputeRecipe()
    joint: JointRecipe = JointRecipe()
    card: CardRecipe = CardRecipe()
    paper: PaperRecipe | None = None
    phase: PhaseRecipe = PhaseRecipe()
    stages: Annotated[tuple[StageRecipe, ...], Field(min_length=1)]

    @field_validator("name", "version")
    @classmethod
    def _names_a_bundle(cls, value: str) -> str:
        if not re.fullmatch(SLUG_PATTERN, value):
            raise ValueError(
                f"{value!r} becomes part of a bundle's names: write it with letters, digits and . _ + - alone, a "
                "letter or a digit first"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _stages_complete(cls, value: object) -> object:
        """Give every phase what ``[phase]`` says and it does not, and every part that is new a start."""
        if not isinstance(value, dict) or not isinstance(value.get("stages"), list | tuple):
            return value
        common = value.get("phase", {})
        stages = [_with_phases(stage, common if isinstance(common, dict) else {}) for stage in value["stages"]]
        return value | {"stages": _with_starts(stages)}

    @model_validator(mode="after")
    def _names_its_threshold_sets(self) -> Self:
        longest = max((aim.set_id(self.model) for aim in Aim), key=len)
        if (excess := len(longest) - SLUG_LENGTH) > 0:
            raise ValueError(
                f"name and version begin the names of threshold sets, of which {longest} would be longer than "
                f"{SLUG_LENGTH} characters: make the name shorter by {excess}"
            )
        return self

    @model_validator(mode="after")
    def _stages_follow(self) -> Self:
        names = [stage.name for stage in self.stages]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two stages are called {min(repeated)}: give one of them another name")
        known: set[BranchName] = set()
        for number, stage in enumerate(self.stages):
            known |= set(stage.trains)
            needed = list(BranchName)[: list(BranchName).index(stage.judged)]
            if missing := [part for part in needed if part not in known]:
                raise ValueError(
                    f"stages.{number} trains {stage.judged}, but {missing[0]} is trained by no stage so far"
                )
        return self

    @model_validator(mode="after")
    def _parts_are_a_network(self) -> Self:
        if self.parts not in ((BranchName.GLOBAL,), tuple(BranchName)):
            missing = next(part for part in BranchName if part not in self.parts)
            raise ValueError(f"{missing} is trained by no stage: train all of {', '.join(BranchName)}, or global alone")
        if self.parts == (BranchName.GLOBAL,) and self.network.attention.detail != 1:
            msg = "without a local branch there is nothing to show finer: leave network.attention.detail out"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        network, finest = self.network, self.images.resize * self.network.attention.detail
        if finest > _FINEST:
            raise ValueError(f"images.resize times network.attention.detail is {finest}: at most {_FINEST} is possible")
        if network.architecture is not Architecture.AGCNN:
            if self.parts != (BranchName.GLOBAL,):
                raise ValueError(f"{network.architecture} has one branch: every stage trains global alone")
            if self.joint.auxiliary or self.joint.pretraining_share:
                raise ValueError(f"{network.architecture} learns the labels alone: leave [joint] out")
        for stage in self.stages:
            for phase in stage.phases if BranchName.GLOBAL in stage.trains else ():
                self._require_both_sources(phase)
        return self

    def _require_both_sources(self, phase: PhaseRecipe) -> None:
        """Make sure that each batch has labelled films, and pretraining films where a share of it is theirs."""
        share = self.joint.pretraining_share
        further = phase.pretraining_films(share)
        if phase.joint and share and not 0 < further < phase.batch_size:
            raise ValueError(
                f"a joint.pretraining_share of {share:g} makes {further} of {phase.batch_size} films of a batch "
                "pretraining films, and there must be films of both kinds: change it, or batch_size"
            )

    @property
    def model(self) -> str:
        """What the network that it makes is called, its version included."""
        return f"{self.name}-{self.version}"

    @property
    def parts(self) -> tuple[BranchName, ...]:
        """The parts that the run trains in any of its stages, in the order global, local, fusion."""
        return tuple(part for part in BranchName if any(part in stage.trains for stage in self.stages))

    def preprocessing(self) -> Preprocessing:
        """Films as they are read, cached and served: ``images``, ``detail`` times finer."""
        detail = self.network.attention.detail
        return Preprocessing(resize=self.images.resize * detail, crop=self.images.crop * detail)

    def resolved(self) -> dict[str, object]:
        """The whole recipe with every inherited and default value, as JSON takes it; makes an equal recipe again."""
        return self.model_dump(mode="json")


def merged(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Lay changes over a table: tables merge key by key, all else replaces."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _with_phases(stage: object, common: Mapping[str, object]) -> object:
    """A stage as read, its phases completed; what is not shaped as one is left for validation to name."""
    if not isinstance(stage, dict):
        return stage
    phases = stage.get("phases", [{}])
    if not isinstance(phases, list | tuple):
        return stage
    complete = [merged(common, phase) if isinstance(phase, dict) else phase for phase in phases]
    return stage | {"phases": complete}


def _with_starts(stages: list[object]) -> list[object]:
    """Stages as read, in which every part that no stage before has trained begins somewhere."""
    known: set[object] = set()
    complete: list[object] = []
    for stage in stages:
        parts = stage.get("trains") if isinstance(stage, dict) else None
        start = stage.get("start", {}) if isinstance(stage, dict) else None
        if isinstance(stage, dict) and isinstance(parts, list | tuple) and isinstance(start, dict):
            usual = {part: FIRST_START[part] for part in BranchName if part in parts and part not in known}
            complete.append(stage | {"start": usual | start})
            known.update(parts)
        else:
            complete.append(stage)
    return complete
