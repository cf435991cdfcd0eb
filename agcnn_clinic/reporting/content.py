"""Everything that a report prints, as plain values: what `compose` makes of the rows and `render` makes a PDF of."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agcnn_clinic.domain import MediaType, Outcome, StudyDescription
from agcnn_clinic.wording import counted
from agcnn_models.labels import NO_FINDING, PATHOLOGIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Edition:
    """Which version of a study's report it is, when it was made, and by which software."""

    version: int
    created_at: datetime
    software_version: str
    replaces: tuple[int, datetime] | None = None
    """The version before it and its time."""


@dataclass(frozen=True)
class FindingRow:
    """One label of one image. Probabilities are in [0, 1]; `positive` is None where there is no threshold."""

    label: str
    probability: float
    probability_global: float
    probability_local: float
    probability_fusion: float
    threshold: float | None
    positive: bool | None

    @property
    def name(self) -> str:
        """The label as a person reads it."""
        return self.label.replace("_", " ")


@dataclass(frozen=True)
class Region:
    """The attended region by its edges, in pixels of the source image, and its size in mm where known."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    width_mm: float | None
    height_mm: float | None
    spacing_source: str


@dataclass(frozen=True)
class SeenArea:
    """The part of a picture that the network saw, as fractions of its width and height, from `start` to `end`."""

    start: float
    end: float


@dataclass(frozen=True)
class BranchFigures:
    """One branch's measured mean AUC with its 95 % interval."""

    branch: str
    mean_auc: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ModelFacts:
    """What a model's manifest says of it; what it does not say is empty or None."""

    name: str
    version: str
    weights_sha256: str
    manifest_sha256: str
    backbone: str
    seen: SeenArea
    film_side: int | None
    """Pixels along each side of the square that the whole film is scaled to before the network sees any of it."""
    calibrated: bool
    uncalibrated: tuple[str, ...]
    """Labels that the calibration leaves out."""
    not_assessed: tuple[str, ...]
    """Labels that the model never learnt, in the order of the others; it has no findings of them."""
    thresholds_id: str
    thresholds_method: str
    training_data: str
    training_counts: str
    pretraining: str
    evaluated_on: str
    branches: tuple[BranchFigures, ...]
    auc_of_label: dict[str, float]
    """The fusion branch's, by label."""
    intended_use: str

    @property
    def mean_auc(self) -> str:
        """What its mean AUC is called: over how many labels, where those are not all 14."""
        labels = len(self.auc_of_label.keys() - {NO_FINDING})
        return "Mean AUC" if labels in (0, len(PATHOLOGIES)) else f"Mean AUC over {counted(labels, 'label')}"


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that was read, by the reading that is printed."""

    inference_id: int
    """That reading's row."""
    number: int
    path: Path
    media_type: MediaType
    removed_at: datetime | None
    """When retention let go of its bytes: then it is printed without pictures."""
    original_name: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    modality: str
    view_position: str
    acquired: str
    """Date and time of acquisition by the sender's clock, as far as the header has them: `2026-01-31 08:15:00`."""
    when: str
    """What its title says of that: the hour and minute, after the date where a study is not of one day."""
    manufacturer: str
    rows: int
    columns: int
    bits_stored: int
    other_patient: str
    """What is remarked of whose image it is; empty where nothing names another patient than the study."""
    remarks: tuple[str, ...]
    """On the quality of the input."""
    findings: tuple[FindingRow, ...]
    """The pathologies by falling probability."""
    no_finding: FindingRow | None
    region: Region
    heat_map: "NDArray[np.float32]"
    """[h, w] in [0, 1], on the network's own grid."""
    model: ModelFacts
    device: str
    read_at: datetime
    software_version: str
    thresholds_id: str

    @property
    def name(self) -> str:
        """How the report calls it: its number and its view."""
        return f"Image {self.number}" + (f", {self.view_position}" if self.view_position else "")

    @property
    def title(self) -> str:
        """Its name and when it was taken."""
        return ", ".join(part for part in (self.name, self.when) if part)

    @property
    def positives(self) -> tuple[FindingRow, ...]:
        """The pathologies that reached their threshold, by falling probability."""
        return tuple(row for row in self.findings if row.positive)

    @property
    def not_assessed(self) -> tuple[str, ...]:
        """The pathologies of which its model says nothing."""
        return tuple(label for label in self.model.not_assessed if label != NO_FINDING)

    @property
    def has_thresholds(self) -> bool:
        """Whether any label has a threshold."""
        return any(row.threshold is not None for row in self.findings)


@dataclass(frozen=True)
class UnreadImage:
    """A file of the study that was not read, and why. `sop_instance_uid` is empty where it has none."""

    original_name: str
    sop_instance_uid: str
    view_position: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, eq=False)
class ReportContent:
    """One version of one study's report."""

    study_key: str
    study_revision: int
    study: StudyDescription
    edition: Edition
    images: tuple[ReadImage, ...]
    unread: tuple[UnreadImage, ...]
    requested_model: str = ""
    """Name and version of the model whose readings were asked for; empty in the clinic's own report."""

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """The models that read the images, each once."""
        return tuple({image.model.manifest_sha256: image.model for image in self.images}.values())

    def model_name(self, model: ModelFacts) -> str:
        """What one of its models is called here: name and version, and its manifest where another bears the same."""
        name = f"{model.name} {model.version}"
        same = [other for other in self.models if (other.name, other.version) == (model.name, model.version)]
        return name if len(same) == 1 else f"{name} (manifest {model.manifest_sha256[:12]})"

    def read_by(self, image: ReadImage) -> str:
        """The name of the model that read an image; empty where one model read all."""
        return self.model_name(image.model) if len(self.models) > 1 else ""


def person_name(name: str) -> list[str]:
    """A DICOM person name (PS3.5 6.2.1.1) as lines: the alphabetic, the ideographic and the phonetic group.

    A group is `Family^Given^Middle^Prefix^Suffix`; names in Han, Kana or Hangul keep their own order, without a comma.
    """
    lines = []
    for group in name.split("=")[:3]:
        family, *others = (part.strip() for part in group.split("^"))
        given, middle, prefix, suffix = [*others, "", "", "", ""][:4]
        rest = " ".join(part for part in (prefix, given, middle, suffix) if part)
        comma = " " if any(_eastern(character) for character in family + rest) else ", "
        if line := comma.join(part for part in (family, rest) if part):
            lines.append(line)
    return lines


_EASTERN = (
    ("\u1100", "\u11ff"),
    ("\u2e80", "\ud7ff"),
    ("\uf900", "\ufaff"),  # Han that another standard has twice
    ("\uff66", "\uffdc"),  # half as wide: the Kana of ISO_IR 13, in which Japanese names are often sent (PS3.5 H.3.2)
    ("\U00020000", "\U0003ffff"),
)
"""Where Unicode has Hangul, Kana and Han, first and last."""


def computed_on(device: str) -> str:
    """On what an image was read, as a person reads it: the device, and the precision where not all was in float32."""
    name, _, precision = device.partition(" ")
    return f"{name} in {precision} precision" if precision else name


def _eastern(character: str) -> bool:
    return any(first <= character <= last for first, last in _EASTERN)


def age(birth_date: str, study_date: str) -> int | None:
    """Whole years at the time of the study; None where a date is missing or they are the wrong way round."""
    try:
        born, then = date.fromisoformat(birth_date), date.fromisoformat(study_date)
    except ValueError:
        return None
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return years if years >= 0 else None
