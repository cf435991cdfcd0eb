"""One process works on a clinic at a time."""

import os
import subprocess
import sys

import pytest

from agcnn_clinic.errors import ClinicBusyError, ExitCode
from agcnn_clinic.lock import holder, only_process

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
