"""The heap keeps what a step frees: the next step finds its pages there."""

import platform
import subprocess
import sys

import pytest

# 64 MB, written whole and freed, again and again; the first blocks fill what the heap has taken ahead.
PROGRAM = """
import resource, sys, torch
from agcnn_training.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):
    torch.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """The page faults of a few steps."""
    return int(subprocess.check_output([sys.executable, "-c", PROGRAM, mode], text=True))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap can be told")
def test_freed_memory_is_used_again() -> None:
    """With the heap kept there are next to no page faults; without it there may be thousands."""
    count = faults("keep")
    assert count < 1000
    assert faults("as it was") > 10 * count
