"""What tests of DICOM pixels share."""

from typing import Any

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID


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
