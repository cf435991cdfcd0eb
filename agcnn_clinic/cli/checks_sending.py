"""What `doctor` says of the DICOM archive that reports are sent to."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from agcnn_clinic.cli.output import local_time
from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config
from agcnn_clinic.errors import SendingError
from agcnn_clinic.moments import utc_now
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.database.session import Database

_LATE = timedelta(minutes=10)
"""A report that can be sent is sent within seconds."""


def archive(config: Config) -> Iterator[Result]:
    """Whether it answers, and takes what is sent; nothing where none is named."""
    if not config.sending.is_on:
        return
    from agcnn_clinic.sending.archive import Archive

    named = Archive.configured(config)
    try:
        not_taken = named.check()
    except SendingError as error:
        advice = "Until it does, reports wait, and are sent then."
        yield Result("DICOM archive", State.PROBLEM, str(error), advice)
        return
    if not_taken:
        found = f"{named} answers, and does not take {' and '.join(not_taken)}"
        advice = "Let it take them, or take what is not wanted out of sending.objects."
        yield Result("DICOM archive", State.PROBLEM, found, advice)
    else:
        how = "in the clear" if named.tls is None else "by TLS"
        yield Result("DICOM archive", State.OK, f"{named} answers, {how}")


def waiting(database: "Database", config: Config) -> Iterator[Result]:
    """How many reports wait to be sent for longer than they should."""
    from sqlalchemy import func, select, true

    from agcnn_clinic.database.tables import Report

    late = Report.created_at < utc_now() - _LATE if config.sending.is_on else true()
    with database.session() as session:
        count, oldest = session.execute(
            select(func.count(), func.min(Report.created_at)).where(Report.to_send, late)
        ).one()
    if not count:
        return
    found = f"{counted(count, 'report')} not sent, the oldest of {local_time(oldest)}"
    if config.sending.is_on:
        advice = (
            "See that `watch` runs; its log says why one is not sent. What no archive will take: `agcnn-clinic send "
            "STUDY --cancel`."
        )
    else:
        advice = (
            "sending.to names no archive any more: name one, and they are sent. Until then retention leaves them, or "
            "until they wait no longer: `agcnn-clinic send --cancel --all`."
        )
    yield Result("reports to send", State.REMARK, found, advice)
