"""What a person names as a day or a moment, and the ranges that listings are limited to."""

from datetime import UTC, datetime
from typing import Any

from agcnn_clinic.errors import UsageError

DAY, MOMENT = "YYYY-MM-DD", "YYYY-MM-DD[THH:MM[:SS]]"
"""How the two are written, in the words of --help."""

_DAYS = ("%Y-%m-%d",)
_MOMENTS = (*_DAYS, "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
_FIRST, _LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 (local time)


def day(text: str) -> datetime:
    """A day that a person names, as its beginning; without a zone.

    Raises:
        UsageError: it is none.
    """
    return _read(text, _DAYS, "day: write year, month and day, as in 2026-01-31")


def moment(text: str) -> datetime:
    """A moment that a person names, in this machine's time; a day alone is its beginning.

    Raises:
        UsageError: it is none.
    """
    return _read(text, _MOMENTS, "moment: write a day, as in 2026-01-31, or a day and a time, as in 2026-01-31T14:30")


def _read(text: str, forms: tuple[str, ...], sentence: str) -> datetime:
    for form in forms:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 (local time)
        except ValueError:
            continue
    raise UsageError(f"{text!r} is no {sentence}.")


def in_utc(named: datetime, *, latest: bool = False) -> datetime:
    """A moment that a person here names in local time, without a zone, in UTC.

    In the hour in which clocks are set a time of day is two moments, or none: then the earlier one of the two readings,
    or the latest, so that a range has all that it may mean. One on the first or the last day of the calendar is taken a
    day further in, since in UTC it may have no year: nothing lies beyond it either way.
    """
    within = min(max(named, _FIRST), _LAST)
    return (max if latest else min)(within.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def require_order(what: str, first: Any, last: Any) -> None:
    """Refuse a range that ends before it begins: nothing lies in it. None is an open end.

    Raises:
        UsageError: it does.
    """
    if first is not None and last is not None and first > last:
        raise UsageError(f"The range of {what} ends before it begins: exchange its ends.")
