"""What a child gives up before its first task, for good: on Linux nearly all; elsewhere what the system knows to take.

    resource limits    no file grows, few are open, no core dump (it would hold a patient's image)
    no_new_privs       no program run from here gains rights
    Landlock           no file is made, written, cut, removed or run; no TCP; no signal to the daemon
    seccomp            no socket, no new process, no change of modes, owners or attributes, no lock, no memory that
                       outlives the process, no look into other processes, nor a signal to one: Landlock keeps that
                       only since Linux 6.12. And once more no file that is made, opened for writing, cut or removed:
                       many servers' kernels have no Landlock, and there /proc would give away the daemon's memory

Each is taken where the kernel offers it, so that an older one costs a layer and not the service. Reading files stays:
a child reads the archive, and its libraries while it imports them.
"""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator

from agcnn_clinic import core_dumps

OPEN_FILES = 64

# linux/prctl.h, linux/landlock.h, linux/seccomp.h, linux/filter.h
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF, _LANDLOCK_VERSION = 444, 446, 1
_LANDLOCK_READING = 1 << 2 | 1 << 3  # READ_FILE and READ_DIR: the only rights over files that a child keeps
_LANDLOCK_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_LANDLOCK_FILE_RIGHTS_NOW = 16
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 0b11, 0b11
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 24, 32
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_X32 = 0x40000000

