"""study.toml: what a folder of PNGs says of its patient and study, which a PNG cannot say itself."""

import datetime as dt
import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agcnn_clinic.dicom.uid import is_valid_uid
from agcnn_clinic.domain import ReasonCode, StudyDescription
from agcnn_clinic.errors import ImageError

STUDY_TOML = "study.toml"
MAX_BYTES = 64 * 1024
_KEY = re.compile("[a-z]+(_[a-z]+)*")

Text = Annotated[str, Field(max_length=256)]


class StudyToml(BaseModel):
    """The keys of a study.toml. All are optional; dates are TOML dates or `YYYY-MM-DD` text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_instance_uid: Text = ""
    patient_id: Text = ""
    patient_name: Text = ""
    patient_sex: Annotated[str, Field(pattern="^[MFO]?$")] = ""
    patient_birth_date: dt.date | None = None
    study_date: dt.date | None = None
    study_time: Text = ""
    accession_number: Text = ""
    study_description: Text = ""
    referring_physician_name: Text = ""
    institution_name: Text = ""
    views: dict[str, str] = Field(default_factory=dict)
    """View Position of each file, by its name in the folder; see `views_of`."""

    @field_validator("study_instance_uid")
    @classmethod
    def _uid(cls, value: str) -> str:
        if value and not is_valid_uid(value):
            raise ValueError("is not a DICOM UID")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _printable(cls, value: object) -> object:
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("holds control characters")
        return value

    def describe(self, derived_study_uid: str) -> StudyDescription:
        """The study as the database keeps it; the derived UID stands where the file gives none."""
        return StudyDescription(
            study_instance_uid=self.study_instance_uid or derived_study_uid,
            patient_id=self.patient_id,
            patient_name=self.patient_name,
            patient_sex=self.patient_sex,
            patient_birth_date=self.patient_birth_date.isoformat() if self.patient_birth_date else "",
            study_date=self.study_date.isoformat() if self.study_date else "",
            study_time=self.study_time,
            accession_number=self.accession_number,
            study_description=self.study_description,
            referring_physician_name=self.referring_physician_name,
            institution_name=self.institution_name,
        )

    def views_of(self, names: Iterable[str]) -> dict[str, str]:
        """The view of each file that `[views]` names.

        Names are compared whatever their case and however their accents are composed: macOS decomposes them, and who
        types a name does not look at its case. Where that leaves more than one file, the name itself decides.

        Args:
            names: of the files in the folder.

        Raises:
            ImageError: STUDY_TOML, a name is of no file or does not say of which: passed over, a lateral view would be
                read as a frontal one. The name is not repeated, since people name files after patients.
        """
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in names if self.views else ():
            alike[_folded(name)].append(name)
        views: dict[str, str] = {}
        for number, (key, view) in enumerate(self.views.items(), start=1):
            fitting = alike[_folded(key)]
            meant = [name for name in fitting if name == key] or fitting
            if not meant:
                raise ImageError(ReasonCode.STUDY_TOML, f"views: name {number} is of no file in the folder")
            if len(meant) > 1:
                raise ImageError(ReasonCode.STUDY_TOML, f"views: name {number} may be that of more than one file")
            if meant[0] in views:
                raise ImageError(ReasonCode.STUDY_TOML, f"views: name {number} is of a file that was named before")
            views[meant[0]] = view
        return views

    def identity(self, content: str) -> str:
        """What makes two folders the same study: the accession number of a patient.

        Without one, that they hold the same and say the same of patient and study: a corrected patient is another one.
        """
        if self.accession_number:
            return f"{self.patient_id}\n{self.accession_number}"
        return "\n".join([*vars(self.describe("")).values(), content])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def read_study_toml(path: Path) -> StudyToml:
    """Read and check a study.toml.

    Raises:
        ImageError: STUDY_TOML, with the key that is wrong; its value is not repeated, since it may name a patient.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(ReasonCode.STUDY_TOML, f"it is larger than {MAX_BYTES // 1024} KB")
        # Windows' editors begin a file with a byte order mark, which tomllib takes for a character of line 1.
        return StudyToml.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ImageError(ReasonCode.STUDY_TOML, "it is not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors()[0]
        # A key that nobody knows is repeated where it looks like a key: it might be a patient's name.
        key = str(first["loc"][0]) if first["loc"] else ""
        key = key if _KEY.fullmatch(key) else "a key"
        raise ImageError(ReasonCode.STUDY_TOML, f"{key}: {first['msg'].lower()}") from error
    except (ValueError, RecursionError) as error:  # of TOML, of a number of more digits than Python reads
        # Not its message: it may repeat a key.
        raise ImageError(ReasonCode.STUDY_TOML, "it is not TOML") from error
