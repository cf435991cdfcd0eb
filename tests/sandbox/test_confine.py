"""What a child gives up for good, where a layer of it is missing: many servers' kernels do not have all of them."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from agcnn_clinic.sandbox import confine

ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x00050001, 0x00050026
O_CREAT, O_TRUNC, F_SETLK, F_OFD_SETLK, F_SETLEASE = 0o100, 0o1000, 6, 37, 1024
F_GETFL, F_SETFL, F_SETOWN, F_SETSIG, F_SETOWN_EX, O_NONBLOCK, O_ASYNC = 3, 4, 8, 10, 15, 0x800, 0x2000
FIOSETOWN, SIOCSPGRP, FIOASYNC, TIOCSTI, TCGETS, FIOCLEX = 0x8901, 0x8902, 0x5452, 0x5412, 0x5401, 0x5451
SETFLAGS, FSSETXATTR, ENABLE_VERITY, FREEZE, FIONBIO = 0x40086602, 0x401C5820, 0x40806685, 0xC0045877, 0x5421

TELLING = """
def tell_what_is_not_refused(ways):
    for name, way in ways.items():
        try:
            way()
        except PermissionError:
            continue
        except OSError as error:
            print(name, error)
        else:
            print(name)
"""

WITHOUT_LANDLOCK = """
import ctypes, fcntl, os, platform, signal, socket, struct, sys
from agcnn_clinic.sandbox import confine

victim, folder, libc = int(sys.argv[1]), sys.argv[2], ctypes.CDLL(None, use_errno=True)
there, here = f"{folder}/there", os.open(f"{folder}/there", os.O_RDONLY)
QUEUE, QUEUE_TO_THREAD, HANDLE_OF, BY_HANDLE, SHARED, MESSAGES, SEMAPHORES, QUEUE_FILE = {
    "x86_64": (129, 297, 303, 304, 29, 68, 64, 240),
    "aarch64": (138, 240, 264, 265, 194, 186, 190, 180),
}[platform.machine()]
information = (ctypes.c_int * 32)(signal.SIGKILL, 0, -1)
(reader, writer), (socket_here, _), (_, terminal) = os.pipe(), socket.socketpair(), os.openpty()
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
libc.syscall(HANDLE_OF, -100, there.encode(), handle, ctypes.byref(ctypes.c_int()), 0)
everybody = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 6, 0xFFFFFFFF) for tag in (1, 4, 32))
access_list = ctypes.create_string_buffer(everybody, len(everybody))
attribute = struct.pack("QII", ctypes.addressof(access_list), len(everybody), 0)
named = (-100, there.encode(), 0, b"system.posix_acl_access")

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")

