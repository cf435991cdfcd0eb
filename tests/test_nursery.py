"""What is forked by the nursery is the installed program: told from one that was started, it cannot be."""

import os
import signal
import subprocess

import pytest


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("findings",), ("nothing",), ("--config", "/nowhere/config.toml", "--debug", "studies")],
)
def test_it_says_and_ends_as_one_that_was_started(nursery, homeless, arguments, tmp_path):
    """The same on both streams, and the same exit code, also where its error is one of Python's own tracebacks."""
    environment = homeless | {"AGCNN_CLINIC_CONFIG": str(tmp_path / "config.toml"), "COLUMNS": "80"}
    forked = nursery.run(arguments, env=environment, check=False, timeout=60)
    started = subprocess.run(forked.args, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_it_is_a_process_of_its_own_that_signals_reach(nursery, tmp_path):
    """Stopped it has not ended, and whoever waits is told so; SIGKILL ends it all the same, before its first word."""
    stopping = tmp_path / "stopping.py"
    stopping.write_text("import os, signal\ndef prepare():\n    return lambda: os.kill(os.getpid(), signal.SIGSTOP)\n")
    with nursery.start(["--version"], stdout=subprocess.PIPE, furnished=(stopping, {})) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(0.1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        assert process.pid != os.getpid()
        process.kill()
        assert (process.wait(60), process.poll()) == (-signal.SIGKILL, -signal.SIGKILL)
