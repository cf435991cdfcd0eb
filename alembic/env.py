"""Where Alembic meets the clinic: which database, and how a migration runs on it.

`agcnn-clinic db upgrade` hands in a connection. The plain `alembic` command finds the database by itself.
"""

from alembic import context

from agcnn_clinic.config import find_config, load_config
from agcnn_clinic.database.engine import parse_url
from agcnn_clinic.database.migrate import CONNECTION, migration_connection
from agcnn_clinic.database.tables import Base


def database_url() -> str:
    """The URL of `-x url=...`, else of the clinic's configuration."""
    given = context.get_x_argument(as_dictionary=True).get("url")
    return given or load_config(find_config(None)).database_url


def run() -> None:
    """Run what the command asked for: on the connection handed in, on one of its own, or as an SQL script."""
    # Alembic rebuilds a table where SQLite cannot alter it.
    options = {"target_metadata": Base.metadata, "render_as_batch": True}
    if context.is_offline_mode():
        dialect = parse_url(database_url()).get_backend_name()
        context.configure(dialect_name=dialect, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
    elif (connection := context.config.attributes.get(CONNECTION)) is not None:
        context.configure(connection=connection, **options)
        context.run_migrations()
    else:
        with migration_connection(database_url()) as connection:
            context.configure(connection=connection, **options)
            context.run_migrations()


run()
