"""What retention removed, for the lists that cannot show it in a column; without the object mapper, as the views."""

from collections.abc import Sequence

from sqlalchemy import Connection, column, distinct, func, select, table

_instance = table("instance", column("id"), column("study_id"))
_received_file = table("received_file", column("instance_id"), column("removed_at"))
_report = table("report", column("study_id"), column("removed_at"))


def removed_of(connection: Connection, study_ids: Sequence[int]) -> tuple[int, int]:
    """Of how many of these studies images are gone, and of how many a report."""
    images = (
        select(func.count(distinct(_instance.c.study_id)))
        .join(_received_file, _received_file.c.instance_id == _instance.c.id)
        .where(_instance.c.study_id.in_(study_ids), _received_file.c.removed_at.is_not(None))
    )
    reports = select(func.count(distinct(_report.c.study_id))).where(
        _report.c.study_id.in_(study_ids), _report.c.removed_at.is_not(None)
    )
    return connection.execute(images).scalar_one(), connection.execute(reports).scalar_one()
