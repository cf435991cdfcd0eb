"""What a film is called: the name by which lists, label files, folders and runs speak of the same one."""

import os
from typing import Final

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
"""What a film may have been converted to."""


def film_key(image: str) -> str:
    """The name by which films match: without the suffix of an image file, in capitals or not.

    Nothing else is taken off: the last number of a SOP Instance UID looks like a suffix, and tells films apart.
    """
    name, suffix = os.path.splitext(image)  # noqa: PTH122 (a tenth of PurePath's time, for every film several times)
    return name if suffix.lower() in SUFFIXES else image
