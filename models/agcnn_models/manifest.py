"""What a bundle's manifest says of its weights. Needs no torch; manifest_file.py writes, reads and checks the file."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name, require_known
from agcnn_models.settings import AttentionSettings, Backbone, Pooling, Preprocessing

EVERY_LABEL_DECIDED: Final = 1
"""The format of a manifest in which each label has thresholds and, where there is a calibration, its part of it."""
FORMAT_VERSION: Final = 2
"""The newest format: labels may lack them, or not be assessed at all. Written only where that is so, for software
that knows the first format alone would take such a manifest for a damaged one."""
MANIFEST_FILE = "manifest.toml"
WEIGHTS_FILE = "model.safetensors"
MODEL_CARD_FILE = "MODEL_CARD.md"


class WeightsDtype(StrEnum):
    """How floating-point weights are stored; they always compute as float32."""

    FLOAT16 = "float16"
    """All that its range suits; BatchNorm's statistics, and a tensor with a value beyond it, are float32."""
    FLOAT32 = "float32"


class BranchName(StrEnum):
    """The three outputs of AG-CNN (Fig. 2)."""

    GLOBAL = "global"
    LOCAL = "local"
    FUSION = "fusion"


class CalibrationMethod(StrEnum):
    """How a fusion logit becomes a calibrated probability."""

    NONE = "none"
    """sigmoid(logit), which is Eq. 1."""
    PLATT = "platt"
    """sigmoid(a * logit + b), with an a and a b for each label that has them (Platt 1999); else sigmoid(logit)."""


_Value = TypeVar("_Value")


def _of_known_labels(values: Mapping[str, _Value]) -> Mapping[str, _Value]:
    require_known(values)
    return values


