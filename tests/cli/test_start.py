"""The program's beginning, in a process of its own."""

import os
import subprocess
import sys

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR")

WITHOUT_A_NAME = """
import pwd, sys

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
from agcnn_clinic.cli.start import main
sys.argv = ["agcnn-clinic", "--version"]
try:
    main()
except SystemExit:
    import torchvision
    print("imported")
"""


def test_a_user_without_a_name_can_read_films():
    """A container may run as a number that no name belongs to; torch asks for the name when it is imported."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", WITHOUT_A_NAME]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("imported\n"), done.stderr
