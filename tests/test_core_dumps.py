"""A process that crashes leaves no copy of its memory behind."""

import resource
import signal
import subprocess
import sys

import pytest

from agcnn_clinic.core_dumps import leave_none

CRASH = """
import os, resource, sys
from agcnn_clinic.core_dumps import leave_none
if sys.argv[1] == "nothing":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
leave_none()
print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""
COMMAND = """
import resource, sys
from agcnn_clinic.cli.main import main
sys.argv[1:] = ["--version"]
try:
    main()
except SystemExit:
    print(resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.fixture
def may_dump():
    """Without a limit of the machine's own there is something to be taken away."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("this machine writes no core dumps")


@pytest.mark.usefixtures("may_dump")
@pytest.mark.parametrize(("allowed", "left"), [("a file", (1, 1)), ("nothing", (0, 0))])
def test_a_crash_leaves_no_file(tmp_path, allowed, left):
    """One byte keeps Linux from handing a dump to a program, too; where none may be written it stays so."""
    command = [sys.executable, "-c", CRASH, allowed]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (-signal.SIGABRT, str(left))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("may_dump")
def test_it_holds_for_every_command():
    """The daemon has films in its memory as its children have; what it starts takes over its limit."""
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(1, 1)"


def test_it_may_be_said_again():
    """A child says it once more, after the daemon that it was made by."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    leave_none()
    leave_none()
    assert resource.getrlimit(resource.RLIMIT_CORE) == ((0, 0) if before[1] == 0 else (1, 1))
