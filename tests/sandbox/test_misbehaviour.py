"""A child that a file has taken over: its answer is not believed, it ends in time, and the next file is read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from agcnn_clinic.domain import REASONS, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.sandbox import pool
from agcnn_clinic.sandbox.ahead import ENVIRONMENT
from agcnn_clinic.sandbox.pool import Sandbox

ERRORS = (Outcome.REFUSED, Outcome.QUARANTINED)
TONES = {"low": 0.0, "high": 1.0, "black": 0.0, "white": 0.0}
GOOD = {"pixels": [1, 1], "geometry": {}, "sha256": "x", "tones": TONES, "warnings": []}
GEOMETRY = {
    "source_rows": 1,
    "source_columns": 1,
    "scale_x": 1,
    "scale_y": 1,
    "spacing_mm": None,
    "spacing_source": "",
}


ONE_PIXEL = np.float32(0.5).tobytes()


def _head(arrays=(4,), **changes):
    return json.dumps({"value": GOOD | {"geometry": GEOMETRY} | changes, "arrays": list(arrays)}).encode()


def _lies(sandbox, misbehaving, function, *args):
    """The error that a function ends as; the sandbox must work as before afterwards."""
    with pytest.raises(ImageError) as caught:
        sandbox.run(function, *args)
    assert sandbox.run(misbehaving.picture).pixels.shape == (4, 4)
    return caught.value


def test_a_picture_comes_as_it_was_sent(sandbox, misbehaving):
    """Values, nested dataclasses and an array arrive with their types, and the array can be written."""
    picture = sandbox.run(misbehaving.picture, 3, 0.25)
    assert picture.pixels.tolist() == [[0.25] * 3] * 3
    assert picture.pixels.dtype == "float32"
    assert picture.pixels.flags.writeable
    assert (picture.geometry.source_rows, picture.sha256, picture.warnings) == (3, "drawn", ())


def test_what_is_empty_comes_as_it_was_sent(sandbox, misbehaving):
    """An array of nothing, and no bytes at all."""
    assert sandbox.run(misbehaving.values, 0).shape == (0, 0)
    assert sandbox.run(bytes) == b""


def test_an_array_comes_as_it_was_sent_under_an_alias(sandbox, misbehaving):
    """As NumPy 2.5 names its arrays: every film of a Python 3.12 was quarantined as one that crashed its decoder."""
    (array,) = sandbox.run(misbehaving.under_an_alias)
    assert array.dtype == "int16"
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("way", ["unpickles_to_a_file", "pickle_as_connections_do"])
def test_a_pickle_runs_nothing(sandbox, misbehaving, tmp_path, way):
    """A pickle that would make a file makes none, and ends as its file's outcome."""
    error = _lies(sandbox, misbehaving, getattr(misbehaving, way), tmp_path / "made")
    assert error.code == ReasonCode.CRASHED
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("way", ["floods", "endless_head"])
def test_an_answer_without_end_is_not_taken_in(sandbox, misbehaving, way):
    """Ten gigabytes are refused at their announcement: the parent's memory does not grow."""
    before = psutil.Process().memory_info().rss
    error = _lies(sandbox, misbehaving, getattr(misbehaving, way))
    assert (error.code, error.detail) == (ReasonCode.CRASHED, "its answer is too large")
    assert psutil.Process().memory_info().rss - before < 64 * 2**20


def test_an_array_beyond_the_limit_is_refused(sandbox, misbehaving):
    """An honest answer that is too large is refused as well."""
    assert sandbox.run(misbehaving.picture, 2048).pixels.shape == (2048, 2048)
    error = _lies(sandbox, misbehaving, misbehaving.picture, 2049)
    assert error.detail == "its answer is too large"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no json",
        b"\xff",
        b"[]",
        b"{}",
        b"3",
        b"[" * 100_000,
        b'{"error": null}',
        b'{"error": ["no such code", "x"]}',
        b'{"error": ["crashed", 3]}',
        b'{"value": null, "arrays": []}',
        b'{"value": null, "arrays": [-1]}',
        b'{"value": null, "arrays": [1e9]}',
        b'{"value": null, "arrays": [10737418240, -10737418240]}',
        _head(arrays=()),
        _head(arrays=(0,), pixels=[0, 0]),
        _head(pixels=[1]),
        _head(pixels=[2**70]),
        _head(pixels=[-1, -1]),
        _head(sha256=5),
        _head(extra=1),
        _head(warnings=["no such warning"]),
        _head(warnings={}),
        _head(geometry=GEOMETRY | {"spacing_mm": float("nan")}),
        _head(geometry=GEOMETRY | {"source_rows": 2**70}),
        _head(geometry=GEOMETRY | {"source_rows": True}),
        _head(geometry=GEOMETRY | {"spacing_source": "\ud800"}),
        b'{"value": 1' + b"0" * 5000 + b', "arrays": []}',
    ],
)
def test_an_answer_of_another_shape_is_none(sandbox, misbehaving, answer):
    """Whatever else it says, the child is ended, its file is CRASHED, and nothing else is raised."""
    with pytest.raises(ImageError) as caught:
        sandbox.run(misbehaving.says, answer, ONE_PIXEL)
    assert (caught.value.code, caught.value.detail) == (ReasonCode.CRASHED, "its answer is none")


