"""What retention has removed, for the lists that cannot show it in a column."""

from collections.abc import Sequence

from sqlalchemy import Connection, distinct, func, select

from agcnn_clinic.database.tables import Instance, ReceivedFile, Report


def removed_of(connection: Connection, study_ids: Sequence[int]) -> tuple[int, int]:
    """Of how many of these studies images are gone, and of how many a report."""
    images = (
        select(func.count(distinct(Instance.study_id)))
        .join(ReceivedFile, ReceivedFile.instance_id == Instance.id)
        .where(Instance.study_id.in_(study_ids), ReceivedFile.removed_at.is_not(None))
    )
    reports = select(func.count(distinct(Report.study_id))).where(
        Report.study_id.in_(study_ids), Report.removed_at.is_not(None)
    )
    return connection.execute(images).scalar_one(), connection.execute(reports).scalar_one()
