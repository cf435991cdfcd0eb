"""How many cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["granted_cores", "usable_cores"]

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this process may use: those that it may run on, or fewer where it is granted less of their time.

    `docker run --cpus`, a limit of Kubernetes and `CPUQuota=` of systemd grant time. Of 1.5 cores' worth two can make
    use; what more than these begin, the kernel lets wait.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = granted_cores(_OWN_GROUPS, _GROUPS)
    return cores if math.isinf(granted) else max(1, min(cores, math.ceil(granted)))


def granted_cores(own: Path, groups: Path) -> float:
    """The cores' worth of time that control groups grant, of both versions (cgroups(7)); infinite where none limits it.

    Args:
        own: says which groups the process is in, as `/proc/self/cgroup`.
        groups: where their settings are, as `/sys/fs/cgroup`.
    """
    try:
        # A group may have any name, of which the kernel writes nothing but a line's end in another way.
        lines = os.fsdecode(own.read_bytes()).rstrip("\n").split("\n")
    except OSError:  # no Linux
        return math.inf
    granted = math.inf
    for line in filter(None, lines):
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Each group is bound by those above it. In a container the name may be the host's: there its root is its own.
        for group in (PurePosixPath(name), *PurePosixPath(name).parents):
            place = (groups / "cpu" if controllers else groups) / group.relative_to("/")
            granted = min(granted, *_limits(place))
    return granted


def _limits(group: Path) -> Iterator[float]:
    """Of one group, by version 2 and by version 1; infinite where it has none."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / file).read_text(encoding="utf-8") for file in files).split()
            yield int(quota) / int(period) if int(quota) > 0 else math.inf
        except (OSError, ValueError, ZeroDivisionError):  # no such group or setting, or "max"
            yield math.inf
