"""What a check of `doctor` says."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check went."""

    OK = "OK"
    REMARK = "remark"
    """Works, with something to know."""
    PROBLEM = "problem"
    """Something will fail; the advice says what to do."""


@dataclass(frozen=True)
class Result:
    """A line of the doctor's table: what was found, and for anything but OK what to do."""

    check: str
    state: State
    found: str
    advice: str = ""
