"""A clinic whose database holds studies of all kinds, and its commands run as `agcnn-clinic` runs them."""

import pytest
from typer.testing import CliRunner

from agcnn_clinic.cli.main import app
from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database


@pytest.fixture(scope="session")
def rows_clinic(tmp_path_factory, factories, new_clinic):
    """The folder of a clinic with 20 studies in its database; only to be read."""
    folder = tmp_path_factory.mktemp("clinic")
    config = new_clinic(folder)
    with open_database(config.database_url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=20, images=3, models=2, seed=5)
    return folder


@pytest.fixture(scope="session")
def rows_url(rows_clinic):
    """The URL of that clinic's database."""
    return load_config(rows_clinic / "config.toml").database_url


@pytest.fixture
def run():
    """Run a command on a clinic: `run(folder, "findings", "--positive")`. An error comes out as it was raised."""

    def run(folder, *arguments):
        return CliRunner().invoke(
            app, ["--config", str(folder / "config.toml"), *map(str, arguments)], catch_exceptions=False
        )

    return run
