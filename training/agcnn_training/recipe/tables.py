"""A recipe's plain tables: network, images, split, what is learnt beside the labels, arithmetic, texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agcnn_models.labels import require_known
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Architecture, AttentionSettings, Backbone, Pooling
from agcnn_training.recipe.choices import Auxiliary, ClassifierBias, InitialWeights, Precision, SplitMethod

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=32, le=4096)]
Area = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A table of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkRecipe(Settings):
    """Fig. 2: the network."""

    architecture: Architecture = Architecture.AGCNN
    backbone: Backbone = Backbone.RESNET50
    pooling: Pooling = Pooling.MAX
    initial_weights: InitialWeights = InitialWeights.IMAGENET
    classifier_bias: ClassifierBias = ClassifierBias.PREVALENCE
    """Of a branch that begins with a new classifier."""
    attention: AttentionSettings = AttentionSettings()


class ImageRecipe(Settings):
    """Sizes in pixels: a film is squashed to ``resize`` squared; the network sees the central ``crop`` squared.

    Where ``network.attention.detail`` is above 1 these are the sizes that the global branch sees; films are read that
    many times finer (see ``Recipe.preprocessing``).
    """

    resize: Side = 256
    crop: Side = 224

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.resize:
            msg = f"crop ({self.crop}) is larger than resize ({self.resize})"
            raise ValueError(msg)
        return self


class SplitRecipe(Settings):
    """Which films train, which choose epochs and thresholds, and which only measure."""

    method: SplitMethod | None = None
    """Left out: official for ChestX-ray14, patient for a table, which has no lists."""
    validation: Annotated[float, Field(gt=0, lt=0.9)] = 0.125
    """Share that validates: of the patients, and of the train_val patients where the split is official."""
    test: Share = 0.0
    """Share that tests, likewise; not used where the method itself says which films test."""
    seed: int = 0
    train_list: Path | None = None
    """A file of image names, one a line; relative to the data. Given for ``lists`` and for nothing else."""
    validation_list: Path | None = None
    test_list: Path | None = None
    """May be left out: then no film tests."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.validation + self.test >= 1:
            msg = f"validation ({self.validation:g}) and test ({self.test:g}) leave no films to train on"
            raise ValueError(msg)
        given = {name for name in ("train_list", "validation_list", "test_list") if getattr(self, name) is not None}
        if self.method is SplitMethod.LISTS:
            if missing := sorted({"train_list", "validation_list"} - given):
                raise ValueError(f'method "lists" needs {" and ".join(missing)}')
        elif given:
            raise ValueError(f'{" and ".join(sorted(given))} is for method "lists" only')
        return self


class JointRecipe(Settings):
    """What the global branch learns beside the labels; these heads are dropped when the stage ends."""

    auxiliary: tuple[Auxiliary, ...] = ()
    auxiliary_weight: NonNegative = 0.0
    pretraining_share: Share = 0.0
    """Share of each batch that is drawn from the pretraining films, when they are given."""
    pretraining_weight: NonNegative = 0.0

    @model_validator(mode="after")
    def _counts(self) -> Self:
        for what, weight in (("auxiliary", "auxiliary_weight"), ("pretraining_share", "pretraining_weight")):
            if getattr(self, what) and not getattr(self, weight):
                raise ValueError(f"{what} is given and {weight} is 0, so nothing is learnt of it: set both, or neither")
        return self


class ComputeRecipe(Settings):
    """How the arithmetic is done; none of it is meant to change a result beyond rounding."""

    precision: Precision = Precision.FLOAT32
    channels_last: bool = True
    compile: bool = False
    """Whether torch.compile translates the network first: minutes at the start, faster steps after, on a GPU."""
    graphs: bool = True
    """Whether a GPU's steps are recorded and repeated whole (CUDA graphs); one process without ``compile`` does so."""
    shards: Annotated[int, Field(ge=1)] = 1
    """Threads that share each batch, a core each; BatchNorm then sees a share at a time (see ``Shards``)."""
    evaluation_batch: Annotated[int, Field(ge=1)] = 32
    checkpoint_minutes: Positive = 10.0
    """A checkpoint is written so often: what a crash can cost. One is also written after each epoch that is judged."""


class CardRecipe(Settings):
    """What MODEL_CARD.md says beyond what the run itself can count."""

    data: Annotated[str, Field(min_length=1)] | None = None
    """What the films are; None for what is known of them (``Dataset.about``)."""
    limits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class PaperRecipe(Settings):
    """What was published for these settings, to stand beside what is measured; never inherited by ``extends``."""

    source: str
    """Where it stands, as "Table I"."""
    mean_auc: Mapping[BranchName, Area] = Field(default_factory=dict)
    auc: Mapping[BranchName, Mapping[str, Area]] = Field(default_factory=dict)
    """For each branch the area of each label that was published."""

    @field_validator("auc")
    @classmethod
    def _of_known_labels(
        cls, value: Mapping[BranchName, Mapping[str, float]]
    ) -> Mapping[BranchName, Mapping[str, float]]:
        require_known(label for areas in value.values() for label in areas)
        return value
