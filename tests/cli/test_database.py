"""db: what upgrade, current and backup say and do."""

import shutil

import pytest

from agcnn_clinic.config import load_config
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.errors import DatabaseError, UsageError


@pytest.fixture
def clinic(rows_clinic, rows_url, databases, tmp_path):
    """A copy of the clinic and of its database, to be changed."""
    folder = shutil.copytree(rows_clinic, tmp_path / "clinic")
    config = folder / "config.toml"
    if databases.name == "postgresql":
        config.write_text(config.read_text().replace(rows_url, databases.copy(rows_url, folder)))
    return folder


def test_current_says_where_the_database_stands(clinic, run, execute):
    """The revision is printed with what it means, also where it is not the software's own."""
    assert f"{HEAD}, which this version needs" in run(clinic, "db", "current").stdout
    url = load_config(clinic / "config.toml").database_url
    execute(url, "UPDATE alembic_version SET version_num = 'future'")
    assert "install the newer one" in run(clinic, "db", "current").stdout
    execute(url, "DELETE FROM alembic_version")
    assert "agcnn-clinic db upgrade" in run(clinic, "db", "current").stdout


@pytest.mark.sqlite_only("an empty file")
def test_upgrade_brings_a_new_database_to_head(clinic, run):
    """An empty file becomes a database at head; a second time nothing is left to do."""
    for file in clinic.glob("clinic.sqlite*"):
        file.unlink()
    (clinic / "clinic.sqlite").touch()
    with pytest.raises(DatabaseError, match="db upgrade"):
        run(clinic, "studies")
    assert f"from revision none to {HEAD}" in run(clinic, "db", "upgrade").stdout
    assert "already" in run(clinic, "db", "upgrade").stdout
    assert run(clinic, "studies").stdout == "Nothing matches.\n"


@pytest.mark.sqlite_only("a missing file")
def test_upgrade_makes_no_clinic(clinic, run):
    """Where there is no database, `db upgrade` says so: a new one is for `init`."""
    for file in clinic.glob("clinic.sqlite*"):
        file.unlink()
    with pytest.raises(DatabaseError, match="agcnn-clinic init"):
        run(clinic, "db", "upgrade")


@pytest.mark.sqlite_only("a server has its own tool")
def test_a_backup_takes_the_database_s_place(clinic, run):
    """After the copy is put in the database's place, the commands print what they printed before."""
    before = run(clinic, "findings", "-f", "csv").stdout
    copy = clinic / "copy.sqlite"
    assert "holds the database" in run(clinic, "db", "backup", copy).stdout
    with pytest.raises(UsageError, match="exists already"):
        run(clinic, "db", "backup", copy)
    for file in clinic.glob("clinic.sqlite*"):
        file.unlink()
    copy.rename(clinic / "clinic.sqlite")
    assert run(clinic, "findings", "-f", "csv").stdout == before
