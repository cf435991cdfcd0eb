"""What all commands share: their help, their sentences where they cannot go on, and where they print to."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from typer.models import CommandInfo
from typer.testing import CliRunner

from agcnn_clinic import __version__
from agcnn_clinic.cli import standard_output
from agcnn_clinic.cli.formats import Column, Kind
from agcnn_clinic.cli.main import app
from agcnn_clinic.cli.output import Format, Printing, print_rows
from agcnn_clinic.errors import ExitCode, UsageError

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


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fills_the_lines_of_a_terminal(path, monkeypatch):
    """What a command says of itself breaks where a line of 80 columns is full, not where its docstring's lines end."""
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(app, [*path, "--help"]).stdout.partition("Usage")[2].partition("\u256d")[0]
    lines = [line.strip() for line in text.splitlines()]
    for line, following in pairwise(lines):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > 78


@pytest.mark.parametrize(
    "path", [path for path, info in COMMANDS.items() if isinstance(info, CommandInfo)], ids=" ".join
)
def test_help_ends_with_an_example_that_can_be_run(path, monkeypatch):
    """Whole in a line of 80 columns, to be copied, and with arguments and options that the command takes."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*path, "--help"]).stdout.splitlines()
    (example,) = [line.strip() for line in shown if line.strip().startswith("Example: ")]
    program, *arguments = shlex.split(example.removeprefix("Example: "))
    command = typer.main.get_command(app)
    context = command.make_context(program, list(arguments))
    for name in path:
        command, arguments = command.commands[name], arguments[arguments.index(name) + 1 :]
        context = command.make_context(name, list(arguments), parent=context)
    assert context.args == []


def test_what_is_no_choice_is_told_in_our_words():
    """Not with what a library puts before a sentence; of a command within a group, too."""
    for command in (["findings"], ["quarantine", "list"]):
        told = CliRunner().invoke(app, [*command, "--format", "xml"]).stderr
        assert "'xml' is not one of 'table'" in told
        assert "error," not in told


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_names_no_type_of_what_takes_no_value(path):
    """An option that is on or off had stood there as one to be followed by a <bool>."""
    assert "bool" not in CliRunner().invoke(app, [*path, "--help"]).stdout


@pytest.mark.parametrize(
    ("arguments", "before"),
    [
        (["audit", "verify", "--expect", ""], "--expect"),
        (["audit", "verify", "--expect="], "--expect"),
        (["--config", "", "findings"], "--config"),
        (["findings", "-o", ""], "-o"),
        (["init", ""], "init"),
        (["process", ""], "process"),
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


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("quarantine show 99999999999999999999", ExitCode.USAGE, "There is no file 99999999999999999999"),
        (
            "findings --date-from 2026-02-01 --date-to 2026-01-01",
            ExitCode.USAGE,
            "The range of study dates ends",
        ),
        ("studies --date-from 2026-02-01 --date-to 2026-01-31", ExitCode.USAGE, "The range of study dates ends"),
        (
            "findings --min-probability .7 --max-probability .3",
            ExitCode.USAGE,
            "The range of probabilities ends",
        ),
        ("audit list --since 2026-02-01 --until 2026-01-01", ExitCode.USAGE, "The range of moments ends"),
        ("studies --date-from 31.1.2026", ExitCode.USAGE, "'31.1.2026' is no day: write year, month and day"),
        ("quarantine requeue 99999999999999999999", ExitCode.USAGE, "Not in quarantine: 99999999999999999999"),
        ("demo {file}", ExitCode.USAGE, "{file} is a file; name a folder."),
        ("demo {folder}", ExitCode.USAGE, "{folder} holds something else than a demo"),
        ("models import {file} --out {folder}/x.safetensors", ExitCode.MODEL, "{file} cannot be read as weights"),
    ],
)
def test_what_cannot_be_is_one_sentence(rows_clinic, tmp_path, command, code, sentence):
    """No traceback, and the exit code that belongs to it."""
    names = {"file": tmp_path / "file", "folder": tmp_path}
    names["file"].write_text("root:x:0:0:root:/root:/bin/sh\n")
    done = program(rows_clinic, *command.format(**names).split())
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"agcnn-clinic: {sentence.format(**names)}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_first_and_the_last_day_of_the_calendar_are_days(rows_clinic, zone):
    """Where it is another day in UTC, which may lie in no year: everything came between them."""
    listed = [
        program(rows_clinic, "audit", "list", "-f", "csv", *bounds, TZ=zone)
        for bounds in ([], ["--since", "0001-01-01", "--until", "9999-12-31T23:59:59"], ["--since", "9999-12-31"])
    ]
    assert [done.returncode for done in listed] == [0, 0, 0], listed
    everything, between, nothing = (done.stdout.splitlines() for done in listed)
    assert between[2:] == everything[1:]  # but for the event of having looked
    assert len(nothing) == 1
    done = program(rows_clinic, "reanalyse", "--since", "0001-01-01", "--dry-run", TZ=zone)
    assert done.returncode == 0, done.stderr


def test_a_limit_larger_than_any_number_of_rows_is_none(rows_clinic, run):
    """No database is asked for more rows than it can count."""
    printed = [run(rows_clinic, "findings", "--limit", limit).stdout for limit in (0, 10**20)]
    assert printed[0] == printed[1]


@pytest.mark.parametrize("command", ["--help", "models list", "studies", "findings -f csv", "show P0001 -f json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_sentence(rows_clinic, command, unbuffered):
    """Whoever prints: typer, rich, or our own writers."""
    with Path("/dev/full").open("w") as full:
        done = program(rows_clinic, *command.split(), stdout=full, PYTHONUNBUFFERED=unbuffered)
    sentence = "agcnn-clinic: Standard output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (ExitCode.NOT_ALL, sentence)


@pytest.mark.parametrize("command", ["--help", "models list", "studies", "findings -f csv --limit 0"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_no_command(rows_clinic, command, unbuffered):
    """Nothing is said of it, and the exit code is that of the work."""
    reader, writer = os.pipe()
    os.close(reader)
    done = program(rows_clinic, *command.split(), stdout=writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_rows_that_nobody_reads_are_not_asked_for(monkeypatch):
    """`findings | head -1` does not go through a million studies."""
    reader, writer = os.pipe()
    os.close(reader)
    asked = []
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with standard_output.delivered():
            rows = ({"n": asked.append(number) or number} for number in range(100_000))
            print_rows(rows, [Column("n", Kind.INTEGER)], Printing(Format.CSV), shown=())
    assert 0 < len(asked) < 50_000


def program(folder, *arguments, stdout=subprocess.PIPE, **environment):
    """Run the installed program on a clinic."""
    command = [PROGRAM, "--config", folder / "config.toml", *arguments]
    return subprocess.run(
        command, check=False, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def plain(text):
    """Text without the breaks of its lines."""
    return re.sub(r"\s+", " ", text).strip()


def test_the_folder_of_a_model_is_whole_in_a_pipe(tmp_path):
    """Another program reads one line a model, whatever COLUMNS says."""
    environment = os.environ | {"COLUMNS": "60"}
    listed = subprocess.check_output([PROGRAM, "models", "list"], cwd=tmp_path, env=environment, text=True)
    assert Path(listed.splitlines()[2].split()[-1]).is_dir()
