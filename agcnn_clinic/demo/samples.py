"""The demo's studies: what a hospital's inbox receives on a morning, in small. All of it is drawn; no one is a patient.

Everything is fixed, UIDs and dates included: writing the samples again gives the same bytes.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from agcnn_clinic.demo.dicom_writer import Format, Kind, stored_values, write_dicom
from agcnn_clinic.demo.lesions import Lesion
from agcnn_clinic.demo.phantom import Phantom, PhantomSpec, View, draw
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import StudyDescription

SIZE = (1200, 1024)
"""Rows and columns of the samples: small for a film, so that the demo is quick, large enough to look at."""


@dataclass(frozen=True)
class Film:
    """One DICOM sample.

    Attributes:
        file: its name.
        spec: what is drawn.
        image: how it is stored.
        character_set: Specific Character Set of its text.
        view: View Position that its header states; None for that of the spec.
        keep: the fraction of the file that arrives.
        later: minutes from the study's beginning to this film.
    """

    file: str
    spec: PhantomSpec
    image: Format
    character_set: str | list[str] = "ISO_IR 192"
    view: str | None = None
    keep: float = 1.0
    later: int = 0


def sample_uid(name: str) -> str:
    """A UID that is the same whenever the samples are made."""
    return derived_uid(hashlib.sha256(f"agcnn-clinic sample {name}".encode()).hexdigest())


def _study(name: str, **of_patient: str) -> StudyDescription:
    return StudyDescription(study_instance_uid=sample_uid(name), accession_number=name, **of_patient)


_MONOCHROME1 = Format(Kind.DX, "MONOCHROME1", 12, ExplicitVRLittleEndian)

_DICOM: tuple[tuple[StudyDescription, tuple[Film, ...]], ...] = (
    (
        _study(
            "DEMO-1001",
            patient_id="P-48213",
            patient_name="Lefèvre-Garnier^Zoë",
            patient_sex="F",
            patient_birth_date="1958-03-14",
            study_date="2026-01-12",
            study_time="08:41:00",
            study_description="Chest PA and lateral",
        ),
        (
            Film(
                "dx-monochrome1-pa.dcm",
                PhantomSpec(10, lesion=Lesion.MASS, collimated=True),
                _MONOCHROME1,
                "ISO_IR 100",
            ),
            Film("dx-lateral.dcm", PhantomSpec(10, View.LATERAL), _MONOCHROME1, "ISO_IR 100"),
        ),
    ),
    (
        _study(
            "DEMO-1002",
            patient_id="P-50977",
            patient_name="Fujimori^Sachiko=藤森^幸子=ふじもり^さちこ",
            patient_sex="F",
            patient_birth_date="1941-11-02",
            study_date="2026-01-12",
            study_time="09:05:00",
            study_description="Chest AP, before and after drainage",
        ),
        tuple(
            Film(
                f"cr-jpeg2000-ap-{number}.dcm",
                PhantomSpec(31, View.AP, lesion),
                Format(Kind.CR, "MONOCHROME2", 12, JPEG2000Lossless, rescale=(1.0, -1024.0)),
                ["", "ISO 2022 IR 87"],
                later=later,
            )
            for number, lesion, later in ((1, Lesion.EFFUSION, 0), (2, None, 155))
        ),
    ),
    (
        _study(
            "DEMO-1003",
            patient_id="P-33160",
            patient_name="Παπαδοπούλου^Ελένη",
            patient_sex="F",
            patient_birth_date="1990-07-21",
            study_date="2026-01-12",
            study_time="09:30:00",
            study_description="Outside film, digitised",
        ),
        # A captured film does not say its view: it is read, with a remark in its report.
        (
            Film(
                "sc-8bit.dcm",
                PhantomSpec(45),
                Format(Kind.SC, "MONOCHROME2", 8, ExplicitVRLittleEndian, window=False),
                "ISO_IR 126",
                view="",
            ),
        ),
    ),
    (
        _study(
            "DEMO-1004",
            patient_id="P-61108",
            patient_name="الحداد^أمل",
            patient_sex="F",
            patient_birth_date="1949-05-30",
            study_date="2026-01-12",
            study_time="10:12:00",
            study_description="Chest PA",
        ),
        (
            Film(
                "cr-jpegls-pa.dcm",
                PhantomSpec(52, lesion=Lesion.CARDIOMEGALY),
                Format(Kind.CR, "MONOCHROME1", 10, JPEGLSLossless),
                "ISO_IR 127",
            ),
        ),
    ),
    (
        _study(
            "DEMO-1005",
            patient_id="P-20544",
            patient_name="Dvořák^Jiří",
            patient_sex="M",
            patient_birth_date="1972-09-08",
            study_date="2026-01-12",
            study_time="10:50:00",
            study_description="Chest PA",
        ),
        (
            Film(
                "cr-truncated.dcm",
                PhantomSpec(60),
                Format(Kind.CR, "MONOCHROME2", 12, ImplicitVRLittleEndian),
                "ISO_IR 101",
                keep=0.6,
            ),
        ),
    ),
)

_PNG_FILE = "pa.png"
_PNG_SPEC = PhantomSpec(70, lesion=Lesion.CONSOLIDATION)
_PNG_STUDY = {
    "patient_id": "P-71932",
    "patient_name": "Żółkiewska^Łucja",
    "patient_sex": "F",
    "patient_birth_date": dt.date(1985, 12, 19),
    "study_date": dt.date(2026, 1, 12),
    "accession_number": "DEMO-1006",
    "study_description": "Chest PA, exported as PNG",
    "views": {_PNG_FILE: str(_PNG_SPEC.view)},
}
"""The study.toml that says what a PNG cannot."""


def write_samples(folder: Path) -> list[Path]:
    """Write the demo's studies into a folder, over what an earlier run left there.

    Six studies: a DX film in MONOCHROME1 with a lateral view (which the gate refuses), two bedside CR films in
    JPEG 2000, an 8-bit Secondary Capture, a CR film in JPEG-LS, a file that was cut off on its way (quarantined), and
    a 16-bit PNG with a study.toml.

    Args:
        folder: made when it is not there.

    Returns:
        The files, in the order of writing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for study, films in _DICOM for path in _write_study(folder, study, films)]
    return written + _write_png_study(folder / "png-study")


