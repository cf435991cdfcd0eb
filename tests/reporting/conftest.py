"""A small clinic for the tests of reporting: a real database, a drawn film as a PNG in a real archive."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pypdfium2
import pytest
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import AttendedRegion, Finding, Inference, Instance, Model, ReceivedFile, Study
from agcnn_clinic.domain import REASONS, Geometry, MediaType, Outcome, Picture, ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.picture import picture_of
from agcnn_clinic.png import read_png
from agcnn_clinic.prints import Edges, Prints, prints_of
from agcnn_clinic.reporting import pdf
from agcnn_clinic.reporting.content import ReadImage, ReportContent
from agcnn_clinic.reporting.due import studies_due
from agcnn_clinic.reporting.making import make_report, next_content
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.reporting.remaking import Remade, remake
from agcnn_clinic.reporting.rendering import Press
from agcnn_clinic.sections import Reporting

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding"),
)
START = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)
MANIFEST: dict[str, Any] = {
    "backbone": "densenet121",
    "preprocessing": {"resize": 256, "crop": 224},
    "thresholds": {"set_id": "youden-1", "method": "Youden index on validation films"},
    "calibration": {"method": "platt"},
    "training": {"data": "Films of the training list.", "films_train": 2540, "patients_train": 2040},
    "metrics": {
        "evaluated_on": "349 films of 278 patients kept out of training.",
        "branches": {
            "global": {"mean_auc": 0.741, "ci_low": 0.722, "ci_high": 0.760, "auc": {}},
            "fusion": {"mean_auc": 0.748, "ci_low": 0.729, "ci_high": 0.767, "auc": {"Mass": 0.813}},
        },
    },
    "intended_use": "Research only.",
}


@cache
def draw_film(height: int = 700, width: int = 800) -> NDArray[np.uint8]:
    """A grey film [H, W] with dark lungs; its left upper corner is black and its right upper corner white."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    film = 0.75 - 0.1 * rows
    for side in (-1, 1):
        film -= 0.45 * np.exp(-(((columns - side * 0.45) / 0.3) ** 4) - ((rows / 0.7) ** 4))
    film[: height // 10, : width // 10] = 0.0
    film[: height // 10, -width // 10 :] = 1.0
    return np.round(np.clip(film, 0, 1) * 255).astype(np.uint8)


@cache
def film_png() -> bytes:
    """The drawn film as a file."""
    data = BytesIO()
    Image.fromarray(draw_film()).save(data, "PNG", compress_level=1)
    return data.getvalue()


@pytest.fixture(scope="session")
def render() -> Callable[..., bytes]:
    """A function that makes a PDF of a report's content and of pictures at their full size."""
    return _render


def _render(content: ReportContent, shown: Callable[[ReadImage], Picture], settings: Reporting) -> bytes:
    """The PDF of a report; where `shown` raises an ImageError, one that says so in the place of the pictures."""

    def printed(image: ReadImage) -> Prints | None:
        region = image.region
        edges = Edges(region.x_min, region.y_min, region.x_max, region.y_max)
        try:
            return prints_of(shown(image), edges, print_size(settings))
        except ImageError:
            return None

    return pdf.render(content, [printed(image) for image in content.images], settings)


@dataclass
class Clock:
    """A clock that stands still until it is told otherwise."""

    now: datetime = START + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Clinic:
    """A clinic's rows and files, and ways to add to them."""

    root: Path
    config: Config
    database: Database
    clock: Clock = field(default_factory=Clock)
    spacing_mm: float | None = 0.2
    _number: int = 0

    @property
    def press(self) -> Press:
        """What makes the PDFs, in this process."""
        return Press(self.prints_of)

    def prints_of(self, path: Path, media_type: MediaType, region: Edges) -> Callable[[], Prints]:
        assert media_type is MediaType.PNG
        return lambda: prints_of(read_png(path, max_pixels=10_000_000), region, print_size(self.config.reporting))

    def due(self, quiet_seconds: float = 30) -> list[int]:
        """The studies of which a report is due by its clock."""
        with self.database.session() as session:
            return studies_due(session, self.clock(), quiet_seconds)

    def add_study(self, **described: str) -> int:
        """A study that came at the clock's hour less one; returns its id."""
        self._number += 1
        with self.database.write() as session:
            study = Study(
                key=hashlib.sha256(f"{self._number}".encode()).hexdigest()[:12],
                study_instance_uid=f"2.25.{self._number}",
                first_received_at=START,
                last_received_at=START,
                **{"patient_id": "P-17", "patient_name": "Berg^Anna", "study_date": "2026-03-01"} | described,
            )
            session.add(study)
            session.flush()
            return study.id

    def add_file(
        self,
        study_id: int,
        reason: ReasonCode | None = ReasonCode.READ,
        *,
        at: datetime = START,
        uid: str = "",
        name: str = "",
        inference: bool = True,
        **overrides: Any,
    ) -> int:
        """A file of the study, decided for `reason` (None: pending), read where the reason says so; returns its id."""
        self._number += 1
        data = film_png()
        digest = hashlib.sha256(data).hexdigest()
        stored = f"{digest[:2]}/{digest}.png"
        (self.config.archive / stored).parent.mkdir(parents=True, exist_ok=True)
        (self.config.archive / stored).write_bytes(data)
        uid = uid or f"1.2.840.99999.{self._number}"
        with self.database.write() as session:
            study = session.get_one(Study, study_id)
            instance = next((one for one in study.instances if one.sop_instance_uid == uid), None)
            outcome = Outcome.PENDING if reason is None else REASONS[reason].outcome
            file = ReceivedFile(
                instance=instance or Instance(study=study, series_instance_uid="1.2.3", sop_instance_uid=uid),
                original_name=name or f"IM{self._number:04}.png",
                media_type=MediaType.PNG,
                size=len(data),
                sha256=digest,
                stored_path=stored,
                received_at=at,
                outcome=outcome,
                reason_code=reason or "",
                reason=REASONS[reason].sentence if reason else "",
                decided_at=None if reason is None else at,
                header={"modality": "DX", "view_position": "PA", "rows": 700, "columns": 800, "bits_stored": 8},
            )
            session.add(file)
            study.last_received_at = max(study.last_received_at, at)
            if outcome not in (Outcome.PENDING, Outcome.DUPLICATE):
                study.revision += 1
            if outcome is Outcome.ANALYSED and inference:
                session.add(self.inference(file, self._model(session), at, **overrides))
            session.flush()
            return file.id

    def add_reading(self, file_id: int, name: str, version: str = "2", **overrides: Any) -> int:
        """A reading of a file by another model, beside the one that counts; returns the model's id."""
        with self.database.write() as session:
            digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
            model = session.query(Model).filter_by(manifest_sha256=digest).first() or Model(
                name=name,
                version=version,
                weights_sha256=digest[::-1],
                manifest=MANIFEST,
                manifest_sha256=digest,
                registered_at=self.clock.now,
            )
            file = session.get_one(ReceivedFile, file_id)
            session.add(self.inference(file, model, self.clock.now, **{"beside": True} | overrides))
            session.flush()
            return model.id

    def inference(self, file: ReceivedFile, model: Model, at: datetime, **overrides: Any) -> Inference:
        """One reading: Mass and Effusion at or above their threshold of 0.4, the heat in the lower right corner."""
        high = {"Mass": 0.81, "Effusion": 0.55}
        heat = np.zeros((7, 7), np.float16)
        heat[4:, 4:] = 1
        values: dict[str, Any] = {
            "file": file,
            "model": model,
            "created_at": at,
            "software_version": "0.1.0",
            "device": "cpu",
            "thresholds_id": "youden-1",
            "warnings": [],
            "quality": {},
            "timings": {},
            "heat_map": heat.tobytes(),
            "heat_map_rows": 7,
            "heat_map_columns": 7,
            "findings": [
                Finding(
                    label=label,
                    probability=(p := high.get(label, 0.03 + position / 100)),
                    probability_global=p * 0.9,
                    probability_local=p * 0.8,
                    probability_fusion=p * 0.95,
                    threshold=0.4,
                    positive=p >= 0.4,
                )
                for position, label in enumerate(LABELS)
            ],
            "attended_region": AttendedRegion(
                x_min=450,
                y_min=400,
                x_max=750,
                y_max=650,
                width_mm=None if self.spacing_mm is None else 300 * self.spacing_mm,
                height_mm=None if self.spacing_mm is None else 250 * self.spacing_mm,
                spacing_source="" if self.spacing_mm is None else "ImagerPixelSpacing",
            ),
        }
        return Inference(**values | overrides)

    def _model(self, session: Any) -> Model:
        model = session.query(Model).first()
        return model or Model(
            name="starter",
            version="1.0.0",
            weights_sha256="ab" * 32,
            manifest=MANIFEST,
            manifest_sha256="cd" * 32,
            registered_at=START,
        )


@pytest.fixture
def clinic(tmp_path: Path, url: str) -> Any:
    """A clinic with an empty database."""
    config = Config()
    config._root = tmp_path
    with open_database(url) as database:
        yield Clinic(tmp_path, config, database)


@pytest.fixture
def doors(clinic: Clinic) -> dict[str, Any]:
    """What every function that makes a report is handed."""
    return {"clock": clinic.clock, "config": clinic.config, "press": clinic.press}


@pytest.fixture
def make(clinic: Clinic, doors: dict[str, Any]) -> Callable[[int], Path]:
    """Makes the clinic's own next report of a study."""
    return lambda study: make_report(clinic.database, study, **doors)


@pytest.fixture
def again(clinic: Clinic, doors: dict[str, Any]) -> Callable[..., Remade]:
    """Makes a delivered report again."""
    return lambda study, version=None: remake(clinic.database, study, version, **doors)


@pytest.fixture
def settings() -> Reporting:
    """The settings as they come."""
    return Reporting()


def drawn_picture(_image: object = None) -> Picture:
    """The drawn film as the clinic's picture."""
    film = draw_film().astype(np.float32) / 255
    return picture_of(film, Geometry(*film.shape))


def texts(data: bytes) -> list[str]:
    """The text of each page, white space as single blanks."""
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(BytesIO(data)).pages]


def pixels(data: bytes, page: int, dpi: int = 72) -> NDArray[np.uint8]:
    """A page as the printer would draw it: RGB [H, W, 3]."""
    document = pypdfium2.PdfDocument(data)
    try:
        return np.asarray(document[page].render(scale=dpi / 72).to_pil().convert("RGB"))
    finally:
        document.close()


@pytest.fixture
def text_of() -> Callable[[bytes], list[str]]:
    """`texts`."""
    return texts


@pytest.fixture
def pixels_of() -> Callable[..., NDArray[np.uint8]]:
    """`pixels`."""
    return pixels


@pytest.fixture
def composed(clinic: Clinic) -> Callable[..., ReportContent]:
    """Composes the next report of a study."""
    from agcnn_clinic.reporting.readings import counting_readings

    def compose_next(study_id: int) -> ReportContent:
        with clinic.database.session() as session:
            readings = counting_readings(session, [study_id])
            return next_content(session, session.get_one(Study, study_id), readings, clinic.clock, clinic.config)

    return compose_next


@pytest.fixture
def picture() -> Callable[..., Picture]:
    """`drawn_picture`."""
    return drawn_picture
