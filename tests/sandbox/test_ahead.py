"""Loading what the children need, before anything asks for a child."""

import os
import subprocess
import sys

LOADED = """
from agcnn_clinic.errors import ChildrenUnavailableError
from agcnn_clinic.sandbox.ahead import load_ahead
try:
    load_ahead()
except ChildrenUnavailableError as error:
    print(error)
"""


def test_a_folder_for_temporary_files_with_a_long_path_is_told_of(tmp_path):
    """The system takes a hundred letters for a socket's name: what to do is said, and there is no traceback."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", LOADED], env=environment, check=True, capture_output=True, text=True)
    assert "see that $TMPDIR, if it is set, names one" in done.stdout
    assert done.stderr == ""
