"""Daemons on machines of their own, with one inbox, archive and PostgreSQL: each study is done once, whoever dies."""

import shutil
import signal
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from agcnn_clinic.database.audit import verify
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.session import open_database
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.domain import ReasonCode

pytestmark = pytest.mark.postgresql_only

TIMEOUT = 240.0
LEASE_SECONDS = 5
SINGLE = 40
"""Films that are a study of their own."""


def wait_until(fulfilled: Callable[[], bool], *daemons: Any) -> None:
    """Look again and again, until it is so; fail when one of the daemons ends or too much time has passed."""
    pause, deadline = threading.Event(), time.monotonic() + TIMEOUT
    while not fulfilled():
        for daemon in daemons:
            assert daemon.poll() is None, daemon.said()
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)


@pytest.fixture
def clinic_folder(tmp_path, machines):
    """Where the machines' own mounts are of, if they have some."""
    if not (mounts := machines.mounts()):
        yield tmp_path / "clinic"
        return
    with tempfile.TemporaryDirectory(dir=mounts[0]) as folder:
        yield Path(folder) / "clinic"


@pytest.fixture
def shared(clinic):
    """A clinic whose workers are in a hurry."""
    text = clinic.config_file.read_text()
    for old, new in (
        ("lease_seconds = 60.0", f"lease_seconds = {LEASE_SECONDS}"),
        ("rescan_seconds = 10.0", "rescan_seconds = 0.5"),
        ("batch_size = 0", "batch_size = 3"),
        ("picture_dpi = 150", "picture_dpi = 72"),
    ):
        assert old in text
        text = text.replace(old, new)
    clinic.config_file.write_text(text)
    return clinic


@pytest.fixture
def watch(shared, machines, tmp_path):
    """Starts daemons, each on a machine of its own; none outlives the test."""
    started = []
    # Its path is short, as that of a socket within must be.
    with tempfile.TemporaryDirectory() as folder:

        def watch():
            temporary = Path(folder, str(len(started)))
            temporary.mkdir()
            log = tmp_path / f"{temporary.name}.log"
            started.append(machines.Daemon(len(started), shared.command("watch"), log, temporary))
            return started[-1]

        yield watch
        for daemon in started:
            daemon.end()


def send(clinic, write_film, numbers: range) -> None:
    """Drop films, each a study of its own, and every tenth once more under another name."""
    outside = clinic.config.root.parent / "outside"
    outside.mkdir(exist_ok=True)
    for number in numbers:
        write_film(outside / f"{number:02}.dcm", draw(number, (256, 256)).pixels, patient_id=f"P{number}")
        if number % 10 == 0:
            shutil.copy(outside / f"{number:02}.dcm", clinic.config.inbox / f"{number:02}-again.dcm")
        (outside / f"{number:02}.dcm").rename(clinic.config.inbox / f"{number:02}.dcm")


def send_folder_and_zip(clinic, write_film) -> None:
    """A study of three PNGs in a folder, and a zip of two films."""
    outside = clinic.config.root.parent / "outside"
    folder = outside / "pngs"
    folder.mkdir(parents=True)
    for number in range(3):
        pixels = draw(1000 + number, (256, 256)).pixels
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "study.toml").write_text('patient_id = "PNG"\n')
    with zipfile.ZipFile(outside / "films.zip", "w") as archive:
        for number in (2000, 2001):
            write_film(outside / f"{number}.dcm", draw(number, (256, 256)).pixels)
            archive.write(outside / f"{number}.dcm", f"{number}.dcm")
    folder.rename(clinic.config.inbox / "pngs")
    (outside / "films.zip").rename(clinic.config.inbox / "films.zip")


def is_idle(clinic, *, files: int, studies: int) -> bool:
    """Whether every file has its outcome, every study its report, and nobody has anything in hand."""
    ((decided,),) = clinic.rows("SELECT count(*) FROM received_file WHERE outcome <> 'pending'")
    ((reported,),) = clinic.rows("SELECT count(DISTINCT study_id) FROM report")
    claimed = clinic.rows("SELECT 1 FROM claim")
    left = [path for path in clinic.config.inbox.rglob("*") if path.is_file()]
    return decided >= files and reported >= studies and not claimed and not left


def check_once(clinic, *, outcomes: dict[str, int], studies: int) -> None:
    """Assert that nothing was done twice, and that the trail is one chain."""
    names = Counter(name for (name,) in clinic.rows("SELECT original_name FROM received_file"))
    assert [name for name, count in names.items() if count > 1] == []
    found = clinic.rows("SELECT outcome, count(*) AS files FROM received_file GROUP BY outcome")
    assert dict(found) == outcomes
    read = outcomes["analysed"]
    assert clinic.rows("SELECT count(*) AS all, count(DISTINCT file_id) AS files FROM inference") == [(read, read)]
    reports = clinic.rows("SELECT path, study_id FROM report")
    assert len(reports) == len({study for _, study in reports}) == studies
    assert {path.name for path in clinic.config.reports.iterdir()} == {Path(path).name for path, _ in reports}
    assert all(PdfReader(clinic.config.root / path).pages for path, _ in reports)
    # Each film was told of once, too: as it came, and as it was read.
    for event, times in (("imported", sum(outcomes.values())), ("analysed", read)):
        told = clinic.rows(f"SELECT files FROM audit_event WHERE event = '{event}'")
        assert sum(len(files.strip("[]").split(",")) for (files,) in told) == times
    with open_database(clinic.config.database_url) as database, database.connection() as connection:
        assert verify(connection).broken == ""


