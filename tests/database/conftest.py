"""A database of its own for each test: a copy of one that was migrated once."""

import pytest
from sqlalchemy import delete

from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Base


@pytest.fixture
def database(url):
    """An open, empty database at head."""
    with open_database(url, busy_timeout_seconds=5) as database:
        yield database


@pytest.fixture(scope="session")
def emptied(databases, migrated, tmp_path_factory):
    """Gives the same open database, without rows each time it is called: for tests of many examples."""
    with open_database(databases.copy(migrated, tmp_path_factory.mktemp("emptied"))) as database:

        def emptied():
            with database.write() as session:
                for table in reversed(Base.metadata.sorted_tables):
                    if table.name != "audit_event":  # nobody may
                        session.execute(delete(table))
            return database

        yield emptied


@pytest.fixture(scope="session")
def filled(databases, migrated, tmp_path_factory, factories):
    """An open database with 40 studies, read by two models; only to be read."""
    with open_database(databases.copy(migrated, tmp_path_factory.mktemp("filled"))) as database:
        with database.write() as session:
            factories.make_clinic_rows(session, studies=40, images=3, models=2, seed=3)
        yield database
