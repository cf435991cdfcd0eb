"""What every command starts from: the clinic's configuration and its database, opened when first asked for."""

from dataclasses import dataclass
from pathlib import Path

import typer

from agcnn_clinic.config import Config, find_config, load_config
from agcnn_clinic.database.session import Database, open_database


@dataclass(frozen=True)
class GlobalOptions:
    """The options that stand before the command."""

    config: Path | None = None
    debug: bool = False


def clinic_config(ctx: typer.Context) -> Config:
    """The configuration that `--config`, the environment or the current folder names.

    Raises:
        ConfigError: there is none, or it is not valid.
    """
    options = ctx.find_object(GlobalOptions) or GlobalOptions()
    return load_config(find_config(options.config))


def clinic_database(ctx: typer.Context) -> Database:
    """The clinic's database, checked to be at the revision that this software writes.

    Raises:
        DatabaseError: it is missing, behind or ahead.
    """
    config = clinic_config(ctx)
    return open_database(config.database_url, busy_timeout_seconds=config.database.busy_timeout_seconds)
