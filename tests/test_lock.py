"""One process works on a clinic at a time."""

import fcntl
import os
import subprocess
import sys

import pytest

from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.errors import ClinicBusyError, ExitCode
from agcnn_clinic.lock import at_work_on, holder, only_process

HOLD = """
import sys
from pathlib import Path
from agcnn_clinic.lock import only_process
with only_process(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(tmp_path):
    """A real second process that holds the lock until its standard input is closed."""
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_lock(other_process):
    """The sentence names the process, and the exit code is that of a usage error."""
    path, process = other_process
    with pytest.raises(ClinicBusyError, match=str(process.pid)) as caught, only_process(path):
        pass
    assert caught.value.exit_code is ExitCode.USAGE
    assert holder(path) == str(process.pid)


def test_the_lock_goes_with_a_killed_process(other_process):
    """SIGKILL leaves no lock behind."""
    path, process = other_process
    process.kill()
    process.wait()
    with only_process(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert holder(path) is None


def test_who_looks_does_not_keep_another_from_working(tmp_path, monkeypatch):
    """`doctor` as the daemon starts: the service manager would not start it again. It waits until that has looked."""
    path, flock = tmp_path / "lock", fcntl.flock
    path.touch()
    with path.open() as looking:

        def until_it_waits(file, how):
            try:
                flock(file, how)
            except BlockingIOError:
                looking.close()
                raise

        flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(fcntl, "flock", until_it_waits)
        with only_process(path):
            assert looking.closed


def test_of_two_that_look_neither_takes_the_other_for_one_that_works(tmp_path, monkeypatch):
    """Nor does one that looks write its id there, nor make a file where there is none."""
    path, flock = tmp_path / "lock", fcntl.flock
    assert holder(path) is None
    assert not path.exists()
    path.write_text("1\n")

    def looks_too(file, how):
        flock(file, how)
        monkeypatch.setattr(fcntl, "flock", flock)
        assert holder(path) is None

    monkeypatch.setattr(fcntl, "flock", looks_too)
    assert holder(path) is None
    assert fcntl.flock is flock
    assert path.read_text() == "1\n"


@pytest.mark.sqlite_only("a server has workers")
def test_a_database_is_one_process_s_whichever_settings_name_it(new_clinic, tmp_path):
    """A copy of config.toml in another folder, which names the database by a link, is of the same clinic."""
    config = new_clinic(tmp_path / "clinic")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "link.sqlite").symlink_to(config.layout.files["database"])
    (tmp_path / "etc" / "config.toml").write_text('[database]\nurl = "sqlite:///link.sqlite"\n')
    other = load_config(tmp_path / "etc" / "config.toml")
    with open_database(config.database_url) as database, at_work_on(config, database):
        assert holder(other.lock_file) == str(os.getpid())
        with open_database(other.database_url) as same, pytest.raises(ClinicBusyError), at_work_on(other, same):
            pass
