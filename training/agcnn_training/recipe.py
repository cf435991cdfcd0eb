"""Recipes: every setting of a training run, in one TOML file, typed and frozen.

A stage of Algorithm 1 is a list of phases, trained one after another; the paper has one phase a stage. Nothing
has a default that changes a result silently: what a recipe leaves out is the paper's setting (PAPER: Guan et al.
2018, section IV-B), and ``extra = "forbid"`` makes a misspelt key an error.
"""

import tomllib
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agcnn_models.settings import (
    AttentionSettings,
    Backbone,
    Grid,
    HeatScale,
    Pooling,
    Preprocessing,
    Statistic,
    Threshold,
)
from agcnn_training.errors import TrainingError

_SOURCE_RECIPES: Final = Path(__file__).resolve().parent.parent / "recipes"

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Precision(StrEnum):
    """The number format of the forward pass; weights and optimiser stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Optimiser(StrEnum):
    """The rule that moves the weights."""

    SGD = "sgd"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """How the learning rate falls over a phase."""

    CONSTANT = "constant"
    STEP = "step"
    """Divided by 10 every ``drop_every`` epochs, as the paper does."""
    COSINE = "cosine"
    """From the learning rate to zero along half a cosine."""


class Start(StrEnum):
    """Where a stage's weights begin."""

    BACKBONE = "backbone"
    """The backbone's initial weights (see ``InitialWeights``)."""
    GLOBAL = "global"
    """A copy of the trained global branch (stage II)."""
    BRANCHES = "branches"
    """The mean of the two branches' own classifiers (stage III)."""
    RANDOM = "random"
    """A fresh linear layer (stage III)."""


class Auxiliary(StrEnum):
    """What else the global branch may be asked to tell from the same film, during training only."""

    VIEW = "view"
    SEX = "sex"
    AGE = "age"


class InitialWeights(StrEnum):
    """What the branches begin with."""

    IMAGENET = "imagenet"
    """torchvision's ImageNet weights: the file that ``--init`` names, else downloaded."""
    RANDOM = "random"
    """None, unless ``--init`` names a file."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttentionRecipe(_Settings):
    """Eq. 3 and 4: how the crop is chosen."""

    statistic: Statistic = Statistic.MAX
    tau: Annotated[float, Field(gt=0, lt=1)] = 0.7
    heat_scale: HeatScale = HeatScale.MIN_MAX
    threshold: Threshold = Threshold.VALUE
    grid: Grid = Grid.UPSAMPLED

    def settings(self) -> AttentionSettings:
        """The same, as the network takes it."""
        return AttentionSettings(**self.model_dump())


class NetworkRecipe(_Settings):
    """Fig. 2: the network."""

    backbone: Backbone = Backbone.RESNET50
    pooling: Pooling = Pooling.MAX
    initial_weights: InitialWeights = InitialWeights.IMAGENET
    attention: AttentionRecipe = AttentionRecipe()


class ImageRecipe(_Settings):
    """Sizes in pixels: a film is squashed to ``resize`` squared; the network sees the central ``crop`` squared."""

    resize: Annotated[int, Field(ge=32, le=2048)] = 256
    crop: Annotated[int, Field(ge=32, le=2048)] = 224

    @model_validator(mode="after")
    def _crop_fits(self) -> "ImageRecipe":
        if self.crop > self.resize:
            msg = f"crop ({self.crop}) is larger than resize ({self.resize})"
            raise ValueError(msg)
        return self

    def preprocessing(self) -> Preprocessing:
        """The same, as training and serving take it."""
        return Preprocessing(resize=self.resize, crop=self.crop)


class SplitRecipe(_Settings):
    """The share of patients that is kept out for selection, thresholds and metrics."""

    validation: Annotated[float, Field(gt=0, lt=0.9)] = 0.125
    seed: int = 0


class AugmentationRecipe(_Settings):
    """Random changes of a training film; the defaults are the paper's: random resized crop and flip."""

    scale: tuple[Positive, Positive] = (0.08, 1.0)
    """The share of the film's area that a crop covers; above 1 the film shrinks on a black border."""
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    """Width over height of the crop."""
    inside: bool = True
    """Whether the crop must lie within the film; if not, its centre moves by ``shift``."""
    shift: NonNegative = 0.0
    """Largest move of the crop's centre, as a share of the film's side."""
    rotation: NonNegative = 0.0
    """Largest turn in degrees."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right mirror."""
    gamma: NonNegative = 0.0
    """Grey values are raised to exp(u), u uniform in +-gamma."""
    contrast: NonNegative = 0.0
    """Distances from the mean are multiplied by exp(u), u uniform in +-contrast."""
    brightness: NonNegative = 0.0
    """Added grey, uniform in +-brightness (white is 1)."""
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a rectangle of 10 to 35 % of the side is painted over."""

    @model_validator(mode="after")
    def _ordered(self) -> "AugmentationRecipe":
        if self.scale[0] > self.scale[1] or self.aspect[0] > self.aspect[1]:
            msg = "scale and aspect are (smallest, largest)"
            raise ValueError(msg)
        return self


class PhaseRecipe(_Settings):
    """One optimisation: so many epochs at one size with one schedule."""

    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = 64
    size: Annotated[int, Field(ge=32, le=2048)] | None = None
    """Side of the training images; ``images.crop`` when left out."""
    optimiser: Optimiser = Optimiser.SGD
    learning_rate: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: NonNegative = 1e-4
    decay_vectors: bool = True
    """Whether biases and BatchNorm parameters decay too, as plain SGD does."""
    schedule: Schedule = Schedule.STEP
    drop_every: Annotated[int, Field(ge=1)] = 20
    warmup: Share = 0.0
    """Share of the phase's steps over which the rate rises linearly from zero."""
    clip_norm: Positive | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    mixup: NonNegative = 0.0
    """Beta(mixup, mixup) mixes pairs of films and their labels; 0 is off."""
    average: Share = 0.0
    """Decay of the exponential moving average of the weights that is evaluated and kept; 0 is off."""
    joint: bool = True
    """Whether a phase of stage I learns what ``[joint]`` lists beside the labels; without it the heads rest."""
    augmentation: AugmentationRecipe = AugmentationRecipe()


