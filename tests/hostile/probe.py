"""What a child process does with a file, seen from inside: for the tests, the report and the fuzzer."""

import resource
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from agcnn_clinic.analysis.normalise import normalise
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import ClinicError, ImageError
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.png import read_png_header
from agcnn_clinic.sections import Gate


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


def read_as_the_clinic_does(path: Path, min_side: int = 224) -> Seen:
    """Identify a file, read its header and its picture; only errors of a file are caught."""
    began = time.perf_counter()
    code, detail = "read", ""
    try:
        kind = media_type(path.open("rb").read(4096), path.name)
        if kind is MediaType.DICOM:
            read_dicom_header(path)
        elif kind is MediaType.PNG:
            read_png_header(path, "0" * 64, series_instance_uid="1.2")
        normalise(path, kind, Gate(min_side=min_side))
    except ImageError as error:
        code, detail = error.code, error.detail
    except MemoryError:
        raise
    except ClinicError as error:
        raise AssertionError(f"{type(error).__name__} is no outcome of a file") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Seen(str(code), detail, peak, time.perf_counter() - began)


def survey(paths: list[str], min_side: int) -> list[tuple[str, float]]:
    """Read files one after the other: how each ended, and the peak of memory; what escapes begins with `!`."""
    seen: list[tuple[str, float]] = []
    for path in paths:
        try:
            one = read_as_the_clinic_does(Path(path), min_side)
            seen.append((one.code, one.peak_mb))
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            frames = traceback.extract_tb(error.__traceback__)
            cause = error.__cause__ or error
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
            seen.append((f"!{type(cause).__name__} at {where}", 0.0))
    return seen
