"""What tests of DICOM pixels share."""

from typing import Any

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.pixels import render


@pytest.fixture
def rendered(write_dicom, tmp_path):
    """Write a film and render it."""

    def written_and_rendered(stored, **options):
        return render(read_dataset(write_dicom(tmp_path / "film.dcm", stored, **options)), max_pixels=1_000_000)

    return written_and_rendered


@pytest.fixture
def write_stream(write_dicom, tmp_path):
    """Write the header of a film over a compressed stream that something else has written: returns the path."""

    def write(stored, stream: bytes, syntax: str, **options: Any):
        path = write_dicom(tmp_path / "stream.dcm", stored, **options)
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.PixelData = encapsulate([bytes(stream)])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
        return path

    return write
