"""The values that rooms exchange: what is told of a study and an image, and a picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agcnn_clinic.domain.outcomes import Warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StudyDescription:
    """The patient and study level of what was received (PS3.3 C.7.1.1 and C.7.2.1), as text ready to be shown.

    Dates are ISO 8601 (`2026-01-31`) or empty. Patient names are as DICOM wrote them (`Family^Given`), with the
    component groups separated by `=`.
    """

    study_instance_uid: str
    patient_id: str = ""
    patient_name: str = ""
    patient_sex: str = ""
    patient_birth_date: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    institution_name: str = ""


@dataclass(frozen=True)
class InstanceDescription:
    """The series and image level of one file, as far as the clinic uses it."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    modality: str = ""
    body_part_examined: str = ""
    view_position: str = ""
    photometric_interpretation: str = ""
    rows: int = 0
    columns: int = 0
    bits_stored: int = 0
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    acquisition_date_time: str = ""


@dataclass(frozen=True)
class Header:
    """All that intake learns from a file before its pixels are decoded."""

    study: StudyDescription
    instance: InstanceDescription


@dataclass(frozen=True)
class Geometry:
    """How pixels of a picture map to the source image and to millimetres.

    A picture is isotropic; `scale_x` and `scale_y` say how many source pixels one picture pixel spans
    (1.0 where the source was isotropic). `spacing_mm` is the size of a picture pixel, None where unknown.
    """

    source_rows: int
    source_columns: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    spacing_mm: float | None = None
    spacing_source: str = ""
    """The attribute that the spacing came from; `ImagerPixelSpacing` is the detector's, not the patient's."""

    def __post_init__(self) -> None:
        """Refuse what no image has; it may come from a process that a file took over."""
        sides, scales = (self.source_rows, self.source_columns), (self.scale_x, self.scale_y)
        has_size = self.spacing_mm is None or self.spacing_mm > 0
        if not (has_size and all(1 <= side < 2**31 for side in sides) and all(0 < scale < 2**31 for scale in scales)):
            raise ValueError("An image has pixels, and each of them a size.")


@dataclass(frozen=True)
class Tones:
    """How bright the pixels of a picture are.

    Attributes:
        low, high: the 1st and the 99th percentile, in [0, 1].
        black, white: the fractions of pixels that are 0 and 1.
    """

    low: float
    high: float
    black: float
    white: float


@dataclass(frozen=True, eq=False)
class Picture:
    """One grey image as it lies in its file, ready for the model and for the eye.

    Attributes:
        pixels: float32 [height, width] in [0, 1]; 1 is the brightest (MONOCHROME2: dense tissue is bright).
        geometry: how it maps to the source.
        sha256: of the pixels and their shape: equal pictures have equal hashes.
        tones: how bright its pixels are.
        warnings: remarks for the report.
    """

    pixels: "NDArray[np.float32]"
    geometry: Geometry
    sha256: str
    tones: Tones
    warnings: tuple[Warn, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no network may be given; NaN is refused too."""
        pixels = self.pixels
        if pixels.ndim != 2 or not pixels.size or not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError("A picture is [height, width] in [0, 1].")
