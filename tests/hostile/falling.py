"""A reader that does not survive every file."""

import os
from pathlib import Path

from probe import survey


def survey_and_fall(paths: list[str], min_side: int) -> list[tuple[str, float]]:
    """End the process, as a bug of a native decoder does, at a file that begins with `abort`."""
    for path in paths:
        if Path(path).read_bytes().startswith(b"abort"):
            os.abort()
    return survey(paths, min_side)