def test_what_they_are_changes_of_is_a_picture(sandbox, misbehaving):
    """Each of the answers above is refused for what it says, and not for what it lacks."""
    picture = sandbox.run(misbehaving.says, _head(), ONE_PIXEL)
    assert (picture.pixels.tolist(), picture.sha256) == ([[0.5]], "x")


@pytest.mark.parametrize(
    ("way", "value"),
    [
        *(("says_an_integer", value) for value in (2**63, -(2**63) - 1, 1.0, True, "1", None)),
        *(("says_a_number", value) for value in (float("nan"), float("inf"), "1", None)),
    ],
)
def test_a_number_that_no_row_can_keep_is_none(sandbox, misbehaving, way, value):
    """A database would refuse it later, together with the rows of other files; the largest that it takes is taken."""
    told = json.dumps({"value": value, "arrays": []}).encode()
    assert _lies(sandbox, misbehaving, getattr(misbehaving, way), told).detail == "its answer is none"
    for kind, most in ((int, 2**63 - 1), (int, -(2**63)), (float, 1e300)):
        assert sandbox.run(kind, most) == most


def test_the_pool_goes_on_after_all_of_that(sandbox, misbehaving):
    """The next task finds a child that works."""
    assert sandbox.run(misbehaving.picture).sha256 == "drawn"


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_pixels_outside_of_the_range_are_no_picture(sandbox, misbehaving, value):
    """What the network was never meant to see does not reach it."""
    assert _lies(sandbox, misbehaving, misbehaving.picture, 4, value).code == ReasonCode.CRASHED


def test_the_text_of_an_error_cannot_forge_a_log(sandbox, misbehaving):
    """Control characters are taken out of what a child says of its error, and it is cut."""
    told = json.dumps({"error": ["crashed", "a\n2026 INFO all is well\x1b[2J" + "x" * 9000]}).encode()
    error = _lies(sandbox, misbehaving, misbehaving.says, told)
    assert error.detail.startswith("a2026 INFO all is well[2Jxxx")
    assert len(error.detail) <= 500


def test_a_child_cannot_stop_the_daemon_by_an_error(sandbox, misbehaving):
    """Only errors of a file or of the archive are believed, not those that end the service."""
    told = json.dumps({"error": ["ChildrenUnavailableError", ""]}).encode()
    assert _lies(sandbox, misbehaving, misbehaving.says, told).code == ReasonCode.CRASHED


@pytest.mark.parametrize("code", [code for code, reason in REASONS.items() if reason.outcome not in ERRORS])
def test_a_child_cannot_say_that_a_file_was_read(sandbox, misbehaving, code):
    """Nor that it is a duplicate or was unpacked: it would have that outcome without a reading, and no report tell."""
    told = json.dumps({"error": [code, ""]}).encode()
    assert _lies(sandbox, misbehaving, misbehaving.says, told).code == ReasonCode.CRASHED


@pytest.mark.parametrize(
    ("way", "detail"),
    [("closes_its_pipe", "it closed its pipe"), ("dies_in_the_middle_of_its_answer", "exit code 3")],
)
def test_a_pipe_that_ends_early_is_a_crash(misbehaving, way, detail):
    """A child that closes its pipe, or ends in the middle of an answer, is not waited for."""
    began = time.monotonic()
    with Sandbox(workers=1, seconds=60.0, memory_mb=0) as sandbox:
        error = _lies(sandbox, misbehaving, getattr(misbehaving, way))
    assert (error.code, error.detail) == (ReasonCode.CRASHED, detail)
    assert time.monotonic() - began < 30


def test_a_loop_in_python_ends_at_the_deadline(sandbox, misbehaving):
    """A loop of the interpreter ends like one of native code."""
    assert _lies(sandbox, misbehaving, misbehaving.wait_for_ever).code == ReasonCode.DEADLINE


