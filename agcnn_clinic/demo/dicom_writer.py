"""Write a picture as a DICOM radiograph: the one place where the demo and the tests make DICOM.

The objects are complete by PS3.3: A.2 (CR), A.26 (DX for presentation), A.8.1 (Secondary Capture).
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from imagecodecs import jpeg8_encode
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from agcnn_clinic import __version__
from agcnn_clinic.dicom.composite import coded, patient_and_study, sop_common
from agcnn_clinic.domain import StudyDescription

Stored = NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16."""

_SNOMED = "SCT"
_PREDICTORS = {JPEGLosslessSV1: 1, JPEGLossless: 7}


class Kind(StrEnum):
    """The image objects that can be written."""

    CR = "CR"
    DX = "DX"
    SC = "SC"


_SOP_CLASSES = {
    Kind.CR: ComputedRadiographyImageStorage,
    Kind.DX: DigitalXRayImageStorageForPresentation,
    Kind.SC: SecondaryCaptureImageStorage,
}

_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
}
"""View Code Sequence items (PS3.16 CID 4010), SNOMED CT."""

_ORIENTATIONS = {"PA": ["L", "F"], "AP": ["L", "F"], "LL": ["P", "F"]}
"""Patient Orientation: where rows and columns run to (PS3.3 C.7.6.1.1.1)."""


@dataclass(frozen=True)
class Format:
    """How a picture is stored.

    Attributes:
        kind: the image object.
        photometric: MONOCHROME2, or MONOCHROME1 with the values inverted.
        bits: Bits Stored, 8 to 16; above 8 in 16 bits allocated.
        transfer_syntax: uncompressed, deflated, or any that `compress` can write.
        rescale: slope and intercept of the Modality LUT; a DX image must keep (1, 0).
        window: write Window Center and Width that span all values.
    """

    kind: Kind = Kind.CR
    photometric: str = "MONOCHROME2"
    bits: int = 12
    transfer_syntax: str = ExplicitVRLittleEndian
    rescale: tuple[float, float] = (1.0, 0.0)
    window: bool = True

    def __post_init__(self) -> None:
        if self.photometric not in {"MONOCHROME1", "MONOCHROME2"}:
            raise ValueError(f"{self.photometric} is not a grey photometric interpretation.")
        if not 8 <= self.bits <= 16:
            raise ValueError(f"{self.bits} bits cannot be stored; give 8 to 16.")
        if self.kind is Kind.DX and self.rescale != (1.0, 0.0):
            raise ValueError("A DX image for presentation has a rescale slope of 1 and an intercept of 0.")


def stored_values(pixels: NDArray[np.float32], bits: int, photometric: str) -> Stored:
    """The integers that stand in the file for a picture in [0, 1], bright where dense."""
    highest = (1 << bits) - 1
    values: Stored = np.rint(np.clip(pixels, 0, 1) * highest).astype(np.uint8 if bits == 8 else np.uint16)
    return values if photometric == "MONOCHROME2" else (highest - values).astype(values.dtype)


def write_dicom(
    path: Path,
    pixels: NDArray[np.float32],
    *,
    study: StudyDescription,
    series_instance_uid: str,
    sop_instance_uid: str,
    image: Format = Format(),
    view: str = "PA",
    pixel_spacing_mm: float | None = None,
    instance_number: int = 1,
    acquisition_time: str = "",
    character_set: str | list[str] = "ISO_IR 192",
) -> Dataset:
    """Write a picture as a DICOM file; equal arguments give equal bytes.

    Args:
        path: the file; its folder must exist.
        pixels: [rows, columns] in [0, 1], bright where dense.
        study: patient and study; its ISO dates become DICOM's.
        series_instance_uid: of the series.
        sop_instance_uid: of this image.
        image: how to store it.
        view: View Position; empty when it is not known.
        pixel_spacing_mm: at the detector (Imager Pixel Spacing; Nominal Scanned Pixel Spacing for SC).
        instance_number: of the image in its series.
        acquisition_time: HHMMSS.
        character_set: Specific Character Set; the names must be expressible in it.

    Returns:
        The data set as written.

    Raises:
        ValueError: `pixels` is not one grey plane, or the transfer syntax cannot be written.
    """
    if pixels.ndim != 2:
        raise ValueError(f"A radiograph has rows and columns, not the shape {pixels.shape}.")
    dataset = Dataset()
    dataset.SpecificCharacterSet = character_set
    syntax = UID(image.transfer_syntax)
    # A compressed image starts from an uncompressed one.
    begun_as = ExplicitVRLittleEndian if syntax.is_encapsulated else syntax
    sop_common(dataset, _SOP_CLASSES[image.kind], sop_instance_uid, begun_as)
    patient_and_study(dataset, study)
    dataset.StudyID = study.accession_number
    _series(dataset, image, series_instance_uid)
    _image(dataset, image, study, view, instance_number, acquisition_time)
    _spacing(dataset, image, pixel_spacing_mm)
    _pixels(dataset, image, stored_values(pixels, image.bits, image.photometric))
    if syntax.is_encapsulated:
        compress(dataset, syntax)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def compress(dataset: Dataset, syntax: UID) -> None:
    """Compress the pixels of an image in Explicit VR Little Endian in place, without loss.

    As pydicom does, which has no encoder for lossless JPEG: libjpeg-turbo's writes a grey image, by Selection Value 1
    (ITU-T T.81 Table H.1) where the syntax wants it, else by 7.
    """
    if syntax not in _PREDICTORS:
        dataset.compress(syntax, generate_instance_uid=False)
        return
    shape, kind = (dataset.Rows, dataset.Columns), np.dtype(f"<u{dataset.BitsAllocated // 8}")
    words = np.frombuffer(dataset.PixelData, kind, count=shape[0] * shape[1]).reshape(shape)
    values = words & kind.type((1 << dataset.BitsStored) - 1)  # of a negative one the bits above are its sign
    stream = jpeg8_encode(values, lossless=True, predictor=_PREDICTORS[syntax], bitspersample=dataset.BitsStored)
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = syntax


