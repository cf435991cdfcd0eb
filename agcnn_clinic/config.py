"""config.toml -> typed, frozen settings. config.toml in the repository's root is the reference manual of them all."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agcnn_clinic.environment import CONFIG_ENVIRONMENT_VARIABLE, ENVIRONMENT_PREFIX, refuse_unknown_variables
from agcnn_clinic.errors import ConfigError
from agcnn_clinic.layout import Layout, require_utf8
from agcnn_clinic.sections import (
    Analysis,
    Database,
    Folders,
    Gate,
    Intake,
    Log,
    Reporting,
    Retention,
    Sending,
    Zip,
)

DEFAULT_CONFIG = "config.toml"


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
    # Of what several settings of a section say together, the section is the input.
    said = "" if isinstance(first["input"], dict) else f" is {first['input']!r}"
    return f"{name}{said}: {why[:1].lower()}{why[1:]}{more}."
