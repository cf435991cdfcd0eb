"""Moments: the present one, and how one is written as text."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """This moment, in UTC; the clock of all that is not handed another one."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """A moment in ISO 8601, UTC, to the microsecond, as rows and the audit trail hold it: texts sort as the moments do.

    Args:
        moment: with a zone, of any kind.
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
