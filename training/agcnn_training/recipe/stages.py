"""A recipe's stages (Algorithm 1) and the phases that each is made of."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from agcnn_models.manifest import BranchName
from agcnn_training.recipe.choices import Loss, Optimiser, Schedule, Start
from agcnn_training.recipe.tables import NonNegative, Positive, Settings, Share, Side

_STARTS: Final = {
    BranchName.GLOBAL: (Start.BACKBONE, Start.FILE, Start.RANDOM),
    BranchName.LOCAL: (Start.BACKBONE, Start.FILE, Start.GLOBAL, Start.RANDOM),
    BranchName.FUSION: (Start.BRANCHES, Start.RANDOM),
}

FIRST_START: Final = {
    BranchName.GLOBAL: Start.BACKBONE,
    BranchName.LOCAL: Start.BACKBONE,
    BranchName.FUSION: Start.RANDOM,
}
"""Where a part begins that no stage before has trained, when its recipe does not say."""


class AugmentationRecipe(Settings):
    """Random changes of a training film; the defaults are the paper's: random resized crop and flip."""

    scale: tuple[Positive, Positive] = (0.08, 1.0)
    """The share of the film's area that a crop covers; above 1, where it may, the film shrinks on a black border."""
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    """Width over height of the crop."""
    inside: bool = True
    """Whether the crop must lie within the film, being drawn until it does; if not, its centre moves by ``shift``."""
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
    def _ordered(self) -> Self:
        if self.scale[0] > self.scale[1] or self.aspect[0] > self.aspect[1]:
            msg = "scale and aspect are (smallest, largest)"
            raise ValueError(msg)
        return self


class AsymmetricRecipe(Settings):
    """The asymmetric loss (Ridnik et al. 2021); the defaults are the publication's."""

    gamma_positive: NonNegative = 0.0
    """How much easy positives are discounted; 0 is not at all."""
    gamma_negative: NonNegative = 4.0
    clip: Share = 0.05
    """Negatives below this probability cost nothing."""


class PhaseRecipe(Settings):
    """One optimisation: so many epochs at one size with one schedule."""

    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Films behind each step of the optimiser, however many parts they are computed in."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts that a batch is computed in, one after the other, when the device cannot hold it whole."""
    size: Side | None = None
    """Side of the training images; ``images.crop`` when left out."""
    loss: Loss = Loss.BCE
    asymmetric: AsymmetricRecipe = AsymmetricRecipe()
    """Settings of ``loss = "asymmetric"``."""
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
    judge_every: Annotated[int, Field(ge=1)] = 1
    """Epochs from one judging on the validation films to the next; the last epoch is judged always."""
    joint: bool = True
    """Whether a phase that trains the global branch learns what ``[joint]`` lists; without it those heads rest."""
    augmentation: AugmentationRecipe = AugmentationRecipe()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.batch_size < 2 * self.accumulate:
            msg = f"accumulate ({self.accumulate}) leaves parts of fewer than two films of batch_size {self.batch_size}"
            raise ValueError(msg)
        return self

    def pretraining_films(self, share: float) -> int:
        """How many films of a batch are pretraining films, when they are this share of it."""
        return round(self.batch_size * share)


class StageRecipe(Settings):
    """One stage: the parts that learn together while all others are fixed.

    The stage ends with the weights that had the best mean AUC on validation, of the last of its parts, over all epochs
    of all its phases.
    """

    trains: Annotated[tuple[BranchName, ...], Field(min_length=1)]
    """Always in the order global, local, fusion."""
    start: Mapping[BranchName, Start] = Field(default_factory=dict)
    """Where its parts begin. What is left out goes on with the weights that it has, or begins as in ``FIRST_START``."""
    phases: Annotated[tuple[PhaseRecipe, ...], Field(min_length=1)] = (PhaseRecipe(),)
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+([+_][a-z0-9]+)*$")] = ""
    """Of its files in the run folder; its parts joined by "+" when left out."""

    @field_validator("trains")
    @classmethod
    def _in_order(cls, value: tuple[BranchName, ...]) -> tuple[BranchName, ...]:
        if len(set(value)) < len(value):
            msg = "names a part twice"
            raise ValueError(msg)
        return tuple(part for part in BranchName if part in value)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, dict) and "name" not in value and isinstance(value.get("trains"), list | tuple):
            return value | {"name": "+".join(part for part in BranchName if part in value["trains"])}
        return value

    @model_validator(mode="after")
    def _starts(self) -> Self:
        for part, start in self.start.items():
            if part not in self.trains:
                raise ValueError(f"start.{part} is given, but the stage does not train {part}")
            if start not in _STARTS[part]:
                names = " or ".join(choice.value for choice in _STARTS[part])
                raise ValueError(f"start.{part} is {start}, but {part} can start from {names}")
        return self

    @property
    def judged(self) -> BranchName:
        """The part whose validation AUC selects: the last of those that it trains."""
        return self.trains[-1]
