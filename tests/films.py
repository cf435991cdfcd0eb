"""A drawn chest film, and a writer of small DICOM files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import generate_uid
from scipy import ndimage

from agcnn_clinic.demo.dicom_writer import compress

FILM_QUANTILES = (0.0, 0.16, 0.38, 0.45, 0.51, 0.56, 0.6, 0.64, 0.67, 0.71, 0.74, 0.76, 0.79, 0.82, 0.85, 0.89, 1.0)
"""The grey values of a typical frontal film, from its darkest to its brightest sixteenth."""


def chest() -> NDArray[np.float64]:
    """A drawn chest, float64 [320, 288] in [0, 1] with the grey values of a real one: dark lungs, bright middle."""
    rows, columns = np.mgrid[-1:1:320j, -1:1:288j]
    film = np.exp(-2.0 * columns**2) + 0.3 * rows
    for side in (-1, 1):
        film -= 0.9 * np.exp(-(((columns - side * 0.42) / 0.3) ** 4) - (((rows + 0.1) / 0.6) ** 4))
    film += 0.08 * np.cos(14 * (rows + 0.5 * columns**2))  # ribs
    film += ndimage.gaussian_filter(np.random.default_rng(7).normal(size=film.shape), 1.0) * 0.05
    ranks = np.empty(film.size)
    ranks[np.argsort(film, axis=None)] = np.linspace(0, 1, film.size)
    return np.interp(ranks, np.linspace(0, 1, len(FILM_QUANTILES)), FILM_QUANTILES).reshape(film.shape)


def write_dicom(
    path: Path,
    stored: NDArray[Any],
    *,
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    syntax: str = uids.ExplicitVRLittleEndian,
    **attributes: Any,
) -> Path:
    """Write stored values [H, W] (or RGB [H, W, 3]) as a DX chest film, and return its path.

    Signed values make a signed image. `attributes` are set last, by keyword; None takes one away.
    """
    little_endian = syntax != uids.ExplicitVRBigEndian
    allocated = 8 if bits <= 8 else 16
    signed = np.issubdtype(stored.dtype, np.signedinteger)
    kind = f"{'<' if little_endian else '>'}{'i' if signed else 'u'}{allocated // 8}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uids.UID(syntax)
    meta.MediaStorageSOPClassUID = uids.DigitalXRayImageStorageForPresentation
    implicit = syntax == uids.ImplicitVRLittleEndian
    dataset = FileDataset(
        str(path), {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=implicit, is_little_endian=little_endian
    )
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = uids.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[path.name, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[path.name, "series"])
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.PatientName, dataset.PatientID = "Test^Film", "T1"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    dataset.PhotometricInterpretation = photometric
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    raw = stored.astype(kind).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    if uids.UID(syntax).is_encapsulated:
        meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        compress(dataset, uids.UID(syntax))
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path
