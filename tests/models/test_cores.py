"""How many cores a process may use."""

import math
import os

import pytest

from agcnn_models import cores
from agcnn_models.cores import granted_cores, usable_cores

V1 = "12:pids:/system.slice\n4:cpu,cpuacct:/system.slice/clinic\n1:name=systemd:/init.scope\n"
V2 = "0::/system.slice/clinic\n"
BOTH = "4:cpu:/\n0::/system.slice/clinic\n"


def _version_1(group, quota, period):
    return {f"{group}/cpu.cfs_quota_us": str(quota), f"{group}/cpu.cfs_period_us": str(period)}


@pytest.fixture
def granted(tmp_path):
    """What is granted by files of such content, of a process in these groups."""

    def ask(own, files):
        for name, content in files.items():
            file = tmp_path / "groups" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        (tmp_path / "own").write_text(own)
        return granted_cores(tmp_path / "own", tmp_path / "groups")

    return ask


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (V2, {"system.slice/clinic/cpu.max": "150000 100000"}, 1.5),
        (V2, {"system.slice/clinic/cpu.max": "max 100000"}, math.inf),
        (V2, {"system.slice/clinic/cpu.max": "max 100000", "system.slice/cpu.max": "300000 100000"}, 3.0),
        (V2, {"system.slice/clinic/cpu.max": "200000 50000", "system.slice/cpu.max": "800000 100000"}, 4.0),
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/docker/of-the-host\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/../outside\n", {"cpu.max": "50000 100000"}, 0.5),
        (V2, {"another/cpu.max": "50000 100000"}, math.inf),
        (V2, {"system.slice/clinic/cpu.max": ""}, math.inf),
        (V1, _version_1("cpu/system.slice/clinic", 250_000, 100_000), 2.5),
        (V1, _version_1("cpu/system.slice/clinic", -1, 100_000), math.inf),
        (V1, _version_1("cpu", 250_000, 100_000), 2.5),
        (V1, _version_1("pids/system.slice", 250_000, 100_000), math.inf),
        (BOTH, {"system.slice/cpu.max": "400000 100000"} | _version_1("cpu", 100_000, 50_000), 2.0),
        ("", {}, math.inf),
    ],
)
def test_what_control_groups_grant(granted, own, files, cores):
    """The least of a group's own share and of those above it, by either version's files."""
    assert granted(own, files) == cores


@pytest.mark.parametrize("name", [b"caf\xe9", "a\u2028b".encode(), b"a\x0bb", b"a:b"])
def test_a_group_is_called_anything(tmp_path, name):
    """Text or not, in one line: its share and those above it are found all the same."""
    group = tmp_path / "groups" / os.fsdecode(name)
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "own").write_bytes(b"0::/" + name + b"\n")
    assert granted_cores(tmp_path / "own", tmp_path / "groups") == 1.5


def test_where_there_are_no_control_groups_all_is_granted(tmp_path):
    """Another system than Linux, or a /proc that is not there."""
    assert granted_cores(tmp_path / "none", tmp_path) == math.inf


@pytest.mark.parametrize(
    ("share", "usable"), [(0.1, 1), (1.0, 1), (1.5, 2), (2.0, 2), (3.0, 3), (9.0, 4), (math.inf, 4)]
)
def test_a_share_of_the_time_is_rounded_up_to_cores(monkeypatch, share, usable):
    """There is at least one, and never more than the process may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(cores, "granted_cores", lambda *_: share)
    assert usable_cores() == usable