@pytest.mark.parametrize("way", ["ignores_the_alarm", "stops_itself", "trickles"])
def test_the_parent_has_a_clock_of_its_own(sandbox, misbehaving, monkeypatch, way):
    """A child that switches its alarm off, stops, or never finishes its answer is ended by the parent."""
    monkeypatch.setattr(pool, "PARENT_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(pool, "PATIENCE", 1)
    assert _lies(sandbox, misbehaving, getattr(misbehaving, way)).code == ReasonCode.DEADLINE


def test_what_a_task_waits_for_does_not_count_until_it_waits_for_too_long(misbehaving):
    """A host whose cores others take makes no sound film one that takes too long; and nobody waits for ever."""
    with Sandbox(workers=1, seconds=0.2, memory_mb=0) as sandbox:
        assert sandbox.run(misbehaving.sleeps, 0.4) == 1
        with pytest.raises(ImageError) as caught:
            sandbox.run(misbehaving.sleeps, 60.0)
    assert caught.value.code == ReasonCode.DEADLINE


LATE = """
import signal, sys, time
from agcnn_clinic.sandbox import child
child.PATIENCE = int(sys.argv[1])
for ringing in (signal.SIGPROF, signal.SIGALRM):
    signal.signal(ringing, signal.SIG_IGN)
with child._alarm(0.2):
    while True:
        time.sleep(60) if child.PATIENCE == 1 else None
"""


@pytest.mark.parametrize(("patience", "number"), [(1000, signal.SIGPROF), (1, signal.SIGALRM)])
def test_each_clock_ends_a_task_by_itself(patience, number):
    """The processor's one that computes, the other one that waits, also where a task before would not hear them."""
    done = subprocess.run([sys.executable, "-c", LATE, str(patience)], timeout=60, check=False)
    assert done.returncode == -number


IN_TIME = """
import signal
from agcnn_clinic.sandbox import child
with child._alarm(60.0):
    pass
print([signal.getitimer(clock)[0] for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL)])
"""


def test_no_clock_goes_on_when_a_task_has_come_to_its_end():
    """It would ring while the child waits for the next one, or sends what it has found."""
    done = subprocess.run([sys.executable, "-c", IN_TIME], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[0.0, 0.0]\n"


def test_memory_taken_bit_by_bit_ends_at_the_limit(misbehaving):
    """Many small allocations meet the same limit as a large one."""
    with Sandbox(workers=1, seconds=30.0, memory_mb=64) as sandbox:
        assert _lies(sandbox, misbehaving, misbehaving.eats_memory).code == ReasonCode.MEMORY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows how to confine a process like that")
def test_a_child_can_neither_write_nor_connect_nor_start_anything(sandbox, misbehaving, tmp_path):
    """Files, modes, locks, sockets, processes, programs, signals and limits of others: all refused, all as it was."""
    (tmp_path / "there").write_bytes(b"film")
    before = (tmp_path / "there").stat()
    refused = sandbox.run(misbehaving.what_is_refused, str(tmp_path), os.getpid())
    allowed = {
        *("make a file", "open a file for writing", "cut a file", "remove a file", "rename a file", "make a folder"),
        *("make a link", "make a hard link", "change a mode", "change an owner", "change a time", "open a socket"),
        *("open a local socket", "fork", "run a program", "replace itself by a program", "signal its parent"),
        *("limit its parent", "make its parent slow", "open many files", "write a file in memory", "lock a file"),
        "change an access list",
    } - set(refused)
    assert not allowed
    after = (tmp_path / "there").stat()
    assert (tmp_path / "there").read_bytes() == b"film"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, 1)


SPEAKS = """
import sys
sys.path.insert(0, sys.argv[1])
import misbehaving
from agcnn_clinic.sandbox.pool import Sandbox
if __name__ == "__main__":
    with Sandbox(workers=1, seconds=60, memory_mb=0) as sandbox:
        sandbox.run(misbehaving.writes_to_all_that_it_has)
"""


def test_a_child_says_nothing_but_its_answer():
    """Nothing that it was given leads to the daemon's log, not by way of multiprocessing's own processes either."""
    done = subprocess.run(
        [sys.executable, "-c", SPEAKS, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


AS_NOBODY = """
import os, threading
import numpy as np, SimpleITK
from agcnn_clinic.dicom.geometry import Spacing, isotropic
from agcnn_clinic.sandbox.confine import confine, no_more_processes
os.setgroups([]); os.setgid(65534); os.setuid(65534)
confine()
threading.Thread(target=int).start()
no_more_processes()
try:
    threading.Thread(target=int).start()
except RuntimeError:
    print("refused")
print(isotropic(np.zeros((9, 9), np.float32), Spacing(2, 1, in_mm=True), 1000)[0].shape)
"""


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can become another user")
def test_a_child_of_an_ordinary_user_starts_no_threads():
    """The system counts threads by user (root is kept from forking by another layer); resampling needs none."""
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.stdout == "refused\n(18, 9)\n", done.stderr


def test_a_result_without_a_declared_type_is_plain_values():
    """What the interpreter's own functions return is rebuilt as plain values."""
    with Sandbox(workers=1, seconds=10.0, memory_mb=0) as sandbox:
        assert sandbox.run(divmod, 17, 5) == (3, 2)
        assert sandbox.run(sorted, {"b": 1, "a": 2}) == ("a", "b")
