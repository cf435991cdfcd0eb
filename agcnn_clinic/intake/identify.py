"""What a file is, by its content and never by its suffix."""

from agcnn_clinic.dicom.attributes import looks_like_dicom
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""Of a first file in it, and of a zip without files (APPNOTE 4.3.7, 4.3.16)."""


def media_type(head: bytes, name: str) -> MediaType:
    """Tell what a file is from its first bytes.

    Args:
        head: the beginning of the file, up to a few kilobytes.
        name: its name; only a study.toml is known by it, since TOML is plain text.
    """
    if head.startswith(PNG_SIGNATURE):
        return MediaType.PNG
    if looks_like_dicom(head):
        return MediaType.DICOM
    # After DICOM: a preamble may look like anything.
    if head.startswith(ZIP_SIGNATURES):
        return MediaType.ZIP
    if name.rpartition("/")[2].lower() == "study.toml":
        return MediaType.STUDY_TOML
    return MediaType.UNKNOWN


def refused_at_sight(kind: MediaType, size: int, max_file_bytes: int) -> ImageError | None:
    """Why a file is not opened at all; None where it is. A zip has limits of its own."""
    if size == 0:
        return ImageError(ReasonCode.EMPTY_FILE)
    if size > max_file_bytes and kind is not MediaType.ZIP:
        return ImageError(ReasonCode.FILE_TOO_LARGE)
    return ImageError(ReasonCode.UNRECOGNISED) if kind is MediaType.UNKNOWN else None
