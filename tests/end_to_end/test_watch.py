"""The daemon as a hospital runs it: a real process, real files, real signals."""

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pypdf import PdfReader

from agcnn_clinic.cli.checks_workers import at_work
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import load_config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.demo.phantom import draw

TIMEOUT = 120.0


def wait_until(fulfilled: Callable[[], bool], process: Any) -> None:
    """Look again and again, until it is so; fail when the daemon ends or too much time has passed."""
    pause, deadline = threading.Event(), time.monotonic() + TIMEOUT
    while not fulfilled():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.05)


@contextmanager
def daemon(clinic, *, installed: bool = False) -> Iterator[Any]:
    """`agcnn-clinic watch`, forked or the installed program started; ended by force if the test has not ended it."""
    if installed:
        process = subprocess.Popen(clinic.command("watch"), stderr=subprocess.PIPE, text=True)
    else:
        process = clinic.start("watch", stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def film(tmp_path, write_film) -> Path:
    """A whole DICOM film outside the inbox."""
    path = tmp_path / "film.dcm"
    write_film(path, draw(1, (512, 512)).pixels, patient_name="Canary^Patient", patient_id="CANARY-ID")
    return path


def test_a_signal_is_heeded_whichever_thread_gets_it(clinic, signal_a_side_thread):
    """The system chooses; the thread that has to act on it sleeps all the while."""
    with daemon(clinic) as process:
        while "watching the inbox" not in (line := process.stderr.readline()):
            assert line, "the daemon did not start"
        signal_a_side_thread(process.pid, signal.SIGTERM)
        log = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0, log


def test_a_film_whose_decoder_stands_still_keeps_no_other_waiting(clinic, write_film):
    """The others are read and reported long before its deadline; it is read when its decoder goes on."""
    clinic.config_file.write_text(clinic.config_file.read_text().replace("decode_workers = 1", "decode_workers = 3"))

    def drop(*seeds: int) -> None:
        for seed in seeds:
            write_film(clinic.config.inbox / f"{seed}.dcm", draw(seed, (256, 256)).pixels, patient_id=f"P{seed}")

    def reported() -> int:
        return clinic.rows("SELECT count(*) FROM report")[0][0]

    with daemon(clinic) as process:
        drop(1)
        wait_until(lambda: reported() == 1, process)
        parent = psutil.Process(process.pid)
        decoders = [child for child in parent.children(recursive=True) if child.nice() > parent.nice()]
        assert 1 <= len(decoders) <= 2
        for child in decoders:
            child.suspend()
        drop(2, 3, 4)
        wait_until(lambda: reported() == 1 + 3 - len(decoders), process)
        assert [outcome for outcome, _ in clinic.outcomes().values()].count("pending") == len(decoders)
        for child in decoders:
            child.resume()
        wait_until(lambda: reported() == 4, process)
    assert set(clinic.outcomes().values()) == {("analysed", "read")}


def test_a_slowly_copied_study_is_read_once_it_is_whole_and_reported(clinic, film, tmp_path, write_film):
    """A growing file is left alone while another is read; whole, it is read and reported; SIGTERM ends it cleanly."""
    other = tmp_path / "other.dcm"
    write_film(other, draw(2, (512, 512)).pixels, patient_id="OTHER")
    content = film.read_bytes()
    slow, copied = clinic.config.inbox / "slow.dcm", 0
    text = clinic.config_file.read_text()  # longer than a busy machine lets pass between two looks
    clinic.config_file.write_text(text.replace("settle_seconds = 0.3", "settle_seconds = 2.0"))

    with daemon(clinic, installed=True) as process:
        with slow.open("wb") as target:
            (clinic.config.inbox / "other.dcm").write_bytes(other.read_bytes())

            def other_is_read_while_this_grows() -> bool:
                nonlocal copied
                copied += target.write(content[copied : copied + 64])
                target.flush()
                names = [name for (name,) in clinic.rows("SELECT original_name FROM received_file")]
                assert "slow.dcm" not in names
                return clinic.rows("SELECT outcome FROM received_file") == [("analysed",)]

            wait_until(other_is_read_while_this_grows, process)
            target.write(content[copied:])
        wait_until(lambda: len(clinic.rows("SELECT path FROM report")) == 2, process)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=TIMEOUT)[1]

    assert process.returncode == 0, log
    assert clinic.rows("SELECT outcome, COUNT(*) FROM received_file GROUP BY outcome") == [("analysed", 2)]
    assert list(clinic.config.inbox.iterdir()) == []
    for (path,) in clinic.rows("SELECT path FROM report"):
        assert "Research use only" in PdfReader(clinic.config.root / path).pages[0].extract_text()
    events = [json.loads(line) for line in log.splitlines()]
    assert "stopped" in [event["event"] for event in events]
    assert "canary" not in log.lower()


