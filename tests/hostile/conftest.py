"""The corpus, made once, and a clinic to drop it into."""

from pathlib import Path

import pytest

from agcnn_clinic.analysis.infer import load_reader


@pytest.fixture(scope="session")
def beside():
    """Let tests, and the children that they start, import the modules of this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture(scope="session")
def table(beside):
    """Every hostile file."""
    from corpus import TABLE

    return TABLE


@pytest.fixture(scope="session")
def seeds(beside):
    """The module that makes sound films."""
    import seeds

    return seeds


@pytest.fixture(scope="session")
def reader(small_bundle):
    """The small model, loaded once."""
    return load_reader(small_bundle, device="cpu", threads=1)
