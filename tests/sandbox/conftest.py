"""Children for these tests, and the module of what they are told to do."""

from pathlib import Path

import pytest

from agcnn_clinic.sandbox.pool import Sandbox


@pytest.fixture(scope="session")
def misbehaving():
    """The module `misbehaving`, importable by children, which look for it where this process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import misbehaving

        yield misbehaving


@pytest.fixture(scope="module")
def sandbox(misbehaving):
    """One child at a time, a second and 256 MB for each task, 16 MB for an answer."""
    with Sandbox(workers=1, seconds=1.0, memory_mb=256, max_result_bytes=16 * 2**20) as sandbox:
        yield sandbox