def _write_study(folder: Path, study: StudyDescription, films: tuple[Film, ...]) -> list[Path]:
    written = []
    for number, film in enumerate(films, start=1):
        phantom = draw(film.spec, SIZE)
        path = folder / film.file
        write_dicom(
            path,
            phantom.pixels,
            study=study,
            # Views have series of their own; films of one view share one.
            series_instance_uid=sample_uid(f"{study.accession_number} {film.spec.view}"),
            sop_instance_uid=sample_uid(film.file),
            image=film.image,
            view=film.spec.view if film.view is None else film.view,
            pixel_spacing_mm=_spacing(phantom, film),
            instance_number=number,
            acquisition_time=_acquisition_time(study, film, number),
            character_set=film.character_set,
        )
        if film.keep < 1:
            whole = path.read_bytes()
            path.write_bytes(whole[: int(film.keep * len(whole))])
        written.append(path)
    return written


def _acquisition_time(study: StudyDescription, film: Film, number: int) -> str:
    began = dt.datetime.combine(dt.date.min, dt.time.fromisoformat(study.study_time))
    return f"{began + dt.timedelta(minutes=film.later, seconds=10 * number):%H%M%S}"


def _spacing(phantom: Phantom, film: Film) -> float | None:
    return None if film.image.kind is Kind.SC else phantom.pixel_spacing_mm


def _write_png_study(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    values = stored_values(draw(_PNG_SPEC, SIZE).pixels, 16, "MONOCHROME2")
    Image.fromarray(values).save(folder / _PNG_FILE)
    (folder / "study.toml").write_text(tomli_w.dumps(_PNG_STUDY), encoding="utf-8")
    return [folder / _PNG_FILE, folder / "study.toml"]
