"""Very many files at once: the first is done soon, memory does not grow with them, and the daemon ends when told to."""

import signal
import sys
import time

import numpy as np
import pytest

from agcnn_clinic.faults import FaultPoint

pytestmark = pytest.mark.sqlite_only("a daemon alone with its file, killed at each durable step")

FIRST_ROW_SECONDS = 20.0
END_SECONDS = 10.0
"""Generous, for a machine that does other work at the same time; what was measured is printed."""
MB_PER_THOUSAND = 4.0
"""How much the daemon's peak may grow with a backlog: its listing is held in memory, its bytes are not."""


def pile(folder, write_dicom, count: int) -> None:
    """Small DICOM objects without pixels, each of a study of its own, in one folder."""
    folder.mkdir()
    names = {"SOPInstanceUID": "1.2.826.0.1.1.1000000", "StudyInstanceUID": "1.2.826.0.1.2.1000000"}
    path = write_dicom(folder / "template", np.zeros((2, 2), np.uint16), PixelData=None, **names)
    template = path.read_bytes()
    path.unlink()
    for number in range(count):
        content = template
        for uid in names.values():
            content = content.replace(uid.encode(), f"{uid[:-7]}{1000000 + number}".encode())
        (folder / f"{number:05}.dcm").write_bytes(content)


@pytest.mark.parametrize("count", [1500, pytest.param(50_000, marks=pytest.mark.slow)])
def test_a_backlog_is_taken_from_its_first_file_on(new_trial, write_dicom, tmp_path, capsys, count):
    """One rename drops them all; no event tells of them. SIGTERM comes in the middle; the next daemon goes on."""
    pile(tmp_path / "pile", write_dicom, count)
    trial = new_trial("clinic", mode="polling")
    trial.start()
    trial.wait_until_idle()
    trial.arm(FaultPoint.ARRIVALS_COMMITTED, by=signal.SIGSTOP)
    empty_mb, began = trial.peak_mb(), time.monotonic()
    (tmp_path / "pile").rename(trial.config.inbox / "pile")
    trial.wait_for_rows(1)
    first = time.monotonic() - began
    ended = trial.stop()
    ((before,),) = trial.rows("SELECT COUNT(*) FROM received_file")
    assert 0 < before < count
    trial.arm()
    assert (first < FIRST_ROW_SECONDS, ended < END_SECONDS) == (True, True), (first, ended)

    began = time.monotonic()
    trial.start()
    trial.wait_until_idle(seconds=3600)
    seconds, grown = time.monotonic() - began, trial.peak_mb() - empty_mb
    trial.stop()
    rows = trial.rows("SELECT outcome, reason_code, COUNT(*), COUNT(DISTINCT sha256) FROM received_file GROUP BY 1, 2")
    assert rows == [("refused", "too_small", count, count)]
    assert grown < 100 + MB_PER_THOUSAND * count / 1000
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} files at once: the first row after {first:.1f} s, SIGTERM obeyed after {ended:.1f} s, "
            f"the other {count - before} decided in {seconds:.0f} s, the peak {grown:.0f} MB above an idle daemon's\n"
        )


def test_a_killed_daemon_leaves_no_lock_and_a_living_one_keeps_others_out(new_trial):
    """While one works the second ends with a sentence that names it; after SIGKILL of the first one starts at once."""
    trial = new_trial("clinic")
    trial.start()
    trial.wait_until_idle()
    first = trial.daemon
    trial.start()
    trial.wait_for_end(2)
    assert f"Process {first.pid} works on this clinic already" in trial.said()
    trial.daemon = first
    trial.kill()
    trial.start()
    trial.wait_until_idle()
    trial.stop()
