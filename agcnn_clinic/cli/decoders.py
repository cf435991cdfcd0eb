"""Which transfer syntaxes this machine decodes: for doctor."""

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from agcnn_clinic.demo.dicom_writer import Format, Stored, stored_values, write_dicom
from agcnn_clinic.dicom import decode
from agcnn_clinic.domain import StudyDescription

LOSSLESS: tuple[UID, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
)
"""What can be written here without loss: decoding must give the same values."""

NOT_WRITTEN: tuple[UID, ...] = (
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEG2000,
    HTJ2KLossless,
)
"""What only others write: a decoder must be registered for it."""

_LOSSY_TOLERANCE = 8
"""Of 255 grey values: more than JPEG at this quality takes from a smooth ramp."""


@dataclass(frozen=True)
class Tried:
    """One transfer syntax: decoded here, or only known to have a decoder; `error` says why it cannot be used."""

    name: str
    decoded: bool
    error: str = ""


def try_decoders() -> Iterator[Tried]:
    """Try each transfer syntax on a film of 40x36 pixels."""
    ramp = np.linspace(0, 1, 40 * 36, dtype=np.float32).reshape(40, 36)
    with tempfile.TemporaryDirectory(prefix="agcnn-clinic-doctor-") as folder:
        path = Path(folder) / "film.dcm"
        for syntax in LOSSLESS:
            yield _tried(syntax, partial(_lossless_error, path, ramp, syntax))
        yield _tried(JPEGBaseline8Bit, partial(_baseline_error, path, ramp))
    for syntax in NOT_WRITTEN:
        available = get_decoder(syntax).is_available
        yield Tried(syntax.name, decoded=False, error="" if available else "no decoder is installed")


def _tried(syntax: UID, error_of: Callable[[], float]) -> Tried:
    try:
        difference = error_of()
    except Exception as error:  # noqa: BLE001 (a missing plugin, a library that does not load, a codec that fails)
        return Tried(syntax.name, decoded=False, error=f"{type(error).__name__}: {error}".splitlines()[0])
    tolerance = 0 if syntax in LOSSLESS else _LOSSY_TOLERANCE
    if difference > tolerance:
        return Tried(syntax.name, decoded=False, error=f"decodes to other values, by up to {difference:g}")
    return Tried(syntax.name, decoded=True)


def _lossless_error(path: Path, film: NDArray[np.float32], syntax: UID) -> float:
    """The largest difference between what was written and what is decoded."""
    _write(path, film, Format(transfer_syntax=syntax))
    return _difference(dcmread(path), stored_values(film, 12, "MONOCHROME2"))


def _baseline_error(path: Path, film: NDArray[np.float32]) -> float:
    """The same for JPEG Baseline, which Pillow encodes."""
    values = stored_values(film, 8, "MONOCHROME2")
    _write(path, film, Format(bits=8))
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG", quality=95)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return _difference(dataset, values)


def _write(path: Path, film: NDArray[np.float32], image: Format) -> None:
    study = StudyDescription(study_instance_uid="2.25.1", patient_name="Doctor^Test")
    write_dicom(path, film, study=study, series_instance_uid="2.25.2", sop_instance_uid="2.25.3", image=image)


def _difference(dataset: FileDataset, values: Stored) -> float:
    return float(np.abs(decode.stored_values(dataset, values.size)[0].astype(np.int64) - values).max())
