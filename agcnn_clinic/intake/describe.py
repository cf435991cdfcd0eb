"""The studies and instances that headers speak of: those that the database knows, and rows for those that are new.

The first header of a study or instance is the one that is kept: a later file never overwrites patient data.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.tables import Instance, Study
from agcnn_clinic.dicom.uid import study_key
from agcnn_clinic.domain import Header


class Described(NamedTuple):
    """A SOP Instance that has its row."""

    instance_id: int
    study_id: int
    study_key: str


def describe(session: Session, headers: Sequence[Header], now: datetime) -> dict[str, Described]:
    """Find or add the rows of all instances that some headers speak of, in the caller's transaction.

    Their studies have just received something: that is written down, too. In a writing transaction nobody else can add
    a row meanwhile.

    Args:
        session: one that writes.
        headers: in the order in which their files came.
        now: the time of arrival.

    Returns:
        Each instance by its SOP Instance UID.
    """
    known = _known_instances(session, {header.instance.sop_instance_uid for header in headers})
    new: dict[str, Header] = {}
    for header in headers:
        if header.instance.sop_instance_uid not in known:
            new.setdefault(header.instance.sop_instance_uid, header)
    studies = _known_studies(session, {header.study.study_instance_uid for header in new.values()})
    touched = {one.study_id for one in known.values()} | {study_id for study_id, _ in studies.values()}
    for ids in in_parts(sorted(touched)):
        session.execute(
            update(Study).where(Study.id.in_(ids)).values(last_received_at=now),
            execution_options={"synchronize_session": False},
        )
    of_new_studies = [header for header in new.values() if header.study.study_instance_uid not in studies]
    studies |= _added_studies(session, of_new_studies, now)
    return known | _added_instances(session, new, studies)


def _known_instances(session: Session, uids: Collection[str]) -> dict[str, Described]:
    known = {}
    for part in in_parts(sorted(uids)):
        asked = select(Instance.sop_instance_uid, Instance.id, Study.id, Study.key).join(Instance.study)
        for uid, instance_id, study_id, key in session.execute(asked.where(Instance.sop_instance_uid.in_(part))):
            known[uid] = Described(instance_id, study_id, key)
    return known


def _known_studies(session: Session, uids: Collection[str]) -> dict[str, tuple[int, str]]:
    """The id and the key of each study that is known, by its Study Instance UID."""
    known = {}
    for part in in_parts(sorted(uids)):
        asked = select(Study.study_instance_uid, Study.id, Study.key).where(Study.study_instance_uid.in_(part))
        for uid, study_id, key in session.execute(asked):
            known[uid] = (study_id, key)
    return known


def _added_studies(session: Session, headers: Sequence[Header], now: datetime) -> dict[str, tuple[int, str]]:
    first: dict[str, Header] = {}
    for header in headers:
        first.setdefault(header.study.study_instance_uid, header)
    if not first:
        return {}
    keys = [study_key(uid) for uid in first]
    rows = [
        {"key": key, "first_received_at": now, "last_received_at": now, "revision": 0} | vars(header.study)
        for key, header in zip(keys, first.values(), strict=True)
    ]
    ids = session.scalars(insert(Study).returning(Study.id, sort_by_parameter_order=True), rows)
    return dict(zip(first, zip(ids, keys, strict=True), strict=True))


def _added_instances(
    session: Session, headers: dict[str, Header], studies: dict[str, tuple[int, str]]
) -> dict[str, Described]:
    if not headers:
        return {}
    of_studies = [studies[header.study.study_instance_uid] for header in headers.values()]
    rows = [
        {"study_id": study_id, "series_instance_uid": header.instance.series_instance_uid, "sop_instance_uid": uid}
        for (uid, header), (study_id, _) in zip(headers.items(), of_studies, strict=True)
    ]
    ids = session.scalars(insert(Instance).returning(Instance.id, sort_by_parameter_order=True), rows)
    return {
        uid: Described(instance_id, *study) for uid, instance_id, study in zip(headers, ids, of_studies, strict=True)
    }
