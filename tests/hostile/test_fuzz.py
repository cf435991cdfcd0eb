"""A few hundred mutated files of a known seed: each is an outcome, and none harms the child that reads it."""

import pytest

from agcnn_clinic.sandbox.pool import Sandbox


@pytest.fixture(scope="session")
def fuzzer(beside):
    """The module."""
    import fuzz

    return fuzz


def test_mutated_files_are_outcomes(fuzzer, tmp_path):
    """Nothing but an ImageError escapes the readers, whatever a few bytes are changed to."""
    result = fuzzer.fuzz(seconds=10.0, seed=4, folder=tmp_path, most=400)
    assert not result.findings
    assert result.executions >= fuzzer.BATCH
    assert len(result.outcomes) > 3
    assert result.peak_mb < fuzzer.MEMORY_MB


def test_a_file_can_be_made_again(fuzzer):
    """The same seed and number give the same bytes, and others give others."""
    assert fuzzer.made(1, 7) == fuzzer.made(1, 7)
    assert len({fuzzer.made(1, number) for number in range(30)}) > 25


def test_a_crash_is_found_and_named(fuzzer, tmp_path):
    """A decoder that dies on one file is reported with that file, and the others are read all the same."""
    from falling import survey_and_fall

    paths = [tmp_path / str(number) for number in range(5)]
    for path in paths:
        path.write_bytes(b"abort" if path.name == "3" else b"no film")
    with Sandbox(1, 30.0, 0) as sandbox:
        ends = fuzzer._ends(sandbox, paths, survey_and_fall)
    assert [end for end, _ in ends] == [*["unrecognised"] * 3, "!crashed: SIGABRT", "unrecognised"]