def in_hand(clinic, daemon) -> list[tuple]:
    host, process_id = daemon.known_as
    mine = f"host = '{host}' AND process_id = {process_id}"
    return clinic.rows(f"SELECT work FROM claim JOIN worker ON worker.id = worker_id WHERE {mine}")


def stop_with_work_in_hand(clinic, *daemons) -> Any:
    """SIGSTOP to the first of them that is in the middle of films; gives that one."""
    stopped = []

    def caught() -> bool:
        for daemon in daemons:
            if ("file",) in in_hand(clinic, daemon):
                daemon.send_signal(signal.SIGSTOP)
                if ("file",) in in_hand(clinic, daemon):
                    stopped.append(daemon)
                    return True
                daemon.send_signal(signal.SIGCONT)
        return False

    wait_until(caught, *daemons)
    return stopped[0]


def test_of_two_workers_one_is_killed_and_each_study_is_done_once(shared, watch, write_film):
    """Both have worked; what the killed one had in hand goes to the other; no file, reading or report is double."""
    send(shared, write_film, range(SINGLE // 2))
    both = [watch(), watch()]
    wait_until(lambda: len(shared.rows("SELECT 1 FROM worker")) == 2, *both)
    send_folder_and_zip(shared, write_film)
    send(shared, write_film, range(SINGLE // 2, SINGLE))
    # Either, since one of them may be so quick that the other finds little left to do.
    killed = stop_with_work_in_hand(shared, *both)
    (survivor,) = (daemon for daemon in both if daemon is not killed)
    taken = in_hand(shared, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert taken
    again = SINGLE // 10
    files, studies = SINGLE + again + 3 + 3, SINGLE + 1 + 2
    wait_until(lambda: is_idle(shared, files=files, studies=studies), survivor)
    survivor.send_signal(signal.SIGTERM)
    assert survivor.wait() == 0
    assert shared.rows("SELECT 1 FROM worker") == []
    # PDFs that the killed one had not given their names yet go when another one begins.
    wait_until(lambda: not list(shared.config.reports.glob(".*.part")), watch())
    outcomes = {"analysed": SINGLE + 3 + 2, "duplicate": again, "unpacked": 1}
    check_once(shared, outcomes=outcomes, studies=studies)
    assert survivor.known_as in shared.rows("SELECT host, process_id FROM audit_event WHERE event = 'analysed'")


def test_process_tells_of_its_own_work_beside_another_worker(shared, write_film, factories, tmp_path):
    """A study that the other one still receives is left alone, and its broken file is no matter of this run's."""
    write_film(tmp_path / "mine.dcm", draw(1, (256, 256)).pixels, patient_id="MINE")
    (shared.config.archive / ".incoming").mkdir()  # where the other one works
    text = shared.config_file.read_text()
    shared.config_file.write_text(text.replace("study_quiet_seconds = 0.5", "study_quiet_seconds = 300.0"))
    now = datetime.now(UTC)
    with open_database(shared.config.database_url) as database, Leases(database, 600, renewing=False):
        with database.write() as session:
            coming = factories.make_study(session, 1, received_at=now)
            reading = factories.make_file(session, coming, 1)
            factories.make_inference(session, reading, factories.make_model(session), Random(1))
            factories.make_file(session, None, 2, ReasonCode.UNRECOGNISED).decided_at = now + timedelta(minutes=1)
        done = shared.run("process", tmp_path / "mine.dcm")
    assert done.stdout.split("\n")[0].split()[:2] == ["1", "analysed"]
    assert "quarantined" not in done.stdout
    ((patient, path),) = shared.rows("SELECT patient_id, path FROM report JOIN study ON study.id = study_id")
    assert patient == "MINE"
    assert path in done.stdout


def test_a_worker_that_was_asleep_for_longer_than_its_lease_records_nothing_twice(shared, watch, write_film):
    """It wakes up with films in hand that the other has read meanwhile, and goes on as a worker like any other."""
    send(shared, write_film, range(12))
    asleep = watch()
    stop_with_work_in_hand(shared, asleep)
    awake = watch()  # only now: it might else have done all before the other had begun
    wait_until(lambda: is_idle(shared, files=14, studies=12), awake)
    asleep.send_signal(signal.SIGCONT)
    send(shared, write_film, range(20, 26))
    wait_until(lambda: is_idle(shared, files=21, studies=18), asleep, awake)
    wait_until(lambda: len(shared.rows("SELECT 1 FROM worker")) == 2, asleep, awake)
    for daemon in (asleep, awake):
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
    check_once(shared, outcomes={"analysed": 18, "duplicate": 3}, studies=18)
