"""A database of its own for each test: a copy of one that was migrated once."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from agcnn_clinic.database.migrate import upgrade
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
def migrated(tmp_path_factory):
    """An empty database at head; only to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "clinic.sqlite"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def url(migrated, tmp_path):
    """The URL of an empty database at head."""
    file = tmp_path / "clinic.sqlite"
    shutil.copy(migrated, file)
    return f"sqlite:///{file}"


@pytest.fixture
def database(url):
    """An open, empty database at head."""
    with open_database(url, busy_timeout_seconds=5) as database:
        yield database


@pytest.fixture(scope="session")
def filled(migrated, tmp_path_factory, factories):
    """An open database with 40 studies, read by two models; only to be read."""
    file = tmp_path_factory.mktemp("filled") / "clinic.sqlite"
    shutil.copy(migrated, file)
    with open_database(f"sqlite:///{file}") as database:
        with database.write() as session:
            factories.make_clinic_rows(session, studies=40, images=3, models=2, seed=3)
        yield database