def _series(dataset: Dataset, image: Format, uid: str) -> None:
    """PS3.3 C.7.3.1 (General Series), C.8.1.1 (CR), C.8.11.1 (DX), C.7.5.1 and C.8.6.1 (Equipment)."""
    # Secondary Capture of a radiograph says OT: the modality that made it is not known any more.
    dataset.Modality = "OT" if image.kind is Kind.SC else image.kind.value
    dataset.SeriesInstanceUID = uid
    dataset.SeriesNumber = 1
    dataset.Laterality = ""
    dataset.BodyPartExamined = "CHEST"
    dataset.Manufacturer = "agcnn-clinic"
    dataset.ManufacturerModelName = "Phantom"
    dataset.SoftwareVersions = __version__
    if image.kind is Kind.SC:
        dataset.ConversionType = "WSD"
    if image.kind is Kind.DX:
        dataset.PresentationIntentType = "FOR PRESENTATION"


def _image(
    dataset: Dataset, image: Format, study: StudyDescription, view: str, number: int, acquisition_time: str
) -> None:
    """PS3.3 C.7.6.1 (General Image), C.8.1.2 (CR), C.8.11.2 to C.8.11.5 (DX), C.11.1 and C.11.2 (LUTs)."""
    dataset.InstanceNumber = number
    dataset.ImageType = ["DERIVED", "SECONDARY"] if image.kind is Kind.SC else ["ORIGINAL", "PRIMARY", ""]
    dataset.ContentDate = dataset.AcquisitionDate = study.study_date.replace("-", "")
    dataset.ContentTime = dataset.AcquisitionTime = acquisition_time or study.study_time.replace(":", "")
    dataset.PatientOrientation = _ORIENTATIONS.get(view, "")
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    if image.kind is not Kind.SC:
        dataset.ViewPosition = view
        dataset.KVP = "120"
    if image.kind is Kind.DX:
        dataset.ImageLaterality = "U"
        dataset.AnatomicRegionSequence = [coded("816094009", _SNOMED, "Chest")]
        if view in _VIEW_CODES:
            value, meaning = _VIEW_CODES[view]
            dataset.ViewCodeSequence = [coded(value, _SNOMED, meaning)]
            dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
        dataset.AcquisitionContextSequence = []
        dataset.PixelIntensityRelationship = "LOG"
        # Bright is dense in MONOCHROME2 here: more X-rays, lower values.
        dataset.PixelIntensityRelationshipSign = -1 if image.photometric == "MONOCHROME2" else 1
        dataset.PresentationLUTShape = "IDENTITY" if image.photometric == "MONOCHROME2" else "INVERSE"
        dataset.DetectorType = "SCINTILLATOR"
        dataset.PositionerType = ""
    slope, intercept = image.rescale
    dataset.RescaleSlope = f"{slope:g}"
    dataset.RescaleIntercept = f"{intercept:g}"
    dataset.RescaleType = "US"
    if image.window:
        # PS3.3 C.11.2.1.2: this LINEAR window takes the lowest value to 0 and the highest to 1.
        values = 1 << image.bits
        dataset.WindowCenter = f"{slope * values / 2 + intercept:g}"
        dataset.WindowWidth = f"{slope * values:g}"


def _spacing(dataset: Dataset, image: Format, millimetres: float | None) -> None:
    if millimetres is None:
        return
    pair = [f"{millimetres:.6g}"] * 2
    if image.kind is Kind.SC:
        dataset.NominalScannedPixelSpacing = pair
    else:
        dataset.ImagerPixelSpacing = pair


def _pixels(dataset: Dataset, image: Format, values: Stored) -> None:
    """PS3.3 C.7.6.3 (Image Pixel)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = image.photometric
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    dataset.BitsStored = image.bits
    dataset.HighBit = image.bits - 1
    dataset.PixelRepresentation = 0
    big_endian = image.transfer_syntax == ExplicitVRBigEndian
    stored = values.astype(values.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    dataset.PixelData = stored + b"\0" * (len(stored) % 2)
    dataset["PixelData"].VR = "OB" if image.bits == 8 else "OW"