_Step = tuple[int, int, int, int]
"""One of the filter's program: code, steps on if true, steps on if false, operand."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The AUDIT_ARCH of a machine and its column below."""
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # processes and programs (clone is looked at apart: threads are made by it)
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # the network, and sockets of services on this machine
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    # files, which Landlock keeps, too; opening one by its name is looked at apart
    "creat": (85, None),
    "truncate": (76, 45),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "link": (86, None),
    "linkat": (265, 37),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "open_by_handle_at": (304, 265),
    "mq_open": (240, 180),
    # locks, and modes, owners, times and attributes (an access list is one) of files, which Landlock leaves alone
    "flock": (73, 32),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # memory that would outlive the process, and that its limit does not count
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    # what only an attacker of the kernel or an administrator needs
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "fsconfig": (431, 431),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
}
"""System calls that fail with EPERM, and their numbers (x86_64, aarch64)."""
_CLONE = (56, 220)
_UNKNOWN = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls whose arguments lie in memory, where the filter cannot look: as if the kernel did not know them, so that the C
library makes the older ones."""
_OPENING: dict[str, tuple[tuple[int | None, int | None], int]] = {
    "open": ((2, None), _SECOND_ARGUMENT),
    "openat": ((257, 56), _THIRD_ARGUMENT),
}
"""Calls that open a file, and which argument says what for."""
_WRITING = 0o3 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC."""
_OWN_PROCESS_ONLY: dict[str, tuple[int, int]] = {"tgkill": (234, 131), "prlimit64": (302, 261)}
"""Calls that a process needs for itself, and whose first argument can name another one."""
_F_SETFL, _O_ASYNC = 4, 0x2000
_LOCKS = (6, 7, 37, 38, 1024)
"""F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE: a file that can be read can be locked."""
_FCNTL = (72, 25)
_REFUSED_OF_FCNTL: dict[int, int | None] = {
    # F_SETOWN, F_SETSIG, F_SETOWN_EX; and O_ASYNC, since a terminal is its foreground processes' without being told
    **dict.fromkeys((8, 10, 15, *_LOCKS)),
    _F_SETFL: _O_ASYNC,
}
"""What is refused by its second argument, some only with these bits in the third: a file can be told to signal another
process of the same user whenever it can be read or written, and a lock on its files would stop the database."""
_IOCTL = (16, 29)
_ALLOWED_OF_IOCTL = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what a library may ask of a file that it opens.
Each file system and each device has requests of its own, and many need no more than that a file can be read: to make it
one that nobody can write any more, to have it signal another process, to type into a terminal, to halt a disk."""


class _LandlockRuleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def confine() -> None:
    """Give up what a reader of files does not need, in the calling thread and those that it starts."""
    core_dumps.leave_none()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            _landlock(libc)
            _seccomp(libc)


def no_more_processes() -> None:
    """Start no further process nor thread, where the system counts them by user (root is not counted)."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _landlock(libc: ctypes.CDLL) -> None:
    """Rule over all rights that the kernel knows and grant none: the empty ruleset refuses them everywhere."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return
    rights = (1 << _LANDLOCK_FILE_RIGHTS.get(version, _LANDLOCK_FILE_RIGHTS_NOW)) - 1
    ruleset = _LandlockRuleset(
        rights & ~_LANDLOCK_READING, _LANDLOCK_TCP if version >= 4 else 0, _LANDLOCK_SCOPES if version >= 6 else 0
    )
    descriptor = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if descriptor < 0:
        return
    libc.syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0)
    os.close(descriptor)


def _seccomp(libc: ctypes.CDLL) -> None:
    """Let the kernel look at the number of each system call."""
    if platform.machine() not in _ARCHITECTURES:
        return
    instructions = list(_filter(*_ARCHITECTURES[platform.machine()]))
    array = (_Instruction * len(instructions))(*(_Instruction(*one) for one in instructions))
    program = _Program(len(instructions), array)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def _filter(architecture: int, column: int) -> Iterator[_Step]:
    """Return the program."""
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _JUMP_EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    yield _JUMP_ANY_BIT, 0, 1, _X32
    yield _RETURN, 0, 0, _KILL
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            yield _JUMP_EQUAL, 0, 1, number
            yield _RETURN, 0, 0, _REFUSE | _EPERM
    for unknown in _UNKNOWN.values():
        yield _JUMP_EQUAL, 0, 1, unknown[column]
        yield _RETURN, 0, 0, _REFUSE | _ENOSYS
    for opening, purpose in _OPENING.values():
        if (number := opening[column]) is not None:
            yield _JUMP_EQUAL, 0, 4, number
            yield _LOAD, 0, 0, purpose
            yield _JUMP_ANY_BIT, 0, 1, _WRITING
            yield _RETURN, 0, 0, _REFUSE | _EPERM
            yield _RETURN, 0, 0, _ALLOW
    yield _JUMP_EQUAL, 0, 4, _CLONE[column]
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _JUMP_ANY_BIT, 1, 0, _CLONE_THREAD
    yield _RETURN, 0, 0, _REFUSE | _EPERM
    yield _RETURN, 0, 0, _ALLOW
    for own in _OWN_PROCESS_ONLY.values():
        yield _JUMP_EQUAL, 0, 5, own[column]
        yield _LOAD, 0, 0, _FIRST_ARGUMENT
        yield _JUMP_EQUAL, 2, 0, 0
        yield _JUMP_EQUAL, 1, 0, os.getpid()
        yield _RETURN, 0, 0, _REFUSE | _EPERM
        yield _RETURN, 0, 0, _ALLOW
    for asking, answer in ((_FCNTL, list(_of_fcntl())), (_IOCTL, list(_of_ioctl()))):
        yield _JUMP_EQUAL, 0, len(answer), asking[column]
        yield from answer
    yield _RETURN, 0, 0, _ALLOW


def _of_ioctl() -> Iterator[_Step]:
    """Return what is done of the program once a call is known to be ioctl."""
    yield _LOAD, 0, 0, _SECOND_ARGUMENT
    for request in _ALLOWED_OF_IOCTL:
        yield _JUMP_EQUAL, 0, 1, request
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _REFUSE | _EPERM


def _of_fcntl() -> Iterator[_Step]:
    """Return the same of fcntl."""
    yield _LOAD, 0, 0, _SECOND_ARGUMENT
    for request, bits in _REFUSED_OF_FCNTL.items():
        if bits is None:
            yield _JUMP_EQUAL, 0, 1, request
        else:
            yield _JUMP_EQUAL, 0, 4, request
            yield _LOAD, 0, 0, _THIRD_ARGUMENT
            yield _JUMP_ANY_BIT, 1, 0, bits
            yield _RETURN, 0, 0, _ALLOW
        yield _RETURN, 0, 0, _REFUSE | _EPERM
    yield _RETURN, 0, 0, _ALLOW
