"""A clinic whose database holds studies of all kinds, and its commands run as `agcnn-clinic` runs them."""

import importlib.util
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.main import app
from agcnn_clinic.database.session import open_database

FACTORIES = Path(__file__).resolve().parents[1] / "factories.py"


@pytest.fixture(scope="session")
def factories():
    """The module tests/factories.py: rows of a clinic."""
    if "factories" not in sys.modules:
        spec = importlib.util.spec_from_file_location("factories", FACTORIES)
        sys.modules["factories"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["factories"])
    return sys.modules["factories"]


@pytest.fixture(scope="session")
def rows_clinic(tmp_path_factory, factories):
    """The folder of a clinic with 20 studies in its database; only to be read."""
    folder = tmp_path_factory.mktemp("clinic")
    config = make_clinic(folder)
    with open_database(config.database_url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=20, images=3, models=2, seed=5)
    return folder


@pytest.fixture
def run():
    """Run a command on a clinic: `run(folder, "findings", "--positive")`. An error comes out as it was raised."""

    def run(folder, *arguments):
        return CliRunner().invoke(
            app, ["--config", str(folder / "config.toml"), *map(str, arguments)], catch_exceptions=False
        )

    return run
