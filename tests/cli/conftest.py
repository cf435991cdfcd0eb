"""A clinic whose database holds studies of all kinds, and its commands run as `agcnn-clinic` runs them."""

import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from agcnn_clinic.cli.main import app
from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database

ON_A_TERMINAL = """
import fcntl, struct, sys, termios
from agcnn_clinic.cli.main import app
for width in %r:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    for command in %r:
        print("COMMAND", width, command[0], flush=True)
        app(["--config", "config.toml", *command], standalone_mode=False)
"""


@pytest.fixture(scope="session")
def rows_clinic(tmp_path_factory, factories, new_clinic):
    """The folder of a clinic with 20 studies in its database; only to be read."""
    folder = tmp_path_factory.mktemp("clinic")
    config = new_clinic(folder)
    with open_database(config.database_url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=20, images=3, models=2, seed=5)
    return folder


@pytest.fixture(scope="session")
def rows_url(rows_clinic):
    """The URL of that clinic's database."""
    return load_config(rows_clinic / "config.toml").database_url


@pytest.fixture
def run():
    """Run a command on a clinic: `run(folder, "findings", "--positive")`. An error comes out as it was raised."""

    def run(folder, *arguments):
        return CliRunner().invoke(
            app, ["--config", str(folder / "config.toml"), *map(str, arguments)], catch_exceptions=False
        )

    return run


@pytest.fixture
def on_terminals():
    """Print on real terminals: `on_terminals(folder, widths, commands)`, run where a config.toml may lie."""
    return _on_terminals


def _on_terminals(folder, widths, commands):
    """What commands print on real terminals of some widths: width and command, with the lines without their colours."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL % (widths, commands)],
        cwd=folder,
        stdout=slave,
        stderr=slave,
        env=environment | {"TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(slave)
    printed = _read_to_end(master)
    assert process.wait() == 0, printed
    sections = printed.split("COMMAND ")[1:]
    assert len(sections) == len(widths) * len(commands)
    for section in sections:
        heading, *lines = re.sub(r"\x1b\[[0-9;]*m", "", section).splitlines()
        width, command = heading.split()
        yield (int(width), command), lines


def _read_to_end(terminal):
    """All that is written to a pseudo-terminal; on Linux its end is an OSError."""
    printed = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:
            some = b""
        if not some:
            os.close(terminal)
            return printed.decode()
        printed += some
