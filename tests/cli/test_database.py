"""db: what upgrade, current, backup, restore and unlisted say and do."""

import os
import shutil

import pytest

from agcnn_clinic.config import load_config
from agcnn_clinic.database import audit, migrate
from agcnn_clinic.database.revision import HEAD
from agcnn_clinic.database.session import open_database
from agcnn_clinic.errors import ClinicBusyError, DatabaseError, UsageError
from agcnn_clinic.lock import only_process


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
def test_a_backup_takes_the_database_s_place(clinic, run, execute):
    """After `db restore` the commands print what they printed when the copy was made; the newer one is kept."""
    before = run(clinic, "findings", "-f", "csv").stdout
    copy = clinic / "copy.sqlite"
    assert "holds the database" in run(clinic, "db", "backup", copy).stdout
    with pytest.raises(UsageError, match="exists already"):
        run(clinic, "db", "backup", copy)
    execute(load_config(clinic / "config.toml").database_url, "DELETE FROM finding")
    printed = run(clinic, "db", "restore", copy).stdout
    assert "The one before is kept as" in printed
    assert run(clinic, "findings", "-f", "csv").stdout == before
    assert list(clinic.glob("clinic-before-*.sqlite"))


@pytest.mark.sqlite_only("a server has its own tool")
def test_restores_of_the_same_second_keep_one_database_each(clinic, run):
    """As where the wrong copy was taken first: none is refused for the name of what it sets aside."""
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    for _ in range(3):
        run(clinic, "db", "restore", clinic / "copy.sqlite")
    assert len(list(clinic.glob("clinic-before-*.sqlite"))) == 3


@pytest.mark.sqlite_only("a server has its own tool")
def test_a_log_whose_database_is_gone_is_told_of(clinic, run):
    """It is set aside, and only with it does the file that was moved away have its newest rows."""
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    (clinic / "clinic.sqlite").unlink()
    (clinic / "clinic.sqlite-wal").write_bytes(b"its log")
    printed = run(clinic, "db", "restore", clinic / "copy.sqlite").stdout
    (kept,) = clinic.glob("clinic-before-*.sqlite-wal")
    assert f"A log that the one before had left is kept as {kept}" in " ".join(printed.split())
    assert kept.read_bytes() == b"its log"


@pytest.mark.sqlite_only("a server has its own tool")
def test_links_are_followed_by_backup_and_restore(clinic, run):
    """A database and copies on another disk stay there, and the one before is kept beside the database."""
    far = clinic / "far"
    far.mkdir()
    for name in ("clinic.sqlite", "copy.sqlite"):
        (clinic / name).exists() and (clinic / name).rename(far / name)
        (clinic / name).symlink_to(far / name)
    before = run(clinic, "findings", "-f", "csv").stdout
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    run(clinic, "db", "restore", clinic / "copy.sqlite")
    assert all((clinic / name).is_symlink() for name in ("clinic.sqlite", "copy.sqlite"))
    assert (far / "copy.sqlite").is_file()
    assert list(far.glob("clinic-before-*.sqlite"))
    assert run(clinic, "findings", "-f", "csv").stdout == before


@pytest.mark.sqlite_only("a server has its own tool")
def test_nothing_is_restored_under_a_working_daemon(clinic, run):
    """While a process holds the clinic's lock, the command says which one."""
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    with (
        only_process(load_config(clinic / "config.toml").lock_file),
        pytest.raises(ClinicBusyError, match=str(os.getpid())),
    ):
        run(clinic, "db", "restore", clinic / "copy.sqlite")


@pytest.mark.sqlite_only("a server has its own tool")
def test_an_older_backup_asks_for_an_upgrade(clinic, run, execute):
    """It is restored as it is, and the next command to run is named."""
    execute(load_config(clinic / "config.toml").database_url, "UPDATE alembic_version SET version_num = '0001'")
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    assert "agcnn-clinic db upgrade" in run(clinic, "db", "restore", clinic / "copy.sqlite").stdout


@pytest.mark.sqlite_only("a server has its own tool")
@pytest.mark.parametrize(("revision", "told"), [("0004", ["backed up", "restored"]), ("0003", [])])
def test_the_trail_tells_of_a_copy_of_an_older_database(clinic, run, revision, told):
    """An export of all patient data, and a database in another one's place, are events wherever there is a trail."""
    url = load_config(clinic / "config.toml").database_url
    migrate.downgrade(url, revision)
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    run(clinic, "db", "restore", clinic / "copy.sqlite")
    migrate.upgrade(url)
    with open_database(url) as database, database.connection() as connection:
        events = [row["event"] for row in audit.events(connection, audit.EventFilter())][::-1]
        assert audit.verify(connection).broken == ""
    assert [event for event in events if event != "migrated"] == told


@pytest.mark.sqlite_only("a server has its own tool")
def test_what_came_after_the_backup_is_told_and_listed(clinic, run):
    """Archived files that the restored database does not know are counted, and printed for `process` to read again."""
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    later = clinic / "archive" / "ab" / f"ab{'0' * 62}.dcm"
    later.parent.mkdir(parents=True, exist_ok=True)
    later.write_bytes(b"a film")
    assert "Archived after it was made: 1 file." in run(clinic, "db", "restore", clinic / "copy.sqlite").stdout
    assert run(clinic, "db", "unlisted").stdout.splitlines() == [str(later)]


@pytest.mark.sqlite_only("a server has its own tool")
def test_pngs_are_not_read_again_without_what_was_said_of_them(clinic, run):
    """Neither a lateral PNG nor a picture of a CD's viewer is handed to `process`; a person is told of them."""
    run(clinic, "db", "backup", clinic / "copy.sqlite")
    film, png = (clinic / "archive" / "ab" / f"ab{'0' * 62}.{suffix}" for suffix in ("dcm", "png"))
    film.parent.mkdir(parents=True, exist_ok=True)
    for later in (film, png):
        later.write_bytes(b"an image")
    told = run(clinic, "db", "restore", clinic / "copy.sqlite").stdout
    assert "made: 2 files." in told
    assert "PNGs among them: 1." in told
    listed = run(clinic, "db", "unlisted")
    assert listed.stdout.splitlines() == [str(film)]
    assert "Left out: 1 PNG." in listed.stderr
    assert run(clinic, "db", "unlisted", "--png").stdout.splitlines() == [str(png)]