@pytest.mark.sqlite_only("one process has the clinic's lock; several share a server, see test_workers.py")
def test_a_daemon_survives_garbage_and_a_second_one_is_told_to_leave(clinic, film):
    """What is no image is quarantined, the next film is read, and another process does not join in."""
    with daemon(clinic) as process:
        (clinic.config.inbox / "garbage.dcm").write_bytes(b"\x00" * 5000)
        (clinic.config.inbox / "cut.dcm").write_bytes(film.read_bytes()[:3000])
        wait_until(lambda: len(clinic.rows("SELECT 1 FROM received_file WHERE outcome='quarantined'")) == 2, process)
        second = clinic.run("process", check=False)
        assert (second.returncode, str(process.pid) in second.stderr) == (2, True)
        (clinic.config.inbox / "film.dcm").write_bytes(film.read_bytes())
        wait_until(lambda: len(clinic.rows("SELECT 1 FROM report")) == 1, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    reasons = list(clinic.config.quarantine.glob("*.reason.json"))
    assert len(reasons) == 2
    for reason in reasons:
        assert json.loads(reason.read_text())["reason"]
        assert reason.with_name(reason.name.removesuffix(".reason.json")).is_file()


def test_a_daemon_says_that_it_reads_with_the_model_of_before(clinic, film, other_bundle):
    """After `models use` it goes on with what it has loaded; its log says so with the next film, and `doctor` does."""
    with daemon(clinic) as process:
        while "watching the inbox" not in (line := process.stderr.readline()):
            assert line, "the daemon did not start"
        clinic.run("models", "use", other_bundle)
        shutil.copy(film, clinic.config.inbox / "film.dcm")
        wait_until(lambda: bool(clinic.rows("SELECT 1 FROM report")), process)
        with open_database(clinic.config.database_url) as database:
            (line,) = at_work(load_config(clinic.config_file), database)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=TIMEOUT)[1]
    (told,) = [line for line in log.splitlines() if "chosen since" in line]
    assert "still read with untrained 0.0.1" in told
    assert "restart this process to read with tighter 0.0.1" in told
    assert (line.state, "reads with untrained 0.0.1" in line.found) == (State.PROBLEM, True)
    assert clinic.rows("SELECT name FROM model") == [("untrained",)]


@pytest.mark.sqlite_only("its file")
def test_a_daemon_ends_when_its_database_is_replaced(clinic, film, tmp_path):
    """A backup moved into its place while it runs: it says so and ends with 4, and the next film stays in the inbox."""
    backup, waiting = tmp_path / "backup.sqlite", clinic.config.inbox / "film.dcm"
    clinic.run("db", "backup", backup)
    with daemon(clinic) as process:
        while "watching the inbox" not in (line := process.stderr.readline()):
            assert line, "the daemon did not start"
        backup.rename(clinic.config.root / "clinic.sqlite")
        shutil.copy(film, waiting)
        log = process.communicate(timeout=TIMEOUT)[1]
    assert (process.returncode, "was replaced or removed" in log) == (4, True), log
    assert waiting.exists()
    assert list(clinic.config.reports.iterdir()) == []
    clinic.run("process")
    assert clinic.rows("SELECT outcome FROM received_file") == [("analysed",)]


@pytest.mark.sqlite_only("a lock ends with its process; leases run out, see test_workers.py")
def test_a_killed_daemon_leaves_work_that_the_next_one_finishes(clinic, tmp_path, write_film):
    """SIGKILL in the middle of a dozen studies: started again, each file has one outcome and each study one report."""
    for number in range(12):
        path = tmp_path / f"{number}.dcm"
        write_film(path, draw(number, (512, 512)).pixels, patient_id=f"P{number}")
        (clinic.config.inbox / path.name).write_bytes(path.read_bytes())
    with daemon(clinic) as process:
        wait_until(lambda: bool(clinic.rows("SELECT 1 FROM inference")), process)
        process.kill()
        process.wait()
    clinic.run("process")
    assert clinic.rows("SELECT outcome, COUNT(*) FROM received_file GROUP BY outcome") == [("analysed", 12)]
    assert clinic.rows("SELECT COUNT(*) FROM inference") == [(12,)]
    assert clinic.rows("SELECT COUNT(*) AS reports, COUNT(DISTINCT study_id) AS studies FROM report") == [(12, 12)]
    assert len(list(clinic.config.reports.glob("*.pdf"))) == 12
    assert list(clinic.config.root.rglob("*.part")) == []
