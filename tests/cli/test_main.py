"""What all commands share: the version, and help that says what its author wrote."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from agcnn_clinic import __version__
from agcnn_clinic.cli.main import app
from agcnn_clinic.errors import UsageError

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")


def test_the_version_needs_no_command():
    """It is printed alone, and before a command that is never run."""
    for arguments in (["--version"], ["--version", "findings"]):
        done = subprocess.run([PROGRAM, *arguments], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"agcnn-clinic {__version__}\n", "")


def commands(group, path=()):
    """Every command and group: how it is called, and the functions or groups behind it as they were registered."""
    for info in group.registered_commands:
        yield (*path, info.name or info.callback.__name__), info
    for info in group.registered_groups:
        yield (*path, info.name), info.typer_instance.info
        yield from commands(info.typer_instance, (*path, info.name))


COMMANDS = dict(commands(app)) | {(): app.info}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_prints_every_word_that_was_written(path, monkeypatch):
    """Of the command and of its options: no section in brackets is taken for markup."""
    info = COMMANDS[path]
    monkeypatch.setenv("COLUMNS", "4000")
    printed = plain(CliRunner().invoke(app, [*path, "--help"]).stdout)
    assert plain(info.help or info.callback.__doc__) in printed
    for hint in get_type_hints(info.callback, include_extras=True).values() if info.callback else ():
        for option in getattr(hint, "__metadata__", ()):
            assert plain(option.help or "") in printed


@pytest.mark.parametrize(
    ("arguments", "before"),
    [
        (["audit", "verify", "--expect", ""], "--expect"),
        (["audit", "verify", "--expect="], "--expect"),
        (["--config", "", "findings"], "--config"),
        (["findings", "-o", ""], "-o"),
        (["init", ""], "init"),
        (["demo", ""], "demo"),
        (["reanalyse", "--all", "--model", ""], "--model"),
        (["quarantine", "requeue", "1", ""], "1"),
        ([""], "agcnn-clinic"),
    ],
)
def test_an_empty_value_is_refused(arguments, before, tmp_path, monkeypatch):
    """Of any command, before it does anything: a shell makes one of what is not there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"What follows {before} is empty"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def plain(text):
    """Text without the breaks of its lines."""
    return re.sub(r"\s+", " ", text).strip()
