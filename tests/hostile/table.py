"""The table of hostile files: what each is, how it is made, and as what it may end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agcnn_clinic.domain import REASONS, Outcome, ReasonCode

HEADER_BROKEN = frozenset({ReasonCode.UNRECOGNISED, ReasonCode.UNREADABLE_HEADER, ReasonCode.MISSING_ATTRIBUTE})
PIXELS_BROKEN = frozenset({ReasonCode.UNREADABLE_PIXELS, ReasonCode.PIXEL_LENGTH})
BROKEN = HEADER_BROKEN | PIXELS_BROKEN | {ReasonCode.NO_PIXELS, ReasonCode.EMPTY_FILE}
READ = frozenset({ReasonCode.READ})
REFUSED = frozenset(code for code, reason in REASONS.items() if reason.outcome is Outcome.REFUSED)


@dataclass(frozen=True)
class Hostile:
    """One hostile file.

    Attributes:
        name: what is hostile about it; its file name, too.
        make: gives its bytes.
        ends_as: the reasons that it may end with; none of them is a crash, the deadline or the memory limit, unless
            the file is one that only these can stop.
    """

    name: str
    make: Callable[[], bytes]
    ends_as: frozenset[ReasonCode]


TABLE: list[Hostile] = []


def hostile(name: str, ends_as: Iterable[ReasonCode] | ReasonCode, make: Callable[[], bytes]) -> None:
    """Add a row."""
    codes = frozenset({ends_as}) if isinstance(ends_as, ReasonCode) else frozenset(ends_as)
    TABLE.append(Hostile(name, make, codes))