def _labels_once(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels in their order, so that the same ones make the same manifest."""
    require_known(labels)
    return tuple(label for label in LABELS if label in labels)


_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SLUG_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
SLUG_LENGTH: Final = 64
_Slug = Annotated[str, Field(pattern=SLUG_PATTERN, max_length=SLUG_LENGTH)]
_Sentence = Annotated[str, Field(min_length=1)]
_Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(_Part):
    """The file of weights: SHA-256 of its bytes and the precision in which it stores them."""

    sha256: _Sha256
    dtype: WeightsDtype


class ThresholdSet(_Part):
    """From which calibrated fusion probability on (inclusive) a label counts as positive; without one it never does.

    `set_id` names the set wherever a finding is recorded; `method` says how it was chosen.
    """

    set_id: _Slug
    method: _Sentence
    values: Annotated[Mapping[str, _Fraction], AfterValidator(_of_known_labels)]


class Thresholds(ThresholdSet):
    """A threshold set and the weights that it was chosen for."""

    weights_sha256: _Sha256


class Platt(_Part):
    """One label's calibration: sigmoid(a * logit + b)."""

    a: _Finite
    b: _Finite


UNCALIBRATED: Final = Platt(a=1.0, b=0.0)
"""Leaves a logit as it is."""


class CalibrationSet(_Part):
    """How fusion logits become calibrated probabilities; NONE has no coefficients.

    A label without coefficients beside others that have them is uncalibrated: nothing was there to fit them to.
    """

    method: CalibrationMethod = CalibrationMethod.NONE
    coefficients: Annotated[Mapping[str, Platt], AfterValidator(_of_known_labels)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _coefficients_fit_the_method(self) -> Self:
        if self.method is CalibrationMethod.NONE and self.coefficients:
            raise ValueError(f"calibration {self.method} takes no coefficients")
        return self


class Calibration(CalibrationSet):
    """A calibration and the weights whose logits it was fitted to."""

    weights_sha256: _Sha256


class Training(_Part):
    """What the weights learnt from. `data` is a sentence; `settings` has room for a recipe's values."""

    data: _Sentence
    recipe: str
    split: _Sentence
    seed: int
    films_train: _Count
    films_validation: _Count
    patients_train: _Count
    patients_validation: _Count
    epochs: Mapping[str, _Count] = Field(default_factory=dict)
    """Epochs of each stage that was trained, by its name; one whose place a given branch took is not among them."""
    pretraining: str = "none"
    settings: Mapping[str, str | int | float | bool] = Field(default_factory=dict)


class BranchMetrics(_Part):
    """One branch's AUC: the mean over the pathologies that have one, with its 95% interval, and each label's own.

    A label that is not assessed, or is without both outcomes among the films, has no AUC and is left out; so is the
    interval of one that too few patients have. Average precision is of every label that occurs.
    """

    mean_auc: _Fraction
    ci_low: _Fraction
    ci_high: _Fraction
    auc: Annotated[Mapping[str, _Fraction], AfterValidator(_of_known_labels)]
    auc_ci: Annotated[Mapping[str, tuple[_Fraction, _Fraction]], AfterValidator(_of_known_labels)] = Field(
        default_factory=dict
    )
    average_precision: Annotated[Mapping[str, _Fraction], AfterValidator(_of_known_labels)] = Field(
        default_factory=dict
    )


class Metrics(_Part):
    """How well each branch did; `evaluated_on` is a sentence that says on what."""

    evaluated_on: _Sentence
    films: _Count
    patients: _Count
    branches: Mapping[BranchName, BranchMetrics]


class Software(_Part):
    """The versions that made the weights."""

    agcnn: str
    torch: str
    torchvision: str
    python: str


class Draft(_Part):
    """A manifest as its author writes it, before the weights are stored and have a hash.

    `name` and `version` may be part of a file's name. `thresholds` are the ones in use; `further_thresholds`
    are sets chosen for other aims. `metrics` are None for weights not yet measured.

    `not_assessed` are labels of which the weights have learnt nothing: the network's outputs for them are what it began
    with, so they are never told, and such a label has no probability, no threshold and no finding.
    """

    name: _Slug
    version: _Slug
    intended_use: _Sentence
    backbone: Backbone
    pooling: Pooling = Pooling.MAX
    attention: AttentionSettings = AttentionSettings()
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] = LABELS
    not_assessed: Annotated[tuple[str, ...], AfterValidator(_labels_once)] = ()
    thresholds: ThresholdSet
    further_thresholds: tuple[ThresholdSet, ...] = ()
    calibration: CalibrationSet = CalibrationSet()
    training: Training
    metrics: Metrics | None = None
    software: Software

    @property
    def assessed(self) -> tuple[str, ...]:
        """The labels of which the model says something, in the order of LABELS."""
        return tuple(label for label in self.labels if label not in self.not_assessed)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The labels that it assesses without a threshold to call them positive by."""
        return tuple(label for label in self.assessed if label not in self.thresholds.values)

    @model_serializer(mode="wrap")
    def _only_where_it_says_something(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A manifest that assesses every label keeps the hash that it had before there was this key (see `digest`).
        content: dict[str, Any] = write(self)
        if not content.get("not_assessed"):
            content.pop("not_assessed", None)
        return content

    @model_validator(mode="after")
    def _decides_only_what_it_assesses(self) -> Self:
        for part in (self.thresholds, *self.further_thresholds):
            _require_none(part.values, self.not_assessed, f"threshold in {part.set_id}")
        _require_none(self.calibration.coefficients, self.not_assessed, "calibration")
        if not set(self.assessed) & set(PATHOLOGIES):
            raise ValueError("it assesses no finding")
        return self

    @model_validator(mode="after")
    def _images_can_be_shrunk(self) -> Self:
        if self.preprocessing.crop % self.attention.detail:
            raise ValueError(f"attention.detail {self.attention.detail} does not divide crop {self.preprocessing.crop}")
        return self


class Manifest(Draft):
    """What a bundle says of its weights; thresholds and calibration name the weights they belong to."""

    format_version: Literal[1, 2]
    weights: Weights
    thresholds: Thresholds
    further_thresholds: tuple[Thresholds, ...] = ()
    calibration: Calibration

    @model_validator(mode="after")
    def _first_format_decides_every_label(self) -> Self:
        if self.format_version == EVERY_LABEL_DECIDED and (missing := _lacking(self)):
            raise ValueError(f"no value for {', '.join(missing)}")
        return self


def bind(draft: Draft, weights: Weights) -> Manifest:
    """Return the manifest of weights that are now stored; thresholds and calibration become theirs."""
    content = draft.model_dump()
    version = FORMAT_VERSION if _lacking(draft) else EVERY_LABEL_DECIDED
    content |= {"format_version": version, "weights": weights.model_dump()}
    for part in (content["thresholds"], *content["further_thresholds"], content["calibration"]):
        part["weights_sha256"] = weights.sha256
    return Manifest.model_validate(content)


def _lacking(draft: Draft) -> list[str]:
    """The labels that are not assessed, lack a threshold, or lack coefficients of a calibration that has some."""
    parts = [one.values.keys() for one in (draft.thresholds, *draft.further_thresholds)]
    if draft.calibration.method is CalibrationMethod.PLATT:
        parts.append(draft.calibration.coefficients.keys())
    return [label for label in LABELS if label in draft.not_assessed or any(label not in part for part in parts)]


def _require_none(values: Mapping[str, Any], labels: tuple[str, ...], what: str) -> None:
    if found := [label for label in labels if label in values]:
        raise ValueError(f"{', '.join(found)}: not assessed, so without a {what}")


def digest(manifest: Manifest) -> str:
    """Return the SHA-256 of a whole manifest: other thresholds over the same weights are another model."""
    return hashlib.sha256(json.dumps(manifest.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def limits(manifest: Manifest) -> list[str]:
    """What a model does not say of a film, a sentence each; none of one that decides every label."""
    sentences = []
    if manifest.not_assessed:
        sentences.append(f"Not assessed, since the model never learnt them: {_named(manifest.not_assessed)}.")
    if manifest.undecided:
        sentences.append(f"Without a threshold, so never called positive: {_named(manifest.undecided)}.")
    return sentences


def _named(labels: tuple[str, ...]) -> str:
    return ", ".join(map(display_name, labels))
