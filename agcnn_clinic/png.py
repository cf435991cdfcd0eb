"""PNG films: 8 or 16 bit, grey or grey written as colour, to the same `Picture` as DICOM."""

import contextlib
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from imagecodecs import png_decode
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import Geometry, InstanceDescription, Picture, ReasonCode, Warn
from agcnn_clinic.errors import FAULTS_OF_A_FILE, ImageError, StorageError
from agcnn_clinic.picture import Levels, extent, picture_of
from agcnn_clinic.tally import Tally, tally

PNG_MODALITY = "OT"
"""What a PNG counts as: it states no modality, and Other is what DICOM calls that (PS3.3 C.7.3.1.1.1)."""

GREY_TOLERANCE = 2
"""How far the channels of a grey pixel may lie apart, of 255."""

_SIGNATURE_BYTES, _CHECKSUM_BYTES = 8, 4
_CHUNK_HEAD = struct.Struct(">I4s")
"""Length and type (PNG, section 5.3)."""
_DEPTH_AND_TYPE = 24
"""Where a file says its bit depth and its colour type: behind the size in its first chunk (PNG, section 11.2.1)."""
_DEEP = 16
_GREY, _COLOUR, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 4, 6


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
        depth, _ = _depth_and_type(path)
        return InstanceDescription(
            series_instance_uid=series_instance_uid,
            sop_instance_uid=derived_uid(sha256),
            modality=PNG_MODALITY,
            photometric_interpretation="MONOCHROME2",
            rows=image.height,
            columns=image.width,
            bits_stored=_DEEP if depth == _DEEP else 8,
        )


def read_png(path: Path, *, max_pixels: int) -> Picture:
    """Return the picture of a PNG.

    8-bit values are display values: v / 255. Of 16-bit ones the darkest and the brightest of the film
    (`picture.extent`) become 0 and 1, since writers fill 10 to 16 of the bits. What an alpha channel or a palette makes
    transparent was cut away and is black; a grey or a colour that a tRNS chunk names as transparent stays what it is,
    since pixels of the film may have it, too. Its pHYs chunk is a printer's resolution and says nothing about the
    patient: the spacing is unknown. Its eXIf chunk is not asked either: pixels are taken as they lie.

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
            samples = _samples(image, path)
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # Pillow's decoder raises OSError, SyntaxError, ValueError, zlib.error, libpng its own
            raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the image data are cut off or damaged") from error
        pixels, levels, remarks = _grey(samples)
        geometry = Geometry(image.height, image.width)
    return picture_of(pixels, geometry, (*remarks, Warn.SPACING_UNKNOWN), levels)


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


class _Samples(NamedTuple):
    """What a PNG holds.

    Attributes:
        colours: uint8 or uint16 [height, width, 1 or 3].
        alpha: of the same type [height, width]; None where all is opaque.
    """

    colours: NDArray[np.unsignedinteger]
    alpha: NDArray[np.unsignedinteger] | None = None


def _depth_and_type(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        depth, colour_type = file.read(_DEPTH_AND_TYPE + 2)[_DEPTH_AND_TYPE:]
    return depth, colour_type


def _samples(image: Image.Image, path: Path) -> _Samples:
    """Decode the image: by Pillow, but for 16 bits by libpng, of which Pillow keeps 8 in colour and beside alpha."""
    depth, colour_type = _depth_and_type(path)
    if depth == _DEEP:
        # With an alpha channel also where a tRNS chunk names something as transparent.
        values = np.atleast_3d(png_decode(path.read_bytes()))
        colours = values[..., : 1 if colour_type in (_GREY, _GREY_ALPHA) else 3]
        return _Samples(colours, values[..., -1] if colour_type in (_GREY_ALPHA, _COLOUR_ALPHA) else None)
    image.load()
    if colour_type == _GREY:
        return _Samples(np.asarray(image.convert("L"))[..., None])
    if colour_type == _COLOUR:
        return _Samples(np.asarray(image.convert("RGB")))
    values = np.asarray(image.convert("RGBA"))
    return _Samples(values[..., :3], values[..., 3])


def _grey(samples: _Samples) -> tuple[NDArray[np.float32], Levels | None, tuple[Warn, ...]]:
    """Return what was decoded as float32 [height, width] in [0, 1], its levels where they are known, and remarks."""
    colours, alpha = samples
    white = np.iinfo(colours.dtype).max
    deep = colours.dtype == np.uint16
    if colours.shape[2] > 1:
        # Of 16 bits, which need not be filled, what is there is all.
        tolerance = GREY_TOLERANCE / 255 * (int(colours.max()) if deep else white)
        if int((colours.max(axis=2) - colours.min(axis=2)).max()) > tolerance:
            raise ImageError(ReasonCode.COLOUR)
    tallied = tally(colours[..., colours.shape[2] // 2])
    if deep:
        greys = _full_range(tallied.numbers(), tallied if alpha is None else tally(tallied.values[alpha > 0]))
    else:
        greys = tallied.numbers().astype(np.float32) / np.float32(white)
    pixels, levels = tallied.shown(greys)
    remarks = (Warn.NO_VOI,) if deep else ()
    if alpha is None:
        return pixels, levels, remarks
    pixels *= alpha.astype(np.float32) / np.float32(white)
    return pixels, None, remarks


def _full_range(numbers: NDArray[np.intp], among: Tally) -> NDArray[np.float32]:
    """Return 16-bit values with the darkest of the film at 0 and its brightest at 1; `among` these it lies."""
    low, high = (among.lowest + place for place in extent(among.counts))
    if high <= low:
        return np.zeros(len(numbers), np.float32)
    return np.clip((numbers - low) / (high - low), 0.0, 1.0).astype(np.float32)
