"""One process works on a clinic at a time."""

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
