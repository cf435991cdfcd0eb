"""What every command starts from: the clinic's configuration and its database, opened when first asked for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agcnn_clinic.environment import CONFIG_ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.session import Database


@dataclass(frozen=True)
class GlobalOptions:
    """The options that stand before the command."""

    config: Path | None = None

    @property
    def names_a_clinic(self) -> bool:
        """Whether `--config` or the environment names a configuration: then it must be there."""
        return self.config is not None or CONFIG_ENVIRONMENT_VARIABLE in os.environ


def clinic_config(ctx: typer.Context) -> "Config":
    """The configuration that `--config`, the environment or the current folder names.

    Raises:
        ConfigError: there is none, or it is not valid.
    """
    from agcnn_clinic.config import find_config, load_config

    return load_config(find_config(ctx.ensure_object(GlobalOptions).config))


def clinic_config_or_defaults(ctx: typer.Context) -> "Config":
    """The configuration that `clinic_config` gives; without one, what every setting is by default.

    Raises:
        ConfigError: `--config` or the environment names one that is not there, or one is not valid.
    """
    from agcnn_clinic.config import DEFAULT_CONFIG, default_config, may_be_there

    if not ctx.ensure_object(GlobalOptions).names_a_clinic and not may_be_there(Path(DEFAULT_CONFIG)):
        return default_config()
    return clinic_config(ctx)


def clinic_database(config: "Config") -> "Database":
    """A clinic's database, checked to be at the revision that this software writes.

    Raises:
        DatabaseError: it is missing, behind or ahead.
    """
    from agcnn_clinic.database.session import open_database

    return open_database(config.database_url, busy_timeout_seconds=config.database.busy_timeout_seconds)


def key_of(database: "Database", study: str) -> str:
    """The key of the study that a person means; see `queries.find_study`.

    Raises:
        UsageError: no study fits, or more than one.
    """
    from agcnn_clinic.database.queries import find_study

    with database.session() as session:
        return find_study(session, study).key


def write_setting(config_file: Path, section: str, name: str, value: str | float) -> None:
    """Change one setting where it stands in the file, or in the one that a link leads to.

    Comments and all else stay, its mode and owner too.

    Raises:
        OSError: the file cannot be read or written.
    """
    import tomlkit

    from agcnn_clinic.durable import rewrite

    document = tomlkit.parse(config_file.read_text(encoding="utf-8-sig"))
    document.setdefault(section, tomlkit.table())[name] = value
    rewrite(config_file, tomlkit.dumps(document).encode())
