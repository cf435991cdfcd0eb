"""A clinic whose folders lie on a network file system, and whose share goes away while it works."""

import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.sqlite_only("a daemon alone with its file, whose folders lie on a share"),
    pytest.mark.slow,
]

SERVER = """
volume disk
  type storage/posix
  option directory {folder}
end-volume
volume locks
  type features/locks
  subvolumes disk
end-volume
volume threads
  type performance/io-threads
  subvolumes locks
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.listen-port {port}
  option transport.socket.bind-address 127.0.0.1
  option auth.addr.threads.allow *
  subvolumes threads
end-volume
"""
CLIENT = """
volume client
  type protocol/client
  option transport-type tcp
  option remote-host 127.0.0.1
  option remote-port {port}
  option remote-subvolume threads
end-volume
volume written-later
  type performance/write-behind
  subvolumes client
end-volume
volume kept
  type performance/quick-read
  subvolumes written-later
end-volume
volume opened-later
  type performance/open-behind
  subvolumes kept
end-volume
volume described
  type performance/md-cache
  subvolumes opened-later
end-volume
"""
"""As a GlusterFS mount is by default: writes are collected, attributes and small files kept for a second."""
OUTAGES = 5
LONGEST_BEFORE, LONGEST_AWAY = 2.0, 4.0
"""Seconds: what a daemon takes for a dozen files here, and longer than it takes to try again."""


class Share:
    """A server of one folder on this machine, and a mount of it."""

    def __init__(self, folder: Path) -> None:
        """Serve a new folder within one of this machine's, and mount it there."""
        self._folder, self.mount = folder, folder / "mount"
        served = folder / "served"
        for made in (served, self.mount):
            made.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "server.vol").write_text(SERVER.format(folder=served, port=port))
        (folder / "client.vol").write_text(CLIENT.format(port=port))
        self.back()
        self._client = self._run("glusterfs", "client", self.mount)

    def is_there(self) -> bool:
        """Whether it is mounted, and can be written."""
        try:
            return self.mount.is_mount() and (self.mount / "written").write_text("") == 0
        except OSError:
            return False

    def away(self) -> None:
        """End the server, in the middle of whatever it is asked for."""
        self._server.kill()
        self._server.wait()

    def back(self) -> None:
        """Start the server, again."""
        self._server = self._run("glusterfsd", "server")

    def end(self) -> None:
        """Unmount it, and end both."""
        subprocess.run(["umount", "--lazy", self.mount], check=False, capture_output=True)
        for process in (self._client, self._server):
            process.kill()
            process.wait()

    def _run(self, program: str, what: str, *arguments: Path) -> subprocess.Popen[bytes]:
        files = ["--volfile", self._folder / f"{what}.vol", "--log-file", self._folder / f"{what}.log"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([program, "--no-daemon", *files, *arguments], **quiet)


def wait_until(fulfilled: Callable[[], bool]) -> None:
    """Look again and again, until it is so; fail when it is not within half a minute."""
    pause = threading.Event()
    for _ in range(300):
        if fulfilled():
            return
        pause.wait(0.1)
    pytest.fail("the share is not mounted")


@pytest.fixture
def share(tmp_path):
    """A GlusterFS share of this machine's own."""
    if not all(map(shutil.which, ("glusterfs", "glusterfsd"))):
        pytest.skip("no GlusterFS is installed (Debian: apt install glusterfs-server glusterfs-client)")
    share = Share(tmp_path / "share")
    try:
        wait_until(share.is_there)
        yield share
    finally:
        share.end()


def test_a_share_that_goes_away_while_films_are_read_costs_none(share, new_trial, new_mail, capsys):
    """Its server is ended at random times; the daemon waits, and once it is back every file has its one end."""
    trial, mail = new_trial("clinic", "polling", share.mount), new_mail(share.mount / "outside")
    chance, pause, hindered = random.Random(1), threading.Event(), 0
    trial.start()
    trial.wait_until_idle()
    for number in range(OUTAGES):
        mail.drop(trial, f"{number:02}", chance)
        pause.wait(chance.uniform(0, LONGEST_BEFORE))
        share.away()
        pause.wait(chance.uniform(1, LONGEST_AWAY))
        share.back()
        wait_until(share.is_there)
        hindered += trial.said().count("not connected")
        trial.wait_until_idle()
        trial.check()
    trial.stop()
    assert hindered
    with capsys.disabled():
        sys.stdout.write(f"\n{OUTAGES} outages, {len(trial.expected)} files: none lost, none twice\n")
