"""What a child process does with a file, seen from inside: for the tests, the report and the fuzzer."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from agcnn_clinic.analysis.normalise import normalise
from agcnn_clinic.config import Gate
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import ClinicError, ImageError
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.png import read_png_header


@dataclass(frozen=True)
class Seen:
    """How a file ended, and what it took.

    Attributes:
        code: the reason; `read` where the gate let it pass.
        detail: what was found.
        peak_mb: the most memory that the process ever had resident.
        seconds: spent.
    """

    code: str
    detail: str
    peak_mb: float
    seconds: float


def read_as_the_clinic_does(path: Path) -> Seen:
    """Identify a file, read its header and its picture; only errors of a file are caught."""
    began = time.perf_counter()
    code, detail = "read", ""
    try:
        kind = media_type(path.open("rb").read(4096), path.name)
        if kind is MediaType.DICOM:
            read_dicom_header(path)
        elif kind is MediaType.PNG:
            read_png_header(path, "0" * 64, series_instance_uid="1.2")
        normalise(path, kind, Gate())
    except ImageError as error:
        code, detail = error.code, error.detail
    except MemoryError:
        raise
    except ClinicError as error:
        raise AssertionError(f"{type(error).__name__} is no outcome of a file") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Seen(str(code), detail, peak, time.perf_counter() - began)
