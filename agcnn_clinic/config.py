"""config.toml -> typed, frozen settings. config.toml in the repository's root is the reference manual of them all."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agcnn_clinic.cores import CoreShares, core_shares
from agcnn_clinic.environment import CONFIG_ENVIRONMENT_VARIABLE, ENVIRONMENT_PREFIX, refuse_unknown_variables
from agcnn_clinic.errors import ConfigError
from agcnn_clinic.layout import Layout, require_utf8
from agcnn_clinic.limits import (
    LONGEST_SECONDS,
    CodeStrings,
    DatabaseUrl,
    Days,
    Device,
    Folder,
    Fraction,
    Megabytes,
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

DEFAULT_CONFIG = "config.toml"


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


class Config(BaseSettings):
    """All settings of one clinic.

    Environment variables override the file: `AGCNN_CLINIC_ANALYSIS__DEVICE=cpu`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )
    folders: Folders = Folders()
    database: Database = Database()
    intake: Intake = Intake()
    zip: Zip = Zip()
    gate: Gate = Gate()
    analysis: Analysis = Analysis()
    reporting: Reporting = Reporting()
    sending: Sending = Sending()
    retention: Retention = Retention()
    log: Log = Log()

    _root: Path = PrivateAttr(default_factory=Path.cwd)
    _file_name: str = PrivateAttr(default=DEFAULT_CONFIG)

    @property
    def root(self) -> Path:
        """The folder that relative paths start at: the one that holds config.toml."""
        return self._root

    @property
    def inbox(self) -> Path:
        """Where studies are dropped."""
        return self._root / self.folders.inbox

    @property
    def archive(self) -> Path:
        """Where every accepted file is kept, under a name of our own."""
        return self._root / self.folders.archive

    @property
    def quarantine(self) -> Path:
        """Where broken files are kept, each with its reason beside it."""
        return self._root / self.folders.quarantine

    @property
    def reports(self) -> Path:
        """Where PDF reports are delivered."""
        return self._root / self.folders.reports

    def report_file(self, path: str) -> Path:
        """Where a delivered report lies: under the name that its row gives it, in the folder of the reports.

        The row says where it was delivered; the folder may have moved since, with all that lay in it.
        """
        return self.reports / Path(path).name

    @property
    def lock_file(self) -> Path:
        """The file whose lock makes a process the only one that works on this clinic.

        It lies beside an SQLite database, wherever a link to that leads: another config.toml may name the same one.
        """
        kind, _, database = self.database_url.partition(":///")
        file = Path(os.path.realpath(database)) if kind.startswith("sqlite") else self._root / "agcnn-clinic"
        return file.parent / f".{file.name}.lock"

    @property
    def database_url(self) -> str:
        """`database.url` with a relative SQLite path made absolute."""
        kind, _, path = self.database.url.partition(":///")
        if kind.startswith("sqlite") and path and ":memory:" not in path:
            return f"{kind}:///{self._root / path}"
        return self.database.url

    @property
    def layout(self) -> Layout:
        """Where all of the clinic lies that is on a disk of this machine."""
        files = {"configuration": self._root / self._file_name}
        kind, _, database = self.database_url.partition(":///")
        if kind.startswith("sqlite"):
            files |= {"database": Path(database)}
            files |= {f"database's {suffix} file": Path(f"{database}-{suffix}") for suffix in ("wal", "shm")}
        files["lock"] = self.lock_file
        return Layout(self.inbox, self.archive, self.quarantine, self.reports, files)


def find_config(given: Path | None) -> Path:
    """The configuration file to use: `--config`, else `$AGCNN_CLINIC_CONFIG`, else ./config.toml.

    Raises:
        ConfigError: there is no such file.
    """
    path = given or Path(os.environ.get(CONFIG_ENVIRONMENT_VARIABLE, DEFAULT_CONFIG))
    if not may_be_there(path):
        raise ConfigError(
            f"There is no {path}; make a clinic with `agcnn-clinic init DIR`, or name its config.toml with --config."
        )
    return path


def may_be_there(path: Path) -> bool:
    """Whether a file is there, or lies in a folder that is closed to this user: `load_config` says so."""
    try:
        return path.is_file()
    except OSError:
        return True


def load_config(path: Path) -> Config:
    """Read a clinic's settings from its config.toml.

    Raises:
        ConfigError: the file is not TOML, or a setting is unknown or impossible, there or in the environment; the
            sentence names it.
    """
    refuse_unknown_variables(Config.model_fields)

    class _FromFile(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            # Windows' editors begin a file with a byte order mark, which tomllib takes for a character of line 1.
            settings = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
            return init_settings, env_settings, InitSettingsSource(settings_cls, settings)

    try:
        config = _FromFile()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8, as TOML must be: byte {error.start + 1}; save it as UTF-8.") from error
    except SettingsError as error:
        raise ConfigError(
            f"The environment has a value that cannot be read ({error}); a list is written as JSON there, like "
            f"{ENVIRONMENT_PREFIX}GATE__VIEWS='[\"PA\"]'."
        ) from error
    except PermissionError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; run the command as the clinic's own user (sudo -u NAME)."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    file = path.resolve()
    require_utf8(file.parent)
    config._root, config._file_name = file.parent, file.name  # noqa: SLF001 (the one place that knows where it lies)
    return config


def default_config() -> Config:
    """What every setting is where there is no config.toml: by the environment, else by default.

    Raises:
        ConfigError: a variable of the environment is unknown or impossible.
    """
    refuse_unknown_variables(Config.model_fields)
    return Config()


def _first_problem(error: ValidationError) -> str:
    problems: list[Any] = [*error.errors()]
    first = problems[0]
    name = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name}; see the comments of config.toml for those there are{more}."
    why = first["msg"].removeprefix("Value error, ").replace("a valid tuple", 'a list, like ["A", "B"]')
    return f"{name} is {first['input']!r}: {why[:1].lower()}{why[1:]}{more}."
