"""What a process that crashes must not leave behind: a copy of its memory, with patients' films in it."""

import resource

_ONE_BYTE = 1
"""The smallest dump is of a page, so that no file is written. With none, Linux would still hand one to a program that
takes them (`core_pattern` with a pipe: systemd-coredump, apport); one byte keeps it from that, too (fs/coredump.c)."""


def leave_none() -> None:
    """Have the kernel write no core dump of this process, nor of those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    size = 0 if most == 0 else _ONE_BYTE
    resource.setrlimit(resource.RLIMIT_CORE, (size, size))
