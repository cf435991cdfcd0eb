"""doctor: each file and folder of a clinic that others may read or change is named, with the command that mends it."""

import pytest

from agcnn_clinic.cli import checks_access
from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.result import State


@pytest.fixture
def clinic(tmp_path):
    """A fresh clinic, as `init` makes it."""
    return make_clinic(tmp_path / "clinic")


def test_what_init_makes_needs_no_remark(clinic):
    """Whatever the umask around it was."""
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]


@pytest.mark.parametrize(
    ("path", "mode", "state"),
    [
        ("archive", 0o750, State.REMARK),
        ("quarantine", 0o705, State.REMARK),
        ("reports", 0o702, State.PROBLEM),
        ("clinic.sqlite", 0o640, State.REMARK),
        ("clinic.sqlite", 0o602, State.PROBLEM),
        ("config.toml", 0o644, State.REMARK),
        ("config.toml", 0o620, State.REMARK),
        ("config.toml", 0o666, State.PROBLEM),
        ("", 0o770, State.REMARK),
        ("", 0o703, State.PROBLEM),
        ("inbox", 0o777, State.REMARK),
        ("inbox", 0o2775, State.REMARK),
    ],
)
def test_what_others_may_do_is_named(clinic, path, mode, state):
    """To read is a remark, to write for everybody a problem, but for an inbox; the advice is a command on that path."""
    target = clinic.root / path
    target.chmod(mode)
    (result,) = checks_access.modes(clinic)
    assert result.state is state
    assert f"{target} has the mode {mode:04o}" in result.found
    assert result.advice.endswith(str(target))
    assert "chmod" in result.advice


@pytest.mark.parametrize(("path", "mode"), [("inbox", 0o3770), ("inbox", 0o2730), ("", 0o710), ("config.toml", 0o640)])
def test_what_senders_need_is_no_remark(clinic, path, mode):
    """A group that may drop studies, pass through to the inbox, or read the settings, as SECURITY.md advises."""
    (clinic.root / path).chmod(mode)
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]


def test_what_is_not_there_is_for_another_check(clinic):
    """A missing folder has no mode."""
    clinic.reports.rmdir()
    assert [result.state for result in checks_access.modes(clinic)] == [State.OK]
