"""doctor: each file and folder of a clinic that others may read or change is named, with the command that mends it."""

import os

import pytest

from agcnn_clinic.cli import checks_access
from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.context import write_setting
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import load_config
from agcnn_clinic.errors import UsageError
from agcnn_clinic.users import user_name

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
SOMEBODY = 65534


@pytest.fixture
def clinic(tmp_path):
    """A fresh clinic, as `init` makes it."""
    return make_clinic(tmp_path / "clinic")


def test_what_init_makes_needs_no_remark(clinic):
    """Whatever the umask around it was."""
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]


@pytest.mark.parametrize(
    ("path", "mode", "state"),
    [
        ("archive", 0o750, State.REMARK),
        ("quarantine", 0o705, State.REMARK),
        ("reports", 0o702, State.PROBLEM),
        ("clinic.sqlite", 0o640, State.REMARK),
        ("clinic.sqlite", 0o602, State.PROBLEM),
        ("config.toml", 0o644, State.REMARK),
        ("config.toml", 0o620, State.REMARK),
        ("config.toml", 0o666, State.PROBLEM),
        ("", 0o770, State.REMARK),
        ("", 0o703, State.PROBLEM),
        ("inbox", 0o777, State.REMARK),
        ("inbox", 0o2775, State.REMARK),
    ],
)
def test_what_others_may_do_is_named(clinic, path, mode, state):
    """To read is a remark, to write for everybody a problem, but for an inbox; the advice is a command on that path."""
    target = clinic.root / path
    target.chmod(mode)
    (result,) = checks_access.modes(clinic)
    assert result.state is state
    assert f"{target} has the mode {mode:04o}" in result.found
    assert result.advice.endswith(str(target))
    assert "chmod" in result.advice


def test_settings_and_a_database_are_looked_at_whatever_they_are_called(clinic):
    """The file that --config names, and a database whose address names the driver, too."""
    settings, database = clinic.root / "chest.toml", clinic.root / "clinic.sqlite"
    settings.write_text('[database]\nurl = "sqlite+pysqlite:///clinic.sqlite"\n')
    settings.chmod(0o644)
    database.chmod(0o640)
    found = [result.found for result in checks_access.modes(load_config(settings))]
    assert found == [f"the database {database} has the mode 0640", f"the configuration {settings} has the mode 0644"]


@pytest.mark.parametrize(("path", "mode"), [("inbox", 0o3770), ("inbox", 0o2730), ("", 0o710), ("config.toml", 0o640)])
def test_what_senders_need_is_no_remark(clinic, path, mode):
    """A group that may drop studies, pass through to the inbox, or read the settings, as SECURITY.md advises."""
    (clinic.root / path).chmod(mode)
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]


@AS_ROOT
def test_what_root_has_made_in_the_clinic_of_another_user_is_a_problem(clinic):
    """A lock, a folder of the archive and a film in it; what the clinic's user can read, or has, is not told."""
    for path in (clinic.root, *clinic.root.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    assert list(checks_access.owners(clinic, thorough=True)) == []
    clinic.lock_file.touch(0o600)
    (clinic.reports / "readme.txt").touch(0o644)
    (result,) = checks_access.owners(clinic)
    assert (result.state, result.found.partition(": ")[2]) == (State.PROBLEM, f"1; the first: {clinic.lock_file}")
    (clinic.archive / "ab").mkdir(0o700)
    (clinic.archive / "ab" / "film.dcm").touch(0o600)
    (result,) = checks_access.owners(clinic, thorough=True)
    assert ": 3;" in result.found


@AS_ROOT
def test_root_leaves_no_files_in_the_clinic_of_another_user(clinic, run, tmp_path):
    """Commands that make files name the one that will do; others go on, and change neither mode nor owner of a file."""
    run(clinic.root, "db", "backup", tmp_path / "backup")
    settings, before = clinic.root / "config.toml", sorted(clinic.root.rglob("*"))
    for path in (clinic.root, *before):
        os.chown(path, SOMEBODY, SOMEBODY)
    settings.chmod(0o640)
    for command in (["process"], ["retention"], ["report", "X"], ["db", "restore", tmp_path / "backup"]):
        with pytest.raises(UsageError, match=f"runuser -u {user_name(SOMEBODY)} -- agcnn-clinic"):
            run(clinic.root, *command)
    run(clinic.root, "models", "use", "starter")
    run(clinic.root, "studies")
    assert {path.stat().st_uid for path in clinic.root.rglob("*")} == {SOMEBODY}
    assert settings.stat().st_mode & 0o777 == 0o640
    assert [path for path in sorted(clinic.root.rglob("*")) if ".sqlite-" not in path.name] == before
    with pytest.raises(UsageError, match="runuser"):
        make_clinic(clinic.root)


def restored_by_root(clinic):
    """The clinic as root leaves it that copies a backup into the folder of its user: all is root's but the folder."""
    os.chown(clinic.root, SOMEBODY, SOMEBODY)


def without_a_database(clinic):
    """The same, as before the database is put back."""
    restored_by_root(clinic)
    clinic.layout.files["database"].unlink()


@AS_ROOT
@pytest.mark.parametrize("left", [restored_by_root, without_a_database])
def test_what_root_has_put_in_place_is_no_less_its_users(clinic, run, left):
    """What root would make of it is refused, and `doctor` says that the user cannot read what was copied."""
    (clinic.reports / "left.pdf").touch(0o600)
    left(clinic)
    before = sorted(clinic.root.rglob("*"))
    with pytest.raises(UsageError, match=f"This clinic is {user_name(SOMEBODY)}'s"):
        run(clinic.root, "report", "--missing")
    with pytest.raises(UsageError, match="runuser"):
        make_clinic(clinic.root)
    assert sorted(clinic.root.rglob("*")) == before
    (result,) = checks_access.owners(clinic)
    assert result.state is State.PROBLEM
    assert f"files that the clinic's user {user_name(SOMEBODY)} cannot read" in result.found


@AS_ROOT
def test_root_makes_no_clinic_in_the_folder_of_another_user(tmp_path):
    """Not even its config.toml; in a folder of root's own it does, as in a container."""
    folder = tmp_path / "given"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(UsageError, match="runuser"):
        make_clinic(folder)
    assert list(folder.iterdir()) == []
    os.chown(folder, 0, 0)
    assert list(checks_access.owners(make_clinic(folder))) == []


def test_a_link_to_settings_stays_one(clinic, tmp_path):
    """What changes is the file that it leads to, as another folder of an administrator may hold it."""
    settings, real = clinic.root / "config.toml", tmp_path / "etc.toml"
    settings.rename(real)
    settings.symlink_to(real)
    write_setting(settings, "analysis", "model", "other")
    assert settings.is_symlink()
    assert 'model = "other"' in real.read_text()


def test_what_is_not_there_is_for_another_check(clinic):
    """A missing folder has no mode."""
    clinic.reports.rmdir()
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]
