"""PNG films: 8 or 16 bit, grey or grey written as colour, to the same `Picture` as DICOM."""

import contextlib
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import Geometry, InstanceDescription, Picture, ReasonCode, Warn
from agcnn_clinic.errors import FAULTS_OF_A_FILE, ImageError, StorageError
from agcnn_clinic.picture import extent, picture_of

PNG_MODALITY = "OT"
"""What a PNG counts as: it states no modality, and Other is what DICOM calls that (PS3.3 C.7.3.1.1.1)."""

GREY_TOLERANCE = 2
"""How far the channels of a grey pixel may lie apart, of 255."""

_SIGNATURE_BYTES, _CHECKSUM_BYTES = 8, 4
_CHUNK_HEAD = struct.Struct(">I4s")
"""Length and type (PNG, section 5.3)."""
_DEEP_MODES = ("I;16", "I;16B", "I")


def read_png_header(path: Path, sha256: str, *, series_instance_uid: str) -> InstanceDescription:
    """Describe a PNG without decoding it.

    Args:
        path: the file.
        sha256: of its bytes; the SOP Instance UID follows from it, since a PNG brings none.
        series_instance_uid: of the folder or file that it belongs to.

    Raises:
        ImageError: UNREADABLE_HEADER.
        StorageError: the file cannot be read.
    """
    with _opened(path) as image:
        deep = image.mode in _DEEP_MODES
        return InstanceDescription(
            series_instance_uid=series_instance_uid,
            sop_instance_uid=derived_uid(sha256),
            modality=PNG_MODALITY,
            photometric_interpretation="MONOCHROME2",
            rows=image.height,
            columns=image.width,
            bits_stored=16 if deep else 8,
        )


def read_png(path: Path, *, max_pixels: int) -> Picture:
    """Return the picture of a PNG.

    8-bit values are display values: v / 255. Of 16-bit ones the darkest and the brightest of the film
    (`picture.extent`) become 0 and 1, since writers fill 10 to 16 of the bits. 16-bit colour that is grey is read with
    8 bits. What is transparent is black. Its pHYs chunk is a printer's resolution and says nothing about the patient:
    the spacing is unknown.

    Raises:
        ImageError: UNREADABLE_HEADER, TOO_LARGE, MULTI_FRAME, COLOUR or UNREADABLE_PIXELS.
        StorageError: the file cannot be read.
    """
    with _opened(path) as image:
        if image.width * image.height > max_pixels:
            raise ImageError(ReasonCode.TOO_LARGE, f"{image.width} x {image.height} pixels")
        if getattr(image, "n_frames", 1) > 1:
            raise ImageError(ReasonCode.MULTI_FRAME, "it is animated")
        _require_chunks_that_fit(path)
        try:
            image.load()
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoder raises OSError, SyntaxError, ValueError, zlib.error
            raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the image data are cut off or damaged") from error
        pixels, remarks = _grey(image)
        geometry = Geometry(image.height, image.width)
    return picture_of(pixels, geometry, (*remarks, Warn.SPACING_UNKNOWN))


def _require_chunks_that_fit(path: Path) -> None:
    """Refuse a chunk that says it is longer than the file is: Pillow would make room for it, two gigabytes at worst."""
    with path.open("rb") as file:
        end, at = file.seek(0, os.SEEK_END), _SIGNATURE_BYTES
        while at + _CHUNK_HEAD.size <= end:
            file.seek(at)
            length, kind = _CHUNK_HEAD.unpack(file.read(_CHUNK_HEAD.size))
            if at + _CHUNK_HEAD.size + length > end:
                raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the image data are cut off or damaged")
            if kind == b"IEND":
                return
            at += _CHUNK_HEAD.size + length + _CHECKSUM_BYTES


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a bomb: the caller's own limit decides; of others: nobody reads it
            with Image.open(file, formats=["PNG"]) as image:
                yield image
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(ReasonCode.TOO_LARGE) from error
    except OSError as error:
        if error.errno not in FAULTS_OF_A_FILE:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
        raise ImageError(ReasonCode.UNREADABLE_HEADER, "it is no readable PNG") from error
    except (SyntaxError, ValueError) as error:
        raise ImageError(ReasonCode.UNREADABLE_HEADER, "it is no readable PNG") from error


def _grey(image: Image.Image) -> tuple[NDArray[np.float32], tuple[Warn, ...]]:
    """Return the image as float32 [height, width] in [0, 1], and the remarks on it."""
    if image.mode in _DEEP_MODES:
        return _full_range(np.asarray(image)), (Warn.NO_VOI,)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255), ()
    channels = np.asarray(image.convert("RGBA"), dtype=np.int16)  # [height, width, 4]
    colours, alpha = channels[..., :3], channels[..., 3]
    if int((colours.max(axis=2) - colours.min(axis=2)).max()) > GREY_TOLERANCE:
        raise ImageError(ReasonCode.COLOUR)
    opaque = alpha.astype(np.float32) / np.float32(255)
    return colours[..., 1].astype(np.float32) / np.float32(255) * opaque, ()


def _full_range(values: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return 16-bit values with the darkest of the film at 0 and its brightest at 1."""
    low, high = extent(np.bincount(values.ravel(), minlength=1))
    if high <= low:
        return np.zeros(values.shape, np.float32)
    return np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0).astype(np.float32)
