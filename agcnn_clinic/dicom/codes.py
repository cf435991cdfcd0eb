"""The parts of the standard that decide what an image is, as data."""

from pydicom import uid as uids

IMAGE_CLASSES: frozenset[str] = frozenset(
    {
        uids.ComputedRadiographyImageStorage,
        uids.DigitalXRayImageStorageForPresentation,
        uids.DigitalXRayImageStorageForProcessing,
        uids.SecondaryCaptureImageStorage,
        uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uids.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""SOP classes (PS3.4 B.5) that may hold a plain radiograph; frames and colour are looked at apart."""

FOR_PROCESSING_CLASSES: frozenset[str] = frozenset({uids.DigitalXRayImageStorageForProcessing})
"""Those of them whose images are raw data."""

ALWAYS_LOSSY: frozenset[str] = frozenset(
    {
        uids.JPEGBaseline8Bit,
        uids.JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",  # Spectral Selection, retired
        "1.2.840.10008.1.2.4.55",  # Full Progression, retired
    }
)
"""Transfer syntaxes (PS3.5 A.4) that cannot be lossless; of the others Lossy Image Compression (0028,2110) speaks."""

DECODED_AS: dict[str, str] = {
    "1.2.840.10008.1.2.4.53": uids.JPEGExtended12Bit,
    "1.2.840.10008.1.2.4.55": uids.JPEGExtended12Bit,
}
"""Retired JPEG syntaxes that pydicom registers no decoder for. A JPEG stream says its own process (ITU-T T.81 B.2.2),
and libjpeg follows it, so they decode under the name of a syntax of the same family."""
