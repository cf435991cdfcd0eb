"""Shares of this machine's own, over network file systems whose server can be ended and started again.

By itself it mounts one twice, as two machines would, and runs a command that finds both in `AGCNN_SHARED_MOUNTS`:

    python tests/shares.py nfs FOLDER pytest tests/end_to_end/test_workers.py --database postgresql

FOLDER is made for it, on a disk of the kind that a server has (NFS is served from ext4, not from memory or an overlay).
NFS and SMB are mounted by the kernel, which must know them, and by root. All servers listen on loopback alone.
"""

import abc
import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

MOUNTS_VARIABLE = "AGCNN_SHARED_MOUNTS"
PATIENCE_SECONDS = 120.0
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def wait_until(fulfilled: Callable[[], bool], what: str) -> None:
    """Look again and again, until it is so.

    Raises:
        TimeoutError: it is not within two minutes.
    """
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.1)):
        if fulfilled():
            return
        pause.wait(0.1)
    raise TimeoutError(what)


class Share(abc.ABC):
    """A server of one folder on this machine, and mounts of it."""

    programs: ClassVar[tuple[str, ...]]
    packages: ClassVar[str]
    """Debian's, of these programs."""
    file_system: ClassVar[str]
    """What the kernel calls it."""
    refusals: ClassVar[tuple[str, ...]]
    """What a program is told while the server is away for seconds; none where it waits."""

    def __init__(self, folder: Path) -> None:
        """Serve a new folder within one of this machine's."""
        self._folder, self._served = folder, folder / "served"
        self._served.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._mounts: list[Path] = []
        self._prepare()
        self.back()

    @classmethod
    def missing(cls) -> str:
        """Why there can be none on this machine; empty if there can."""
        if not all(map(shutil.which, cls.programs)):
            return f"{' and '.join(cls.programs)} are not installed (Debian: apt install {cls.packages})"
        if os.getuid():
            return "only root mounts a share"
        if shutil.which("modprobe"):
            subprocess.run(["modprobe", cls.file_system], check=False, **QUIET)
        if cls.file_system not in Path("/proc/filesystems").read_text().split():
            return f"this kernel knows no {cls.file_system}"
        return ""

    def mount(self, name: str) -> Path:
        """Mount it once more; returns where, once it can be written."""
        mount = self._folder / name
        mount.mkdir()
        self._mount(mount)
        self._mounts.append(mount)
        self.wait()
        return mount

    def wait(self) -> None:
        """Wait until every mount can be written."""
        for mount in self._mounts:
            wait_until(lambda mount=mount: _can_be_written(mount), f"{mount} cannot be written")

    def away(self) -> None:
        """End the server, in the middle of whatever it is asked for."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def back(self) -> None:
        """Start the server, again."""
        command = self._command()
        self._server = subprocess.Popen(command, start_new_session=True, **QUIET)
        wait_until(self._listens, f"{command[0]} does not listen")

    def end(self) -> None:
        """Unmount it, and end the server."""
        for mount in self._mounts:
            subprocess.run(["umount", "--lazy", "--force", mount], check=False, **QUIET)
        if self._server.poll() is None:
            self.away()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port)).close()
        except ConnectionError:
            return False
        return True

    def _write(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.write_text(text.format(folder=self._folder, served=self._served, port=self._port))
        return file

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Write what the server is told of itself."""

    @abc.abstractmethod
    def _command(self) -> list[str | Path]:
        """What starts the server, which stays in the foreground."""

    @abc.abstractmethod
    def _mount(self, mount: Path) -> None: ...


def _can_be_written(mount: Path) -> bool:
    try:
        return mount.is_mount() and (mount / "written").write_text("") == 0
    except OSError:
        return False


