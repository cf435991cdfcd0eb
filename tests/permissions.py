"""Permissions that count, also where the tests run as root."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_CAPABILITY_VERSION = 0x20080522
_MAY_READ_EVERYTHING = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, see capabilities(7)."""


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions count for this thread, and for those that it starts."""
    library = ctypes.CDLL(None, use_errno=True)
    header, both = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    assert library.capget(header, both) == 0
    privileged = both[0]
    both[0] &= ~_MAY_READ_EVERYTHING
    assert library.capset(header, both) == 0
    try:
        yield
    finally:
        both[0] = privileged
        assert library.capset(header, both) == 0
