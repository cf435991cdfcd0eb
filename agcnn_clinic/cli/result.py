"""What a check of `doctor` says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec

from agcnn_clinic.errors import ClinicError

P = ParamSpec("P")


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


def told(name: str, check: Callable[P, Iterator[Result]]) -> Callable[P, list[Result]]:
    """A check whose errors are results too: one broken thing must not hide the others."""

    def run(*args: P.args, **kwargs: P.kwargs) -> list[Result]:
        results: list[Result] = []
        try:
            results.extend(check(*args, **kwargs))
        except ClinicError as error:
            results.append(Result(name, State.PROBLEM, "cannot be used", str(error)))
        except OSError as error:
            results.append(Result(name, State.PROBLEM, short(error), "See whether this user may read it."))
        return results

    return run


def short(error: BaseException) -> str:
    """What an error says, in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
