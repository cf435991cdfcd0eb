"""--output: the file that a person names, and what is none."""

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agcnn_clinic.errors import StorageError, UsageError

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")


def test_an_output_file_appears_whole_or_not_at_all(rows_clinic, run, tmp_path):
    """--output replaces an older file at once, leaves nothing beside it, and a missing folder is one sentence."""
    file = tmp_path / "findings.csv"
    file.write_text("old")
    run(rows_clinic, "findings", "-o", file)
    assert file.read_text().startswith("finding_id,")
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StorageError, match="cannot be written"):
        run(rows_clinic, "findings", "-o", tmp_path / "none" / "findings.csv")


@pytest.mark.parametrize(
    ("command", "name", "offered"),
    [
        ("findings", "findings.xlsx", ".csv, .json, .parquet or, for a table, .txt"),
        ("audit list", "findings.csv.gz", ".csv, .json, .parquet or, for a table, .txt"),
        ("show A00001", "study.csv", ".json or, for a table, .txt"),
        ("quarantine show 1", "file.xml", ".json or, for a table, .txt"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(rows_clinic, run, tmp_path, command, name, offered):
    """A text table within would open nowhere; the sentence says what is offered, and nothing is written."""
    with pytest.raises(UsageError, match=f"{name} cannot be .*: let it end in {offered}, or say with --format"):
        run(rows_clinic, *command.split(), "-o", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_says_how_to_print(rows_clinic, run, tmp_path):
    """By its ending, in whatever case; one without an ending, or .txt, is a table, and --format has the last word."""
    named = {"a.JSON": "[\n", "b.csv": "study_id,", "c.txt": "study ", "d": "study ", ".e": "study "}
    for name, begins in named.items():
        run(rows_clinic, "studies", "-o", tmp_path / name)
        assert (tmp_path / name).read_text().startswith(begins)
    run(rows_clinic, "studies", "-f", "csv", "-o", tmp_path / "f.xlsx")
    assert (tmp_path / "f.xlsx").read_text().startswith("study_id,")
    run(rows_clinic, "show", "A00001", "-o", tmp_path / "study.json")
    assert json.loads((tmp_path / "study.json").read_text())["accession_number"] == "A00001"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(rows_clinic, run, tmp_path, there):
    """The file that it leads to is written, be it there or not yet; the link stays one, with nothing beside it."""
    link, file = tmp_path / "today.csv", tmp_path / "far" / "findings.csv"
    file.parent.mkdir()
    link.symlink_to("far/findings.csv")
    if there:
        file.write_text("old")
    run(rows_clinic, "findings", "-o", link)
    assert link.readlink() == Path("far/findings.csv")
    assert file.read_text().startswith("finding_id,")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "findings.csv", "today.csv"]


def test_what_leads_to_a_device_is_written_to(rows_clinic, run, tmp_path):
    """Neither the link nor what it leads to becomes a file."""
    link = tmp_path / "nowhere.csv"
    link.symlink_to("/dev/null")
    run(rows_clinic, "findings", "-o", link)
    assert link.readlink() == Path("/dev/null")
    assert link.is_char_device()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_the_shell_has_opened_is_added_to(rows_clinic, tmp_path, stream):
    """Rows for /dev/stdout follow what the file of `>> all.csv` holds, and whoever has it open may write on."""
    file = tmp_path / "all.csv"
    file.write_text("earlier\n")
    command = [PROGRAM, "--config", rows_clinic / "config.toml", "studies", "-f", "csv", "-o", f"/dev/{stream}"]
    with file.open("ab") as opened:
        subprocess.run(command, check=True, **{stream: opened})
        opened.write(b"later\n")
    lines = file.read_text().splitlines()
    assert (lines[0], lines[1].partition(",")[0], lines[-1]) == ("earlier", "study_id", "later")
    assert len(lines) == 3 + 20
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def pipe(tmp_path):
    """A named pipe, and the end that is read; nothing that is read from it is waited for."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        yield path, reader


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_a_pipe_gets_what_standard_output_would(rows_clinic, run, pipe, form):
    """In every format, and it stays a pipe: its reader would else wait for ever."""
    path, reader = pipe
    command = (rows_clinic, "studies", "--limit", 5, "-f", form)
    run(*command, "-o", path)
    assert reader.read() == run(*command).stdout_bytes
    assert path.is_fifo()


def test_a_reader_of_a_pipe_may_go(rows_clinic, run, pipe):
    """As with standard output: it has what it wanted, and the command ends well."""
    path, reader = pipe
    got = []

    def read_some():
        select.select([reader], [], [], 10)
        got.append(reader.read(3))
        reader.close()

    reading = threading.Thread(target=read_some)
    reading.start()
    assert run(rows_clinic, "findings", "-f", "json", "-o", path).exit_code == 0
    reading.join()
    assert got == [b"[\n{"]