class StageRecipe(_Settings):
    """One stage of Algorithm 1."""

    start: Start
    phases: Annotated[tuple[PhaseRecipe, ...], Field(min_length=1)]


class StagesRecipe(_Settings):
    """Algorithm 1: the global branch, then the local branch, then their fusion."""

    global_: StageRecipe = Field(alias="global")
    local: StageRecipe
    fusion: StageRecipe

    @model_validator(mode="after")
    def _starts(self) -> "StagesRecipe":
        allowed = {
            "global": (self.global_.start, {Start.BACKBONE}),
            "local": (self.local.start, {Start.BACKBONE, Start.GLOBAL}),
            "fusion": (self.fusion.start, {Start.RANDOM, Start.BRANCHES}),
        }
        for name, (start, choices) in allowed.items():
            if start not in choices:
                names = " or ".join(sorted(choices))
                msg = f"stages.{name}.start is {start}, but that stage can start from {names}"
                raise ValueError(msg)
        return self


class JointRecipe(_Settings):
    """What the global branch learns beside the labels; these heads are dropped when the stage ends."""

    auxiliary: tuple[Auxiliary, ...] = ()
    auxiliary_weight: NonNegative = 0.0
    pretraining_share: Share = 0.0
    """Share of each batch that is drawn from the pretraining films, when they are given."""
    pretraining_weight: NonNegative = 0.0


class ComputeRecipe(_Settings):
    """How the arithmetic is done; none of it is meant to change a result beyond rounding."""

    precision: Precision = Precision.FLOAT32
    channels_last: bool = True
    shards: Annotated[int, Field(ge=1)] = 1
    """Threads that share each batch, a core each; BatchNorm then sees a share at a time (see ``Shards``)."""
    evaluation_batch: Annotated[int, Field(ge=1)] = 32


class CardRecipe(_Settings):
    """What MODEL_CARD.md says beyond what the run itself can count."""

    data: str = "Chest films with the labels of the table that was given."
    limits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Recipe(_Settings):
    """A whole training run."""

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
    stages: StagesRecipe


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with the project."""
    return tuple(sorted(path.stem for path in _shipped()))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe that comes with the project, by name, or any TOML file, by path.

    Raises:
        TrainingError: there is no such recipe, or a key of it is unknown, missing or out of range.
    """
    shipped = {path.stem: path for path in _shipped()}
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise TrainingError(
            f"There is no recipe {name_or_path!r}: give the path of a TOML file or one of {', '.join(sorted(shipped))}."
        )
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"The recipe {path.name} is not valid TOML: {error}.") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']}" for item in error.errors()
        )
        raise TrainingError(f"Correct the recipe {path.name}: {wrong}.") from error


def _shipped() -> list[Path]:
    """The recipe files: inside the installed package, or beside it in the source tree."""
    installed = Path(str(resources.files("agcnn_training"))) / "recipes"
    return list((installed if installed.is_dir() else _SOURCE_RECIPES).glob("*.toml"))
