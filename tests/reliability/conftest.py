"""Daemons that are made to be killed, what they are fed, and what must be true of their clinic afterwards."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pypdf import PdfReader

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.config import load_config

sys.path.append(str(Path(__file__).parent))
from mailing import Mail

FOLDERS = ("inbox", "archive", "quarantine", "reports")
KILLER = Path(__file__).with_name("killer.py")
PLAN_BYTES = 64
PATIENCE_SECONDS = 300.0

UNCOVERED = """
SELECT COUNT(*) FROM study WHERE
    EXISTS (SELECT 1 FROM instance JOIN received_file f ON f.instance_id = instance.id
            WHERE instance.study_id = study.id AND f.outcome = 'analysed')
    AND NOT EXISTS (SELECT 1 FROM report WHERE study_id = study.id AND study_revision >= study.revision)
"""
"""Studies of which an image was read and no report covers all that is known."""


def wait_until(
    fulfilled: Callable[[], bool],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    instead: Callable[[], str] = lambda: "",
) -> None:
    """Look again and again, until it is so; fail when too much time has passed, and say what there was instead."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < deadline, f"it did not happen in time: {what}; {instead()}"
        pause.wait(0.05)


def holds_files(folder: str | Path) -> bool:
    """Whether there is a file in a folder or below it; looks no further than the first."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return any(not entry.is_dir(follow_symlinks=False) or holds_files(entry.path) for entry in entries)
    return False


class Trial:
    """A clinic, the daemon that works on it at the moment, and all that was ever dropped into its inbox."""

    def __init__(self, root: Path, bundle: Path, nursery: Any, mode: str, folders: Path, pacs: Any) -> None:
        """Make a clinic whose inbox, archive, quarantine and reports lie in `folders`; it may send to a `pacs`."""
        make_clinic(root)
        file = root / "config.toml"
        text = file.read_text()
        for old, new in (
            ('model = "starter"', f'model = "{bundle}"'),
            ('mode = "auto"', f'mode = "{mode}"'),
            ("settle_seconds = 2.0", "settle_seconds = 0.0"),
            ("study_quiet_seconds = 30.0", "study_quiet_seconds = 0.1"),
            ("rescan_seconds = 10.0", "rescan_seconds = 0.3"),
            ("batch_size = 0", "batch_size = 4"),
            ("threads = 0", "threads = 1"),
            ("decode_workers = 0", "decode_workers = 1"),
            ("picture_dpi = 150", "picture_dpi = 72"),
            ('to = ""', f'to = "{pacs.address if pacs else ""}"'),
            *((f'{name} = "{name}"', f'{name} = "{folders / name}"') for name in FOLDERS),
        ):
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        if folders != root:
            for name in FOLDERS:
                shutil.move(root / name, folders / name)
        self.config_file, self.config = file, load_config(file)
        self.log = root.with_name(f"{root.name}.log")
        self.plan = root.with_name(f"{root.name}.plan")
        self.plan.write_bytes(b"\0" * PLAN_BYTES)
        self.nursery = nursery
        self.pacs = pacs
        self.daemon: Any = None
        """The daemon that was started last, while it runs or after its end."""
        self._log_begin = 0
        self.expected: dict[str, tuple[str, str]] = {}
        """Outcome and reason code of each file by the name under which it was dropped."""
        self.digest_of: dict[str, str] = {}
        """SHA-256 of each of them."""
        self._opened: set[str] = set()

    def start(self) -> None:
        """Start a daemon on this clinic."""
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.daemon = self.nursery.start(
                ["--config", self.config_file, "watch"],
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                furnished=(KILLER, {"config": str(self.config_file), "plan": str(self.plan)}),
            )

    @property
    def pid(self) -> int:
        """The process id of that daemon."""
        return self.daemon.pid

    def arm(self, point: str = "", passage: int = 1, by: signal.Signals = signal.SIGKILL) -> None:
        """Tell the daemon, also one that is running, where to kill or stop itself; without a point: nowhere."""
        plan = f"{point} {passage} {by:d}".encode() if point else b""
        with self.plan.open("r+b") as file:
            file.write(plan.ljust(PLAN_BYTES, b"\0"))

    def status(self) -> int | None:
        """How the daemon ended, negative for a signal; None while it runs."""
        return self.daemon.poll()

    def kill(self) -> None:
        """SIGKILL, now."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_for_death()

    def wait_for_end(self, status: int) -> None:
        """Wait until the daemon has ended by itself, with this exit status."""
        wait_until(lambda: self.status() is not None, "end", instead=self.does)
        assert self.status() == status, self.said()

    def wait_for_death(self) -> None:
        """Wait until the daemon was ended by SIGKILL and all its child processes are gone, too."""
        wait_until(lambda: self.status() is not None, "death", instead=self.does)
        assert self.status() == -signal.SIGKILL, self.said()
        wait_until(lambda: not self.left_processes(), "no child processes", instead=lambda: f"{self.left_processes()}")

    def left_processes(self) -> list[int]:
        """The processes of the daemon's session that live on."""

        def lives(process: psutil.Process) -> bool:
            return os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE

        left = []
        for process in psutil.process_iter():
            try:
                if lives(process):
                    left.append(process.pid)
            except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                continue
        return left

    def stop(self) -> float:
        """SIGTERM, as a service manager sends it; the daemon ends well, after so many seconds. It may be stopped."""
        began = time.monotonic()
        for sent in (signal.SIGTERM, signal.SIGCONT):
            os.kill(self.pid, sent)
        self.wait_for_end(0)
        return time.monotonic() - began

    def peak_mb(self) -> float:
        """The most memory that the daemon, without its children, has had at once."""
        (line,) = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmHWM" in line]
        return int(line.split()[1]) / 1024

    def said(self) -> str:
        """The end of the daemon's log."""
        return self.log.read_text()[-8000:] if self.log.exists() else ""

    def does(self) -> str:
        """The same, and where each thread of a daemon that lives stands."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)
            threading.Event().wait(1.0)  # nothing tells when it has written
        return self.said()

    def rows(self, statement: str) -> list[tuple]:
        """What any SQLite program sees in the database."""
        with closing(sqlite3.connect(self.config.root / "clinic.sqlite", timeout=30)) as connection:
            return connection.execute(statement).fetchall()

    def is_idle(self) -> bool:
        """Whether nothing is left to do; fails when the daemon has ended."""
        assert self.status() is None, self.said()
        if not self.log.exists() or "watching the inbox" not in self.log.read_text()[self._log_begin :]:
            return False
        # In the order in which work moves on: what left one place between two looks is seen in the next.
        if holds_files(self.config.inbox) or any(self.config.archive.glob(".incoming/*")):
            return False
        ((pending,),) = self.rows("SELECT COUNT(*) FROM received_file WHERE outcome = 'pending'")
        return not pending and self.rows(UNCOVERED) == self.rows("SELECT COUNT(*) FROM report WHERE to_send") == [(0,)]

    def files_of_the_inbox(self) -> list[Path]:
        """What is still to be taken. A folder that a killed daemon had just emptied may stay: a sender may fill it."""
        return [Path(folder, name) for folder, _, names in os.walk(self.config.inbox) for name in names]

    def wait_until_idle(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing is left to do."""
        wait_until(self.is_idle, "idle", seconds, instead=self.does)

    def wait_for_rows(self, count: int) -> None:
        """Wait until so many files have a row."""

        def there() -> bool:
            assert self.status() is None, self.said()
            return self.rows("SELECT COUNT(*) FROM received_file")[0][0] >= count

        wait_until(there, f"{count} rows", instead=self.does)

    def check(self) -> None:
        """Assert everything that this room promises of a clinic that is idle."""
        rows = self.rows("SELECT original_name, outcome, reason_code FROM received_file")
        assert Counter(rows) == Counter((name, *end) for name, end in self.expected.items())
        self._check_findings()
        self._check_files()
        self._check_reports()
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []

    def _check_findings(self) -> None:
        read = sum(outcome == "analysed" for outcome, _ in self.expected.values())
        assert self.rows("SELECT COUNT(*), COUNT(DISTINCT file_id) FROM inference") == [(read, read)]
        assert self.rows("SELECT COUNT(*) FROM attended_region") == [(read,)]
        per_inference = self.rows("SELECT COUNT(*), COUNT(DISTINCT label) FROM finding GROUP BY inference_id")
        assert per_inference == [(15, 15)] * read

    def _check_files(self) -> None:
        assert self.files_of_the_inbox() == []
        for folder in {self.config.root, self.config.archive.parent}:
            assert [path for path in folder.rglob("*") if path.suffix in (".part", ".tmp")] == []
        archived = {path: path.stem for path in self.config.archive.rglob("*") if path.is_file()}
        assert set(archived.values()) == set(self.digest_of.values())
        for path, digest in archived.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        shown = {path.name for path in self.config.quarantine.iterdir()}
        named = {name for (name,) in self.rows("SELECT quarantine_path FROM received_file WHERE quarantine_path != ''")}
        assert shown == named | {f"{name}.reason.json" for name in named}
        for name in named:
            assert (self.config.quarantine / name).read_bytes()
            assert json.loads((self.config.quarantine / f"{name}.reason.json").read_text())["reason_code"]

    def _check_reports(self) -> None:
        assert self.rows(UNCOVERED) == [(0,)]
        reports = self.rows("SELECT path, sha256 FROM report")
        assert {path.name for path in self.config.reports.iterdir()} == {Path(path).name for path, _ in reports}
        for path, digest in reports:
            pdf = self.config.root / path
            assert hashlib.sha256(pdf.read_bytes()).hexdigest() == digest
            if digest not in self._opened:
                assert PdfReader(pdf).pages
                self._opened.add(digest)
        current = self.rows(
            "SELECT study.id FROM study JOIN report ON report.study_id = study.id "
            "WHERE report.study_revision = study.revision"
        )
        assert len(set(current)) == len(current)
        if self.pacs is not None:
            self._check_sent()

    def _check_sent(self) -> None:
        """The archive has each report's PDF, and its SR but for PNGs; what came twice came as the same object."""
        objects = {dataset.SOPInstanceUID: dataset for dataset in self.pacs.stored}
        assert all(dataset == objects[dataset.SOPInstanceUID] for dataset in self.pacs.stored)
        reports = self.rows("SELECT study_instance_uid, version FROM report JOIN study ON study.id = report.study_id")
        for modality, made in (("DOC", reports), ("SR", [one for one in reports if not one[0].startswith("2.25.")])):
            has = [(one.StudyInstanceUID, one.InstanceNumber) for one in objects.values() if one.Modality == modality]
            assert Counter(has) == Counter(made)