class GlusterFS(Share):
    """As a mount is by default: writes are collected, attributes and small files kept for a second."""

    programs = ("glusterfsd", "glusterfs")
    packages = "glusterfs-server glusterfs-client"
    file_system = "fuse"
    refusals = ("not connected",)

    def _prepare(self) -> None:
        self._write("server.vol", _GLUSTERFS_SERVER)
        self._write("client.vol", _GLUSTERFS_CLIENT)

    def _command(self) -> list[str | Path]:
        return ["glusterfsd", "--no-daemon", *self._files("server")]

    def _mount(self, mount: Path) -> None:
        # It goes into the background once it is mounted, and ends when it is unmounted.
        subprocess.run(["glusterfs", *self._files("client"), mount], check=True, **QUIET)

    def _files(self, what: str) -> list[str | Path]:
        return ["--volfile", self._folder / f"{what}.vol", "--log-file", self._folder / f"{what}.log"]


_GLUSTERFS_SERVER = """
volume disk
  type storage/posix
  option directory {served}
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
_GLUSTERFS_CLIENT = """
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


class NFS(Share):
    """NFS 4.2, "hard": whoever asks waits until the server is back, and is answered then."""

    programs = ("ganesha.nfsd", "mount.nfs")
    packages = "nfs-ganesha nfs-ganesha-vfs nfs-common"
    file_system = "nfs4"
    refusals = ()

    def _prepare(self) -> None:
        self._write("ganesha.conf", _GANESHA)

    def _command(self) -> list[str | Path]:
        files = {"-f": "ganesha.conf", "-L": "ganesha.log", "-p": "ganesha.pid"}
        return ["ganesha.nfsd", "-F", *(part for flag, name in files.items() for part in (flag, self._folder / name))]

    def _mount(self, mount: Path) -> None:
        # Each mount with a cache of its own, as on another machine.
        options = f"port={self._port},vers=4.2,nosharecache"
        subprocess.run(["mount", "-t", "nfs4", "-o", options, "127.0.0.1:/", mount], check=True, **QUIET)


_GANESHA = """
NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Grace_Period = 10; Lease_Lifetime = 10; RecoveryRoot = {folder}; }}
EXPORT {{
  Export_Id = 1; Path = {served}; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 4;
  FSAL {{ Name = VFS; }}
}}
"""


class SMB(Share):
    """SMB 3.1.1 by Samba, as a mount is by default: whoever asks waits for some time until the server is back."""

    programs = ("smbd", "smbpasswd", "mount.cifs")
    packages = "samba cifs-utils"
    file_system = "cifs"
    refusals = ()

    def _prepare(self) -> None:
        self._settings = self._write("smb.conf", _SAMBA)
        subprocess.run(
            ["smbpasswd", "-c", self._settings, "-a", "-s", "root"],
            input=b"films\nfilms\n",
            check=True,
            capture_output=True,
        )

    def _command(self) -> list[str | Path]:
        return ["smbd", "--foreground", "--no-process-group", f"--configfile={self._settings}"]

    def _mount(self, mount: Path) -> None:
        options = f"port={self._port},vers=3.1.1,user=root,password=films,nosharesock"
        subprocess.run(["mount", "-t", "cifs", "-o", options, "//127.0.0.1/films", mount], check=True, **QUIET)


_SAMBA = """
[global]
  server role = standalone server
  interfaces = lo
  bind interfaces only = yes
  smb ports = {port}
  disable netbios = yes
  private dir = {folder}
  lock directory = {folder}
  state directory = {folder}
  cache directory = {folder}
  pid directory = {folder}
  ncalrpc dir = {folder}/ncalrpc
  log file = {folder}/samba.log
  load printers = no
[films]
  path = {served}
  read only = no
  force user = root
"""

KINDS: dict[str, type[Share]] = {"glusterfs": GlusterFS, "nfs": NFS, "smb": SMB}


def main() -> int:
    """Run a command with two mounts of a share; its exit code is this one's."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path, help="where the share lies; it is made")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if reason := KINDS[given.kind].missing():
        sys.exit(reason)
    share = KINDS[given.kind](given.folder.resolve())
    try:
        mounts = [str(share.mount(name)) for name in ("one", "two")]
        environment = os.environ | {MOUNTS_VARIABLE: ":".join(mounts)}
        return subprocess.run(given.command, check=False, env=environment).returncode
    finally:
        share.end()


if __name__ == "__main__":
    sys.exit(main())
