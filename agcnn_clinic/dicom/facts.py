"""What a header says that decides whether an image may be read."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from agcnn_clinic.dicom.body_parts import region_part
from agcnn_clinic.dicom.codes import ALWAYS_LOSSY, FOR_PROCESSING_CLASSES, IMAGE_CLASSES
from agcnn_clinic.dicom.orientation import NOT_ORIENTED, Orientation, orientation_of
from agcnn_clinic.dicom.text import number, text, values
from agcnn_clinic.dicom.views import (
    StatedView,
    View,
    view_from_code,
    view_from_description,
    view_from_modifier,
    view_from_orientation,
    view_from_words,
)

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_DESCRIPTIONS = {
    "BodyPartExamined": "Body Part Examined",
    "AcquisitionDeviceProcessingDescription": "Acquisition Device Processing Description",
    "ProtocolName": "Protocol Name",
    "SeriesDescription": "Series Description",
}
"""Attributes that are no place for a view, and where consoles name it all the same."""
_MODIFIERS = (
    ("View Modifier Code Sequence", "ViewCodeSequence", "ViewModifierCodeSequence"),
    (
        "Patient Orientation Code Sequence",
        "PatientOrientationCodeSequence",
        "PatientOrientationModifierCodeSequence",
    ),
)
"""Nested sequences that make another view of the one that is named, and the name by which they are told of."""


@dataclass(frozen=True)
class ImageFacts:
    """The facts of one image, from a DICOM header or from what is known of a PNG.

    Attributes:
        modality: Modality (0008,0060).
        sop_class_uid: SOP Class UID (0008,0016); empty for a PNG.
        views: what each attribute that speaks of the view says of it; empty where none does.
        body_parts: Body Part Examined (0018,0015) and the anatomic regions, as far as they are stated.
        rows, columns: of the source image; 0 where not stated.
        number_of_frames: 1 where not stated.
        photometric_interpretation: (0028,0004).
        has_image: the object is of an image class or describes an image.
        lossy: it was compressed with loss.
        burned_in: Burned In Annotation (0028,0301) says YES.
        for_processing: it is raw data, not what is displayed.
        orientation: Patient Orientation (0020,0020).
    """

    modality: str
    sop_class_uid: str
    views: tuple[StatedView, ...]
    body_parts: tuple[str, ...]
    rows: int
    columns: int
    number_of_frames: int = 1
    photometric_interpretation: str = ""
    has_image: bool = True
    lossy: bool = False
    burned_in: bool = False
    for_processing: bool = False
    orientation: Orientation = NOT_ORIENTED


def image_facts(dataset: Dataset) -> ImageFacts:
    """Return what a data set says of its image. Values that cannot be converted count as not stated."""
    syntax = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    sop_class = text(dataset, "SOPClassUID")
    return ImageFacts(
        modality=text(dataset, "Modality").upper(),
        sop_class_uid=sop_class,
        views=stated_views(dataset),
        body_parts=_body_parts(dataset),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        number_of_frames=max(number(dataset, "NumberOfFrames"), 1),
        photometric_interpretation=text(dataset, "PhotometricInterpretation").upper(),
        has_image=(
            sop_class in IMAGE_CLASSES or describes_image(dataset) or any(one in dataset for one in PIXEL_KEYWORDS)
        ),
        lossy=text(dataset, "LossyImageCompression") == "01" or syntax in ALWAYS_LOSSY,
        burned_in=text(dataset, "BurnedInAnnotation").upper() == "YES",
        for_processing=(
            sop_class in FOR_PROCESSING_CLASSES or text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING"
        ),
        orientation=orientation_of(values(dataset, "PatientOrientation")),
    )


def describes_image(dataset: Dataset) -> bool:
    """Tell whether a data set has attributes that only images have, whatever became of the pixels."""
    return any(keyword in dataset for keyword in ("Rows", "Columns", "BitsAllocated"))


def view_of(dataset: Dataset) -> View:
    """Return the first view that is stated, UNKNOWN where none is."""
    return next((one.view for one in stated_views(dataset)), View.UNKNOWN)


def stated_views(dataset: Dataset) -> tuple[StatedView, ...]:
    """Return what is said of the view: by View Position, the codes, Patient Orientation, and descriptions.

    All of them are asked, since each may be what a console fills in by itself, whatever was taken.
    """
    position, orientation = text(dataset, "ViewPosition"), orientation_of(values(dataset, "PatientOrientation"))
    codes = [_coded(item) for item in _items(dataset, "ViewCodeSequence")]
    modifiers = [
        (name, _coded(modifier))
        for name, sequence, nested in _MODIFIERS
        for item in _items(dataset, sequence)
        for modifier in _items(item, nested)
    ]
    found = (
        StatedView(view_from_words(position), "View Position", position),
        *(StatedView(view_from_code(*code), "View Code Sequence", code[1] or code[0]) for code in codes),
        StatedView(view_from_orientation(orientation), "Patient Orientation"),
        *(StatedView(view_from_modifier(*code), name, code[1] or code[0]) for name, code in modifiers),
        *(StatedView(view_from_description(text(dataset, one)), name) for one, name in _DESCRIPTIONS.items()),
    )
    return tuple(one for one in found if one.view)


def _body_parts(dataset: Dataset) -> tuple[str, ...]:
    regions = [region_part(*_coded(item)) for item in _items(dataset, "AnatomicRegionSequence")]
    return tuple(part for part in (text(dataset, "BodyPartExamined"), *regions) if part)


def _coded(item: Dataset) -> tuple[str, str]:
    """The value and the meaning of a coded entry (PS3.3 8.8)."""
    return text(item, "CodeValue") or text(item, "LongCodeValue"), text(item, "CodeMeaning")


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        found = dataset.get(keyword) or []
        return [item for item in found if isinstance(item, Dataset)]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (pydicom converts on access, and a broken sequence may raise anything)
        return []