@pytest.fixture
def traced() -> Callable[..., Any]:
    """A context in which strace has hold of a process and its threads: `traced(pid, record, *options)`.

    Skips where it is not installed, or may not look at other processes.
    """
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not look at processes here")

    @contextmanager
    def traced(pid: int, record: Path, *options: str) -> Iterator[None]:
        command = [program, "-f", "-o", str(record), *options, "-p", str(pid)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert "attached" in process.stderr.readline()
        try:
            yield
        finally:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                # Its lines are written one by one, and the kernel lets go of what a dead tracer held.
                process.kill()
                process.communicate()

    return traced


@pytest.fixture
def new_mail(film, write_dicom) -> Callable[[Path], Mail]:
    """What comes into an inbox, from a folder on the same file system."""
    return lambda outside: Mail(film, write_dicom, outside)


@pytest.fixture
def mail(new_mail, tmp_path) -> Mail:
    """What comes into an inbox of this machine's disk."""
    return new_mail(tmp_path / "outside")


@pytest.fixture
def new_trial(tmp_path, small_bundle, nursery):
    """A function that makes a clinic of its own by a name; its daemon is gone at the end of the test.

    Its folders may lie elsewhere.
    """
    made: list[Trial] = []

    def new(name: str, mode: str = "auto", folders: Path | None = None, pacs: Any = None) -> Trial:
        root = tmp_path / name
        trial = Trial(root, small_bundle, nursery, mode, folders or root, pacs)
        made.append(trial)
        return trial

    yield new
    for trial in made:
        if trial.daemon is not None and trial.status() is None:
            trial.kill()
