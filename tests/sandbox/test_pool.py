"""Child processes: what they do to themselves is an error of the file, and the pool goes on."""

import contextlib
import ctypes
import multiprocessing
import operator
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import psutil
import pytest

from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.png import read_png
from agcnn_clinic.sandbox.ahead import ENVIRONMENT
from agcnn_clinic.sandbox.pool import Sandbox


@pytest.fixture(scope="module")
def sandbox(misbehaving):
    """One child at a time, a second and 256 MB for each task."""
    with Sandbox(workers=1, seconds=1.0, memory_mb=256) as sandbox:
        yield sandbox


def _code(sandbox, function, *args):
    with pytest.raises(ImageError) as caught:
        sandbox.run(function, *args)
    return caught.value.code


def test_a_result_comes_from_another_process(sandbox):
    """The function runs in a child, and what it gives comes back."""
    assert sandbox.run(os.getpid) != os.getpid()
    assert sandbox.run(divmod, 17, 5) == (3, 2)


def test_a_segmentation_fault_is_a_crash_and_the_pool_goes_on(sandbox):
    """A child that reads address 0 ends as CRASHED, and the next task finds a new child."""
    with pytest.raises(ImageError) as caught:
        sandbox.run(ctypes.string_at, 0)
    assert (caught.value.code, caught.value.detail) == (ReasonCode.CRASHED, "SIGSEGV")
    assert sandbox.run(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize(
    ("ends", "number", "told"),
    [
        (os._exit, 7, "exit code 7"),
        (os._exit, 0, "exit code 0"),
        (signal.raise_signal, signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_an_end_is_a_crash(sandbox, ends, number, told):
    """A library that ends the process ends as CRASHED, with its exit code, or its signal, which may have no name."""
    with pytest.raises(ImageError) as caught:
        sandbox.run(ends, int(number))
    assert (caught.value.code, caught.value.detail) == (ReasonCode.CRASHED, told)


def test_a_child_that_crashes_leaves_no_copy_of_its_memory(sandbox):
    """A patient's film would be in it; neither the child nor what it does may lift that limit again."""
    assert sandbox.run(resource.getrlimit, resource.RLIMIT_CORE) in ((0, 0), (1, 1))


def test_a_loop_in_native_code_ends_at_the_deadline(sandbox):
    """A C loop that never lets the interpreter run is ended by the kernel's alarm."""
    assert _code(sandbox, sum, range(10**18)) == ReasonCode.DEADLINE
    assert sandbox.run(divmod, 7, 2) == (3, 1)


def test_too_much_memory_is_an_error_of_the_file(sandbox):
    """An allocation beyond the limit fails in the child, and only there."""
    assert _code(sandbox, bytearray, 2**30) == ReasonCode.MEMORY
    assert sandbox.run(divmod, 7, 2) == (3, 1)


def test_a_child_that_met_a_broken_file_is_not_used_again(sandbox):
    """What such a file may have done to its memory does not meet the next file."""
    child = sandbox.run(os.getpid)
    assert sandbox.run(os.getpid) == child
    assert _code(sandbox, operator.truediv, 1, 0) == ReasonCode.CRASHED
    assert sandbox.run(os.getpid) != child


def test_memory_below_the_limit_is_there(sandbox):
    """The limit counts what the task allocates, not what libraries had mapped before nor what sending it takes."""
    assert len(sandbox.run(bytearray, 150 * 2**20)) == 150 * 2**20


def test_the_errors_of_this_package_pass_as_they_are(sandbox, tmp_path):
    """Code and detail of an ImageError, and a StorageError, cross the process boundary."""
    (tmp_path / "x.png").write_bytes(b"no PNG")
    with pytest.raises(ImageError) as caught:
        sandbox.run(read_png, tmp_path / "x.png", max_pixels=10)
    assert (caught.value.code, caught.value.detail) == ("unreadable_header", "it is no readable PNG")
    with pytest.raises(StorageError):
        sandbox.run(read_png, tmp_path / "none.png", max_pixels=10)


def test_a_child_serves_on_after_what_is_no_broken_file(sandbox, misbehaving, tmp_path):
    """One that is not there, or a sound one that is refused, has done nothing to its memory."""
    child = sandbox.run(os.getpid)
    with pytest.raises(StorageError):
        sandbox.run(read_png, tmp_path / "none.png", max_pixels=10)
    assert _code(sandbox, misbehaving.refuses) == ReasonCode.WRONG_VIEW
    assert sandbox.run(os.getpid) == child


def test_any_other_error_is_named_by_its_kind_alone(sandbox):
    """An unexpected error becomes CRASHED, and its message, which may quote the file, is left out."""
    with pytest.raises(ImageError) as caught:
        sandbox.run(int, "Doe^Jane")
    assert (caught.value.code, caught.value.detail) == (ReasonCode.CRASHED, "unexpected ValueError")
    assert _code(sandbox, operator.truediv, 1, 0) == ReasonCode.CRASHED


def test_an_error_that_does_not_pickle_breaks_nothing(sandbox):
    """An exception outside of Exception, as a panic in Rust is, ends its own task and not the pool."""
    assert _code(sandbox, sys.exit, "Doe^Jane") == ReasonCode.CRASHED
    assert sandbox.run(divmod, 7, 2) == (3, 1)


def test_children_stand_back_where_cores_are_short():
    """As far as the pool was told, from where their parent stands."""
    with Sandbox(workers=1, seconds=1.0, memory_mb=256, niceness=3) as nice:
        assert psutil.Process(nice.run(os.getpid)).nice() == min(psutil.Process().nice() + 3, 19)


def test_children_have_one_thread_and_finish_what_they_do_when_the_service_is_stopped(sandbox):
    """A service manager's SIGTERM and a terminal's SIGINT to the whole group leave a child at its work."""
    assert {name: sandbox.run(os.getenv, name) for name in ENVIRONMENT} == ENVIRONMENT
    assert ENVIRONMENT["OMP_NUM_THREADS"] == ENVIRONMENT["OPENBLAS_NUM_THREADS"] == "1"
    child = sandbox.run(os.getpid)
    for number in (signal.SIGTERM, signal.SIGINT):
        sandbox.run(signal.raise_signal, number)
    assert sandbox.run(os.getpid) == child


@pytest.mark.parametrize("gives", [operator.itemgetter(slice(1)), partial(operator.add, [3])], ids=["fewer", "more"])
def test_an_answer_for_other_things_than_were_asked_for_is_none(sandbox, gives):
    """And the child that gave it serves no longer."""
    child = sandbox.run(os.getpid)
    assert sandbox.submit_all(sorted, [2, 1]).result() == (1, 2)
    assert sandbox.run(os.getpid) == child
    with pytest.raises(ImageError) as caught:
        sandbox.submit_all(gives, [1, 1]).result()
    assert (caught.value.code, caught.value.detail) == (ReasonCode.CRASHED, "its answer is none")
    assert sandbox.run(os.getpid) != child


def test_the_parents_own_environment_is_left_alone(sandbox):
    """The variables that keep children to one thread are not left behind for the network."""
    sandbox.run(os.getpid)
    assert os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS") is None


def test_many_tasks_over_crashes_each_get_their_own_answer():
    """Of forty tasks, among them crashes, every one ends and none gets another's result."""
    with Sandbox(workers=2, seconds=20.0, memory_mb=0) as sandbox:
        futures = [sandbox.submit(os._exit, 3) if n % 10 == 5 else sandbox.submit(divmod, n, 7) for n in range(40)]
        for n, future in enumerate(futures):
            if n % 10 == 5:
                assert isinstance(future.exception(timeout=60), ImageError)
            else:
                assert future.result(timeout=60) == divmod(n, 7)


def test_the_process_that_forks_the_children_may_die():
    """When it is killed, its children serve on, and the next child comes from a new one, which is like it."""
    with Sandbox(workers=1, seconds=30.0, memory_mb=0) as sandbox:
        child = sandbox.run(os.getpid)
        forker = psutil.Process(child).parent()
        assert forker.pid != os.getpid()
        for pid in (child, forker.pid):
            os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, forker.pid, os.WEXITED | os.WNOWAIT)  # multiprocessing wants to bury it itself
        assert sandbox.run(os.getpid) != child
        assert sandbox.run(divmod, 7, 2) == (3, 1)
        assert {name: sandbox.run(os.getenv, name) for name in ENVIRONMENT} == ENVIRONMENT


def test_leaving_ends_what_is_under_way(tmp_path):
    """Nobody waits for ever on a task that the end of the sandbox dropped, begun or not, and no file is blamed."""
    os.mkfifo(tmp_path / "film")
    with Sandbox(workers=1, seconds=60.0, memory_mb=0) as sandbox:
        child = sandbox.run(os.getpid)
        futures = [sandbox.submit(Path.read_bytes, tmp_path / "film"), sandbox.submit(divmod, 7, 2)]
        written = os.open(tmp_path / "film", os.O_WRONLY)  # as soon as the child has opened it
        began = time.monotonic()
    assert time.monotonic() - began < 30
    os.close(written)
    assert not psutil.pid_exists(child)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=10)


def test_a_pool_that_nobody_used_ends_at_once():
    """Entering and leaving without a task starts no child."""

    def sandboxes():
        return len(multiprocessing.active_children())

    before = sandboxes()
    with Sandbox(workers=2, seconds=1.0, memory_mb=0):
        assert sandboxes() == before
    assert sandboxes() == before


def test_a_child_that_was_started_ahead_does_the_first_task():
    """It is there before the task, and the task starts no other."""
    with Sandbox(workers=1, seconds=20.0, memory_mb=0) as sandbox:
        before = {child.pid for child in multiprocessing.active_children()}
        sandbox.start_first()
        first = sandbox.run(os.getpid)
        assert {child.pid for child in multiprocessing.active_children()} - before == {first}


def test_a_child_of_the_installed_program_loads_none_of_its_commands(tmp_path):
    """A child runs the program's script once more to learn its functions, and finds nothing there to load."""
    (tmp_path / "probe.py").write_text("import sys\ndef loaded(name: str) -> bool:\n    return name in sys.modules\n")
    script = tmp_path / "agcnn-clinic"
    script.write_text(
        "from agcnn_clinic.cli.start import main\n"
        "if __name__ == '__main__':\n"
        "    import probe\n"
        "    from agcnn_clinic.sandbox.pool import Sandbox\n"
        "    with Sandbox(1, 60.0, 0) as sandbox:\n"
        "        modules = ('agcnn_clinic.cli.start', 'agcnn_clinic.cli.main', 'typer')\n"
        "        print([sandbox.run(probe.loaded, name) for name in modules])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[True, False, False]\n"


def test_children_end_with_a_parent_that_is_killed(tmp_path):
    """After kill -9 of the parent no child is left, not even one that waits for work."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\n"
        "from agcnn_clinic.sandbox.pool import Sandbox\n"
        "if __name__ == '__main__':\n"
        "    with Sandbox(1, 60.0, 0) as sandbox:\n"
        "        print(sandbox.run(os.getpid), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
        _, alive = psutil.wait_procs([psutil.Process(child)], timeout=60)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_child_at_work_ends_with_a_parent_that_is_killed(tmp_path):
    """It does not go on until its deadline, when a new daemon reads the same files."""
    os.mkfifo(tmp_path / "film")
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "from agcnn_clinic.sandbox.pool import Sandbox\n"
        "if __name__ == '__main__':\n"
        "    with Sandbox(1, 60.0, 0) as sandbox:\n"
        "        print(sandbox.run(os.getpid), flush=True)\n"
        "        sandbox.run(pathlib.Path.read_bytes, pathlib.Path(sys.argv[1]))\n"
    )
    with subprocess.Popen([sys.executable, script, tmp_path / "film"], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        written = os.open(tmp_path / "film", os.O_WRONLY)  # as soon as the child has opened it
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=60)
    os.close(written)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_without_a_memory_limit_there_is_none():
    """A child may have what its parent may."""
    with Sandbox(workers=1, seconds=20.0, memory_mb=0) as sandbox:
        assert sandbox.run(resource.getrlimit, resource.RLIMIT_AS) == resource.getrlimit(resource.RLIMIT_AS)


@pytest.mark.parametrize("arguments", [(0, 1.0, 0), (1, 0.0, 0), (1, 1.0, -1)])
def test_impossible_limits_are_refused(arguments):
    """A pool without workers, time or with negative memory cannot be made."""
    with pytest.raises(ValueError, match="at least one worker"):
        Sandbox(*arguments)


def test_the_children_never_import_torch():
    """What a child imports to normalise leaves torch out."""
    code = "import sys, agcnn_clinic.analysis.normalise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd()).returncode == 0


UNIMPORTABLE = """
from agcnn_clinic.errors import ChildrenUnavailableError
from agcnn_clinic.sandbox.pool import Sandbox
with Sandbox(1, 60, 0) as sandbox:
    try:
        sandbox.run(abs, -1)
    except ChildrenUnavailableError as error:
        print(error)
"""


def test_children_that_cannot_start_are_no_files_fault():
    """A main module that the children cannot load ends them before any task: no file is called crashing for it."""
    done = subprocess.run([sys.executable], input=UNIMPORTABLE, capture_output=True, text=True, timeout=120, check=True)
    assert "cannot be started" in done.stdout
