"""`process` that is interrupted by a person."""

import signal
import subprocess
import sys
import time

import pytest

from agcnn_clinic.demo.phantom import draw


def _heed_interrupts() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and so would all that these tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_run_keeps_what_it_has_done_and_the_next_one_goes_on(
    clinic, write_film, homeless, tmp_path, signal_a_side_thread
):
    """Ctrl-C ends it with a sentence, whichever thread gets it; after the next run each film has been read once."""
    named = tmp_path / "named"
    named.mkdir()
    for number in range(8):
        write_film(named / f"{number}.dcm", draw(number, (320, 320)).pixels)
    write_film(clinic.config.inbox / "unfinished.dcm", draw(8, (320, 320)).pixels)
    for_hours = homeless | {"AGCNN_CLINIC_INTAKE__SETTLE_SECONDS": "36000"}  # so it cannot have ended before
    run = clinic.start("process", named, env=for_hours, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not clinic.select("SELECT 1 AS one FROM received_file WHERE outcome = 'analysed'"):
        assert time.monotonic() < until
    signal_a_side_thread(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "Interrupted; what was done until then is kept." in errors
    clinic.run("process", named)
    assert clinic.select("SELECT count(*) AS films, count(DISTINCT file_id) AS different FROM inference") == [
        {"films": 9, "different": 9}
    ]
    assert len(list(clinic.config.reports.glob("*.pdf"))) == 9


INTERRUPTED_TWICE = """
import os, signal, sys, threading, traceback
from pathlib import Path
from agcnn_clinic import faults
from agcnn_clinic.cli.main import main
from agcnn_clinic.errors import ClinicBusyError
from agcnn_clinic.lock import only_process

def waits_for_the_loops():
    frames = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident])
    return any(frame.name == "shutdown" for frame in frames)

def hook(point):
    if point is not faults.FaultPoint.ARRIVALS_WRITTEN:
        return
    os.kill(os.getpid(), signal.SIGINT)
    while not waits_for_the_loops():
        pass
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        try:
            with only_process(Path(sys.argv[2]).with_name(".clinic.sqlite.lock")):
                print("anybody may work on this clinic, and the rows are not committed yet", flush=True)
                return
        except ClinicBusyError:
            pass

faults.hook = hook
if __name__ == "__main__":
    main()
"""


@pytest.mark.sqlite_only("one process at a time")
def test_a_second_interrupt_does_not_let_go_of_the_clinic_before_the_loops_have_ended(clinic, write_film, tmp_path):
    """It ends the process with all that it is at: what else works on the clinic then would find it at work."""
    write_film(clinic.config.inbox / "film.dcm", draw(1, (320, 320)).pixels)
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED_TWICE)
    run = subprocess.run(
        [sys.executable, script, "--config", clinic.config_file, "process"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=_heed_interrupts,
    )
    assert (run.returncode, run.stdout) == (-signal.SIGINT, ""), run.stderr
    clinic.run("process")
    assert clinic.outcomes() == {"film.dcm": ("analysed", "read")}
