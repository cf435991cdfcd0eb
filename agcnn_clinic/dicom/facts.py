"""What a header says that decides whether an image may be read."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from agcnn_clinic.dicom.codes import (
    ALWAYS_LOSSY,
    IMAGE_CLASSES,
    VIEW_CODES,
    View,
    view_from_orientation,
    view_from_words,
)
from agcnn_clinic.dicom.text import number, text, values

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class ImageFacts:
    """The facts of one image, from a DICOM header or from what is known of a PNG.

    Attributes:
        modality: Modality (0008,0060).
        sop_class_uid: SOP Class UID (0008,0016); empty for a PNG.
        view: the first of View Position, View Code Sequence and Patient Orientation that tells.
        body_part: Body Part Examined (0018,0015), else the anatomic region's meaning.
        rows, columns: of the source image; 0 where not stated.
        number_of_frames: 1 where not stated.
        samples_per_pixel: 1 is grey, 3 is colour or grey written thrice.
        photometric_interpretation: (0028,0004).
        has_image: the object is of an image class or describes an image.
        lossy: it was compressed with loss.
        burned_in: Burned In Annotation (0028,0301) says YES.
    """

    modality: str
    sop_class_uid: str
    view: View
    body_part: str
    rows: int
    columns: int
    number_of_frames: int = 1
    samples_per_pixel: int = 1
    photometric_interpretation: str = ""
    has_image: bool = True
    lossy: bool = False
    burned_in: bool = False


def image_facts(dataset: Dataset) -> ImageFacts:
    """Return what a data set says of its image. Values that cannot be converted count as not stated."""
    syntax = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    sop_class = text(dataset, "SOPClassUID")
    return ImageFacts(
        modality=text(dataset, "Modality").upper(),
        sop_class_uid=sop_class,
        view=view_of(dataset),
        body_part=text(dataset, "BodyPartExamined") or _anatomic_region(dataset),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        number_of_frames=max(number(dataset, "NumberOfFrames"), 1),
        samples_per_pixel=max(number(dataset, "SamplesPerPixel"), 1),
        photometric_interpretation=text(dataset, "PhotometricInterpretation").upper(),
        has_image=(
            sop_class in IMAGE_CLASSES or describes_image(dataset) or any(one in dataset for one in PIXEL_KEYWORDS)
        ),
        lossy=text(dataset, "LossyImageCompression") == "01" or syntax in ALWAYS_LOSSY,
        burned_in=text(dataset, "BurnedInAnnotation").upper() == "YES",
    )


def describes_image(dataset: Dataset) -> bool:
    """Tell whether a data set has attributes that only images have, whatever became of the pixels."""
    return any(keyword in dataset for keyword in ("Rows", "Columns", "BitsAllocated"))


def view_of(dataset: Dataset) -> View:
    """Return the view by View Position, else by View Code Sequence, else LATERAL by Patient Orientation."""
    return (
        view_from_words(text(dataset, "ViewPosition"))
        or next((VIEW_CODES[code] for code in _codes(dataset, "ViewCodeSequence") if code in VIEW_CODES), View.UNKNOWN)
        or view_from_orientation(tuple(values(dataset, "PatientOrientation")))
    )


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    return [text(item, "CodeValue") for item in _items(dataset, keyword)]


def _anatomic_region(dataset: Dataset) -> str:
    meanings = [text(item, "CodeMeaning") for item in _items(dataset, "AnatomicRegionSequence")]
    return meanings[0] if meanings else ""


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        found = dataset.get(keyword) or []
        return [item for item in found if isinstance(item, Dataset)]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (pydicom converts on access, and a broken sequence may raise anything)
        return []
