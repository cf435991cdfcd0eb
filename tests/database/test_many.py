"""Many rows in one statement."""

import random

import pytest
from sqlalchemy import select

from agcnn_clinic.database.many import VARIABLES, add_rows
from agcnn_clinic.database.tables import Instance

pytestmark = pytest.mark.both_databases


def test_each_row_is_told_its_own_id(database, factories):
    """In the order of the rows, however many they are, beside rows from before, and after some that were taken back."""
    uids = [f"1.2.{number}" for number in range(VARIABLES + 1)]
    random.Random(0).shuffle(uids)
    with database.write() as session:
        study = factories.make_study(session, 1)
        session.flush()
        study_id = study.id

    def add(uids: list[str], *, keep: bool = True) -> list[int]:
        rows = [{"study_id": study_id, "series_instance_uid": "", "sop_instance_uid": uid} for uid in uids]
        with database.write() as session:
            ids = add_rows(session, Instance, rows)
            if not keep:
                session.rollback()
        return ids

    assert len(add(uids[:3], keep=False)) == 3
    told = add(uids[:1]) + add([]) + add(uids[1:])
    with database.session() as session:
        stored = dict(session.execute(select(Instance.sop_instance_uid, Instance.id)).all())
    assert told == [stored[uid] for uid in uids]
