"""What each section of config.toml may say."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agcnn_clinic.cores import CoreShares, core_shares
from agcnn_clinic.limits import (
    LONGEST_SECONDS,
    CodeStrings,
    DatabaseUrl,
    Days,
    Device,
    Folder,
    Fraction,
    Megabytes,
    OptionalFile,
    Patterns,
    Peer,
    Processes,
    Seconds,
    SomeMegabytes,
    SomeSeconds,
    Text,
    Title,
    Views,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Folders(_Section):
    """Where the files of the clinic live; relative paths start at the folder of config.toml."""

    inbox: Folder = Path("inbox")
    archive: Folder = Path("archive")
    quarantine: Folder = Path("quarantine")
    reports: Folder = Path("reports")


class Database(_Section):
    """Where the results are kept."""

    url: DatabaseUrl = "sqlite:///clinic.sqlite"
    busy_timeout_seconds: Seconds = 30
    lease_seconds: Annotated[float, Field(ge=5, le=LONGEST_SECONDS)] = 60


class Intake(_Section):
    """How files are taken from the inbox."""

    mode: Literal["auto", "events", "polling"] = "auto"
    settle_seconds: Seconds = 2
    rescan_seconds: SomeSeconds = 10
    study_quiet_seconds: Seconds = 30
    keep_folders: Literal["topmost", "none"] = "topmost"
    max_file_mb: SomeMegabytes = 1024
    min_free_mb: Megabytes = 2048
    ignore: Patterns = (
        *(".*", "*.part", "*.partial", "*.tmp", "*.crdownload", "~*"),
        *("Thumbs.db", "desktop.ini", "lost+found"),
    )


class Zip(_Section):
    """How far a .zip is unpacked."""

    max_files: Annotated[int, Field(gt=0)] = 20_000
    max_total_mb: SomeMegabytes = 10_000
    max_ratio: Annotated[float, Field(ge=1)] = 100
    max_depth: Annotated[int, Field(ge=0)] = 2
    max_seconds: SomeSeconds = 1800


class Gate(_Section):
    """Which images the model is allowed to read."""

    modalities: CodeStrings = ("CR", "DX", "SC", "OT")
    views: Views = ("PA", "AP")
    accept_unknown_view: bool = True
    accept_turned: bool = False
    body_parts: CodeStrings = ("CHEST", "THORAX", "LUNG", "LUNGS")
    accept_unknown_body_part: bool = True
    accept_for_processing: bool = False
    min_side: Annotated[int, Field(gt=0)] = 224
    low_resolution_side: Annotated[int, Field(gt=0)] = 512
    max_pixels: Annotated[int, Field(gt=0, le=1_000_000_000_000)] = 64_000_000
    max_aspect_ratio: Annotated[float, Field(ge=1)] = 2.5
    min_contrast: Fraction = 0.02
    max_clipped: Fraction = 0.75


class Analysis(_Section):
    """How pixels become findings."""

    model: Text = "starter"
    device: Device = "auto"
    precision: Literal["auto", "float32", "mixed", "bfloat16"] = "auto"
    batch_size: Annotated[int, Field(ge=0, le=65_536)] = 0
    threads: Processes = 0
    decode_workers: Processes = 0
    decode_seconds: SomeSeconds = 60
    decode_memory_mb: Megabytes = 4096

    @property
    def shares(self) -> CoreShares:
        """How the cores are shared: as these settings say, or by how many there are."""
        return core_shares(decode_workers=self.decode_workers, threads=self.threads, batch_size=self.batch_size)


class Reporting(_Section):
    """How findings become a PDF."""

    institution: Text = ""
    page_size: Literal["A4", "Letter"] = "A4"
    picture_dpi: Annotated[int, Field(ge=72, le=600)] = 150
    colour_map: Literal["inferno", "magma", "viridis", "cividis"] = "inferno"


class Sending(_Section):
    """Where reports go as DICOM. Nowhere unless something here says so."""

    to: Peer = ""
    ae_title: Title = "AGCNN_CLINIC"
    objects: Annotated[tuple[Literal["pdf", "sr"], ...], Field(min_length=1)] = ("pdf", "sr")
    timeout_seconds: SomeSeconds = 30
    tls: bool = False
    tls_trusted: OptionalFile = ""
    tls_certificate: OptionalFile = ""

    @model_validator(mode="after")
    def _not_in_the_clear(self) -> Self:
        if not self.tls and (self.tls_trusted or self.tls_certificate):
            raise ValueError("certificates are named, and tls is false: set it to true, or take them out")
        return self

    @property
    def is_on(self) -> bool:
        """Whether each new report is sent."""
        return bool(self.to)


class Retention(_Section):
    """What is removed, and when. All is kept unless something here says otherwise."""

    archive_days: Days = 0
    quarantine_days: Days = 0
    reports_days: Days = 0
    min_free_percent: Annotated[float, Field(ge=0, lt=100)] = 0
    free_disk_of: tuple[Literal["archive", "quarantine", "reports"], ...] = ("archive",)
    every_minutes: Annotated[float, Field(gt=0, le=LONGEST_SECONDS / 60)] = 60

    @property
    def is_on(self) -> bool:
        """Whether anything may be removed at all."""
        return bool(self.archive_days or self.quarantine_days or self.reports_days or self.min_free_percent)


class Log(_Section):
    """What the daemon says while it runs; never patient names or ids."""

    format: Literal["human", "json"] = "human"
    level: Literal["debug", "info", "warning", "error"] = "info"
