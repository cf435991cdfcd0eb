"""The Image Pixel Module (PS3.3 C.7.6.3): what a header says of the pixel data, checked before they are touched."""

from dataclasses import dataclass

from pydicom import uid as uids
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.codes import IMAGE_CLASSES
from agcnn_clinic.dicom.facts import PIXEL_KEYWORDS, describes_image
from agcnn_clinic.dicom.text import number, text
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

MAX_BITS = 16
"""Radiographs have at most 16 bits (PS3.3 C.8.11.3.1); dose grids and float maps are not for us."""

REQUIRED = ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored")


@dataclass(frozen=True)
class PixelLayout:
    """The Image Pixel Module (PS3.3 C.7.6.3) of one frame, checked."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    syntax: uids.UID


def pixel_layout(dataset: Dataset) -> PixelLayout:
    """Return what a header says of its pixel data.

    Raises:
        ImageError: NO_PIXELS, MISSING_ATTRIBUTE, PIXEL_LENGTH, COLOUR, UNSUPPORTED_SYNTAX or UNREADABLE_PIXELS.
    """
    if "PixelData" not in dataset:
        raise _without_pixels(dataset)
    for keyword in REQUIRED:
        if not text(dataset, keyword):
            raise ImageError(ReasonCode.MISSING_ATTRIBUTE, f"{keyword} is missing")
    rows, columns = number(dataset, "Rows"), number(dataset, "Columns")
    samples, allocated = number(dataset, "SamplesPerPixel"), number(dataset, "BitsAllocated")
    stored = number(dataset, "BitsStored")
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if rows < 1 or columns < 1:
        raise ImageError(ReasonCode.MISSING_ATTRIBUTE, "Rows or Columns is 0")
    if photometric == "PALETTE COLOR":
        raise ImageError(ReasonCode.COLOUR, "it has a colour palette")
    if samples not in (1, 3) or (samples == 1) != photometric.startswith("MONOCHROME"):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "Samples per Pixel contradicts the photometric interpretation")
    if allocated not in (8, MAX_BITS) or not 1 <= stored <= allocated:
        raise ImageError(
            ReasonCode.UNREADABLE_PIXELS, f"{stored} bits stored in {allocated} allocated; it takes 8 or 16"
        )
    high_bit = number(dataset, "HighBit") if text(dataset, "HighBit") else stored - 1
    return PixelLayout(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if stored - 1 <= high_bit < allocated else stored - 1,
        signed=number(dataset, "PixelRepresentation") == 1,
        photometric=photometric,
        syntax=uids.UID(text(dataset.file_meta, "TransferSyntaxUID")),
    )


def _without_pixels(dataset: Dataset) -> ImageError:
    """Return why a data set has no pixel data, as far as it tells."""
    if any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        return ImageError(ReasonCode.UNREADABLE_PIXELS, "the pixels are floating-point numbers")
    if "PixelDataProviderURL" in dataset:  # as the JPIP Referenced syntaxes want it (PS3.5 A.6)
        return ImageError(ReasonCode.UNSUPPORTED_SYNTAX, "the pixels are on a server, not in the file")
    if describes_image(dataset) or text(dataset, "SOPClassUID") in IMAGE_CLASSES:
        # pydicom drops an element that the end of the file cuts off.
        return ImageError(ReasonCode.PIXEL_LENGTH, "the file ends before the pixel data do")
    return ImageError(ReasonCode.NO_PIXELS)