ways = {
    "kill": lambda: os.kill(victim, signal.SIGKILL),
    "rt_sigqueueinfo": lambda: call(QUEUE, victim, signal.SIGKILL, ctypes.byref(information)),
    "rt_tgsigqueueinfo": lambda: call(QUEUE_TO_THREAD, victim, victim, signal.SIGKILL, ctypes.byref(information)),
    "pidfd_send_signal": lambda: signal.pidfd_send_signal(os.open(f"/proc/{victim}", os.O_RDONLY), signal.SIGKILL),
    "F_SETOWN": lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, victim),
    "F_SETOWN_EX": lambda: fcntl.fcntl(reader, 15, struct.pack("ii", 1, victim)),
    "F_SETSIG": lambda: fcntl.fcntl(reader, 10, signal.SIGKILL),
    "O_ASYNC": lambda: fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC),
    "FIOSETOWN": lambda: fcntl.ioctl(socket_here, 0x8901, struct.pack("i", victim)),
    "SIOCSPGRP": lambda: fcntl.ioctl(socket_here, 0x8902, struct.pack("i", victim)),
    "FIOASYNC": lambda: fcntl.ioctl(reader, 0x5452, struct.pack("i", 1)),
    "TIOCSTI": lambda: fcntl.ioctl(terminal, 0x5412, b"x"),
    "memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
    "cores": lambda: os.sched_setaffinity(victim, {0}),
    "lockf": lambda: fcntl.lockf(here, fcntl.LOCK_SH),
    "flock": lambda: fcntl.flock(here, fcntl.LOCK_EX),
    "O_WRONLY": lambda: os.open(there, os.O_WRONLY),
    "O_TRUNC": lambda: os.open(there, os.O_TRUNC),
    "O_CREAT": lambda: os.open(f"{folder}/new", os.O_CREAT),
    "truncate": lambda: os.truncate(there, 0),
    "unlink": lambda: os.unlink(there),
    "rename": lambda: os.rename(there, f"{folder}/other"),
    "link": lambda: os.link(there, f"{folder}/link"),
    "symlink": lambda: os.symlink(there, f"{folder}/link"),
    "mkdir": lambda: os.mkdir(f"{folder}/new"),
    "rmdir": lambda: os.rmdir(f"{folder}/empty"),
    "mkfifo": lambda: os.mkfifo(f"{folder}/new"),
    "open_by_handle_at": lambda: call(BY_HANDLE, here, handle, os.O_RDWR | os.O_TRUNC),
    "setxattrat": lambda: call(463, *named, attribute, ctypes.c_size_t(len(attribute))),
    "removexattrat": lambda: call(466, *named),
    "file_setattr": lambda: call(469, -100, there.encode(), bytes(24), 24, 0),
    "SETFLAGS": lambda: fcntl.ioctl(here, 0x40086602, struct.pack("l", 0x40)),
    "shared memory": lambda: call(SHARED, 0x61676E6E, 4096, 0),
    "messages": lambda: call(MESSAGES, 0x61676E6E, 0),
    "semaphores": lambda: call(SEMAPHORES, 0x61676E6E, 1, 0),
    "message queue": lambda: call(QUEUE_FILE, b"agcnn", os.O_RDWR, 0, None),
}
confine._landlock = lambda libc: False
confine.confine()
tell_what_is_not_refused(ways)
os.write(writer, b"x")  # what would send the signal of a pipe that tells of itself
os.set_blocking(reader, False)
print(os.isatty(terminal), os.read(reader, 9), os.read(here, 9), open(there).read(), os.listdir(f"{folder}/empty"))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter knows two kinds of machine")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows how to confine a process like that")
def test_no_process_and_no_file_is_touched_where_landlock_does_not_keep_it(tmp_path):
    """Every way to signal, slow, change, lock or outlive one is refused; what a reader does with its files is not."""
    (tmp_path / "there").write_text("film")
    (tmp_path / "empty").mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        done = subprocess.run(
            [sys.executable, "-c", TELLING + WITHOUT_LANDLOCK, str(victim.pid), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "True b'x' b'film' film []\n", done.stderr
        victim.communicate(b"\n")
    assert victim.returncode == 0


WITHOUT_SECCOMP = """
import os, signal, socket, subprocess, sys
from agcnn_clinic.sandbox import confine

victim, folder, version = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
there, server = f"{folder}/there", socket.create_server(("127.0.0.1", 0))
ways = {
    "O_WRONLY": (1, lambda: os.open(there, os.O_WRONLY)),
    "O_CREAT": (1, lambda: os.open(f"{folder}/new", os.O_CREAT)),
    "unlink": (1, lambda: os.unlink(there)),
    "rename": (1, lambda: os.rename(there, f"{folder}/other")),
    "link": (1, lambda: os.link(there, f"{folder}/link")),
    "symlink": (1, lambda: os.symlink(there, f"{folder}/link")),
    "mkdir": (1, lambda: os.mkdir(f"{folder}/new")),
    "rmdir": (1, lambda: os.rmdir(f"{folder}/empty")),
    "mkfifo": (1, lambda: os.mkfifo(f"{folder}/new")),
    "run": (1, lambda: subprocess.run([sys.executable, "-c", ""])),
    "truncate": (3, lambda: os.truncate(there, 0)),
    "connect": (4, lambda: socket.create_connection(server.getsockname())),
    "listen": (4, lambda: socket.create_server(("127.0.0.1", 0))),
    "kill": (6, lambda: os.kill(victim, signal.SIGKILL)),
}
confine._seccomp = lambda libc: None
confine.confine()
tell_what_is_not_refused({name: way for name, (since, way) in ways.items() if version >= since})
print(open(there).read(), os.listdir(f"{folder}/empty"))
"""


def _landlock_version():
    return ctypes.CDLL(None).syscall(444, None, 0, 1) if sys.platform == "linux" else 0


@pytest.mark.skipif(_landlock_version() < 1, reason="this kernel has no Landlock")
def test_landlock_keeps_files_ports_and_processes_by_itself(tmp_path):
    """What the filter does not know of is refused all the same, as far as this kernel's Landlock goes."""
    (tmp_path / "there").write_text("film")
    (tmp_path / "empty").mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        done = subprocess.run(
            [sys.executable, "-c", TELLING + WITHOUT_SECCOMP, str(victim.pid), str(tmp_path), str(_landlock_version())],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        victim.communicate(b"\n")
    assert done.stdout == "film []\n", done.stderr
    assert victim.returncode == 0


def _verdict(architecture, column, number, *arguments):
    """What the kernel makes of a call: the program, run as it runs it."""
    data = {0: number, 4: architecture} | {16 + 8 * index: argument for index, argument in enumerate(arguments)}
    program, at, loaded = list(confine._filter(architecture, column)), 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:
            loaded = data[operand]
        elif code == 0x06:
            return operand
        else:
            at += if_true if (loaded == operand if code == 0x15 else loaded & operand) else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_tells_calls_apart_on_each_kind_of_machine(machine):
    """By number, by the process that is meant, by what is asked of a file, and by what it is opened for."""
    x86 = machine == "x86_64"
    here = confine._ARCHITECTURES[machine]
    fcntl, ioctl, read, clone = (72, 16, 0, 56) if x86 else (25, 29, 63, 220)
    tgkill, queue, queue_to_thread, by_handle, shared = (234, 129, 297, 304, 29) if x86 else (131, 138, 240, 265, 194)
    for number, *arguments in ((queue, 1, 9), (queue_to_thread, 1, 1, 9), (424, 3, 9), (tgkill, 1, 1, 9), (clone, 17)):
        assert _verdict(*here, number, *arguments) == REFUSED
    for number in (by_handle, shared, 463, 466, 469, 429):
        assert _verdict(*here, number, -100) == REFUSED
    for number, *arguments in ((read, 3), (tgkill, os.getpid(), 1, 6), (clone, 0x10000)):
        assert _verdict(*here, number, *arguments) == ALLOWED
    for request in (F_SETOWN, F_SETSIG, F_SETOWN_EX):
        assert _verdict(*here, fcntl, 3, request, 9) == REFUSED
    assert _verdict(*here, fcntl, 3, F_SETFL, O_NONBLOCK | O_ASYNC) == REFUSED
    assert _verdict(*here, fcntl, 3, F_SETFL, O_NONBLOCK) == ALLOWED
    assert _verdict(*here, fcntl, 3, F_GETFL, O_ASYNC) == ALLOWED
    for request in (FIOSETOWN, SIOCSPGRP, FIOASYNC, TIOCSTI, SETFLAGS, FSSETXATTR, ENABLE_VERITY, FREEZE):
        assert _verdict(*here, ioctl, 3, request, 0) == REFUSED
    for request in (F_SETLK, F_OFD_SETLK, F_SETLEASE):
        assert _verdict(*here, fcntl, 3, request, 0) == REFUSED
    for opening in [(2, 0), (257, -100, 0)] if x86 else [(56, -100, 0)]:
        for wanted in (os.O_WRONLY, os.O_RDWR, O_CREAT, O_TRUNC):
            assert _verdict(*here, *opening, wanted | os.O_CLOEXEC) == REFUSED
        assert _verdict(*here, *opening, os.O_RDONLY | os.O_CLOEXEC) == ALLOWED
    assert _verdict(*here, 437, -100) == UNKNOWN
    for request in (TCGETS, FIOCLEX, FIONBIO):
        assert _verdict(*here, ioctl, 3, request, 0) == ALLOWED
