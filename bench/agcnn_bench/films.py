"""The films that are timed: drawn, 12 bit, each in the five transfer syntaxes that radiographs mostly come in, and PNG.

A few patients are drawn and encoded once. Every study is one of these films under UIDs and a patient of its own, so
that the clinic takes it for new; nothing on its way knows the pixels.
"""

import datetime as dt
import io
import struct
import tempfile
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from agcnn_clinic.demo.dicom_writer import Format, Kind, Stored, stored_values, write_dicom
from agcnn_clinic.demo.lesions import Lesion
from agcnn_clinic.demo.phantom import PhantomSpec, draw
from agcnn_clinic.demo.samples import sample_uid
from agcnn_clinic.dicom import decode
from agcnn_clinic.domain import MediaType, StudyDescription

BITS = 12
MAX_PIXELS = 64_000_000
_IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


class Form(StrEnum):
    """How a film is stored."""

    RAW = "raw"
    RLE = "rle"
    JPEG_LS = "jpeg_ls"
    JPEG_2000 = "jpeg_2000"
    JPEG_LOSSLESS = "jpeg_lossless"
    PNG = "png"

    @property
    def media_type(self) -> MediaType:
        """What intake takes it for."""
        return MediaType.PNG if self is Form.PNG else MediaType.DICOM

    @property
    def suffix(self) -> str:
        """Of its file."""
        return ".png" if self is Form.PNG else ".dcm"


_SYNTAXES: dict[Form, UID] = {
    Form.RAW: ExplicitVRLittleEndian,
    Form.RLE: RLELossless,
    Form.JPEG_LS: JPEGLSLossless,
    Form.JPEG_2000: JPEG2000Lossless,
    Form.JPEG_LOSSLESS: JPEGLosslessSV1,
}


@dataclass(frozen=True)
class Films:
    """Drawn films, in memory in every form.

    Attributes:
        patients: how many different ones were drawn.
    """

    patients: int
    _datasets: dict[tuple[Form, int], Dataset]
    _pngs: tuple[bytes, ...]

    def write(self, folder: Path, number: int, form: Form | None = None) -> Path:
        """Write study `number`, one file; the forms take turns unless one is named. Returns the file."""
        forms = list(Form)
        chosen = form or forms[number % len(forms)]
        patient = number // len(forms) % self.patients
        path = folder / f"study-{number:06}{chosen.suffix}"
        if chosen is Form.PNG:
            path.write_bytes(_with_comment(self._pngs[patient], f"study {number}"))
            return path
        dataset = self._datasets[chosen, patient]
        dataset.PatientID, dataset.AccessionNumber = f"P{number:07}", f"A{number:07}"
        dataset.StudyInstanceUID = sample_uid(f"bench study {number}")
        dataset.SeriesInstanceUID = sample_uid(f"bench series {number}")
        dataset.SOPInstanceUID = sample_uid(f"bench image {number}")
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
        dataset.save_as(path, enforce_file_format=True)
        return path


def draw_films(side: int, patients: int) -> Films:
    """Draw the films and encode them.

    Raises:
        RuntimeError: a film does not decode to what was drawn.
    """
    datasets: dict[tuple[Form, int], Dataset] = {}
    pngs = []
    lesions = (Lesion.MASS, Lesion.EFFUSION, None)
    with tempfile.TemporaryDirectory() as scratch:
        for patient in range(patients):
            pixels = draw(PhantomSpec(patient, lesion=lesions[patient % len(lesions)]), (side, side)).pixels
            drawn = stored_values(pixels, BITS, "MONOCHROME2").astype(np.uint16)
            for written, syntax in _SYNTAXES.items():
                datasets[written, patient] = _dataset(Path(scratch) / "film.dcm", pixels, syntax)
            pngs.append(_png(stored_values(pixels, 16, "MONOCHROME2")))
            for form in Form:
                if form is not Form.PNG:
                    _check(form, datasets[form, patient], drawn)
    return Films(patients, datasets, tuple(pngs))


def _dataset(path: Path, pixels: NDArray[np.float32], syntax: str) -> Dataset:
    return write_dicom(
        path,
        pixels,
        study=StudyDescription(
            study_instance_uid=sample_uid("bench"),
            patient_name="Bench^Film",
            patient_sex="O",
            study_date=dt.date(2026, 1, 12).isoformat(),
            study_time="08:00:00",
        ),
        series_instance_uid=sample_uid("bench series"),
        sop_instance_uid=sample_uid("bench image"),
        image=Format(Kind.DX, "MONOCHROME2", BITS, syntax),
        pixel_spacing_mm=0.2,
    )


def _png(values: Stored) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def _with_comment(png: bytes, text: str) -> bytes:
    """A PNG with a tEXt chunk before its end: other bytes, the same picture."""
    body = b"tEXtComment\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png.removesuffix(_IEND) + chunk + _IEND


def _check(form: Form, dataset: Dataset, drawn: NDArray[np.uint16]) -> None:
    values = decode.stored_values(dataset, MAX_PIXELS).values
    if not np.array_equal(values, drawn):
        raise RuntimeError(f"A film written as {form} does not decode to what was drawn.")
