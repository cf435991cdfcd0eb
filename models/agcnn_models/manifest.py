"""manifest.toml, which says what a bundle's weights are: written, read and checked here, without torch."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agcnn_models.errors import ModelError
from agcnn_models.labels import LABELS
from agcnn_models.settings import AttentionSettings, Backbone, Pooling, Preprocessing

FORMAT_VERSION = 1
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
    """sigmoid(a * logit + b), with an a and a b for each label (Platt 1999)."""


_Value = TypeVar("_Value")


def _of_known_labels(values: Mapping[str, _Value]) -> Mapping[str, _Value]:
    if unknown := sorted(values.keys() - set(LABELS)):
        raise ValueError(f"{', '.join(unknown)}: not among the labels")
    return values


def _of_every_label(values: Mapping[str, _Value]) -> Mapping[str, _Value]:
    if missing := [label for label in LABELS if label not in values]:
        raise ValueError(f"no value for {', '.join(missing)}")
    return _of_known_labels(values)


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
    """From which calibrated fusion probability on (inclusive) a label counts as positive.

    `set_id` names the set wherever a finding is recorded; `method` says how it was chosen.
    """

    set_id: _Slug
    method: _Sentence
    values: Annotated[Mapping[str, _Fraction], AfterValidator(_of_every_label)]


class Thresholds(ThresholdSet):
    """A threshold set and the weights that it was chosen for."""

    weights_sha256: _Sha256


class Platt(_Part):
    """One label's calibration: sigmoid(a * logit + b)."""

    a: _Finite
    b: _Finite


class CalibrationSet(_Part):
    """How fusion logits become calibrated probabilities; NONE has no coefficients."""

    method: CalibrationMethod = CalibrationMethod.NONE
    coefficients: Annotated[Mapping[str, Platt], AfterValidator(_of_known_labels)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _coefficients_fit_the_method(self) -> Self:
        if self.method is CalibrationMethod.PLATT:
            _of_every_label(self.coefficients)
        elif self.coefficients:
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
    """One branch's AUC: the mean over the 14 pathologies with its 95% interval, and each label's own.

    A label without both outcomes among the films has no AUC and is left out; so is the interval of one that
    too few patients have. Average precision is of every label that occurs.
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
    """

    name: _Slug
    version: _Slug
    intended_use: _Sentence
    backbone: Backbone
    pooling: Pooling = Pooling.MAX
    attention: AttentionSettings = AttentionSettings()
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] = LABELS
    thresholds: ThresholdSet
    further_thresholds: tuple[ThresholdSet, ...] = ()
    calibration: CalibrationSet = CalibrationSet()
    training: Training
    metrics: Metrics | None = None
    software: Software

    @model_validator(mode="after")
    def _images_can_be_shrunk(self) -> Self:
        if self.preprocessing.crop % self.attention.detail:
            raise ValueError(f"attention.detail {self.attention.detail} does not divide crop {self.preprocessing.crop}")
        return self


class Manifest(Draft):
    """What a bundle says of its weights; thresholds and calibration name the weights they belong to."""

    format_version: Literal[1]
    weights: Weights
    thresholds: Thresholds
    further_thresholds: tuple[Thresholds, ...] = ()
    calibration: Calibration


def bind(draft: Draft, weights: Weights) -> Manifest:
    """Return the manifest of weights that are now stored; thresholds and calibration become theirs."""
    content = draft.model_dump()
    content |= {"format_version": FORMAT_VERSION, "weights": weights.model_dump()}
    for part in (content["thresholds"], *content["further_thresholds"], content["calibration"]):
        part["weights_sha256"] = weights.sha256
    return Manifest.model_validate(content)


def digest(manifest: Manifest) -> str:
    """Return the SHA-256 of a whole manifest: other thresholds over the same weights are another model."""
    return hashlib.sha256(json.dumps(manifest.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def require_consistent(manifest: Manifest) -> None:
    """Raise ModelError where labels, thresholds or calibration are not those of the manifest's weights."""
    if manifest.labels != LABELS:
        pairs = zip([*manifest.labels, None], [*LABELS, None], strict=False)
        position, (found, expected) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        raise ModelError(f"{manifest.name}: the labels differ: number {position + 1} is {found}, expected {expected}")
    expected = manifest.weights.sha256
    for part, found in (
        *(("thresholds", one.weights_sha256) for one in (manifest.thresholds, *manifest.further_thresholds)),
        ("calibration", manifest.calibration.weights_sha256),
    ):
        if found != expected:
            raise ModelError(
                f"{manifest.name}: the {part} belong to other weights: expected {expected[:12]}, found {found[:12]}"
            )


def to_toml(manifest: Manifest) -> str:
    """Return the manifest as TOML; read_manifest() gives the same manifest back."""
    content = manifest.model_dump(mode="json", exclude_none=True)
    first = {"format_version": content.pop("format_version")}  # what a reader must know before all else
    return tomli_w.dumps(first | content)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.toml, without touching its weights.

    Raises ModelError when it is missing, is no TOML, has an unknown format version, does not say all that
    a manifest says, or contradicts itself.
    """
    path = folder / MANIFEST_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a bundle: {MANIFEST_FILE} is missing") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid TOML: {error}") from error
    found = content.get("format_version")
    if found != FORMAT_VERSION:
        raise ModelError(f"{path} has format version {found}, expected {FORMAT_VERSION}: use a newer agcnn-clinic")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path} is not a valid manifest: {_differences(error)}") from error
    require_consistent(manifest)
    return manifest


def _differences(error: ValidationError) -> str:
    """Say what is wrong where, for the first three places."""
    found = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return "; ".join(found[:3]) + ("; ..." if len(found) > 3 else "")
