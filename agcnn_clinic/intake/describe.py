"""The studies and instances that headers speak of: those that the database knows, and rows for those that are new.

The first header of a study or instance is the one that is kept: a later file never overwrites patient data. So nothing
may be read as part of a study that its own header does not name (`conflict`), and where it names a patient whom the
study does not name, that is said (`remarked`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from agcnn_clinic.database.many import add_rows, in_parts
from agcnn_clinic.database.tables import Instance, Study
from agcnn_clinic.dicom.uid import study_key
from agcnn_clinic.domain import Header, InstanceDescription, ReasonCode, StudyDescription, Warn
from agcnn_clinic.errors import ImageError

_STUDY = (Study.id, Study.key, Study.study_instance_uid, Study.patient_id, Study.patient_name)
"""The columns of a `KnownStudy`."""


class KnownStudy(NamedTuple):
    """A study that has its row, and whose it is."""

    id: int
    key: str
    study_instance_uid: str
    patient_id: str
    patient_name: str


class Described(NamedTuple):
    """A SOP Instance that has its row."""

    instance_id: int
    study: KnownStudy


def known_instances(session: Session, headers: Iterable[Header]) -> dict[str, Described]:
    """Those of the instances that some headers speak of which have their rows, by their SOP Instance UIDs."""
    known = {}
    for part in in_parts(sorted({header.instance.sop_instance_uid for header in headers})):
        asked = select(Instance.sop_instance_uid, Instance.id, *_STUDY).join(Instance.study)
        for row in session.execute(asked.where(Instance.sop_instance_uid.in_(part))):
            known[row[0]] = Described(row[1], KnownStudy(*row[2:]))
    return known


def conflict(header: Header, study_instance_uid: str) -> ImageError | None:
    """Why a file is no image of the study that its SOP Instance UID is known in; None where it is.

    The instance is not moved to the new study, whatever became of it until now: the files that came for it before
    name the old one, and would be shown as files of a study and a patient that are not theirs.
    """
    if header.study.study_instance_uid == study_instance_uid:
        return None
    return ImageError(ReasonCode.UID_CONFLICT, f"it is known as an image of study {study_key(study_instance_uid)}")


def remarked(header: Header, described: Described) -> dict[str, Any]:
    """What a file's row keeps of how it fits into its study: see `ReceivedFile.header` and `films.film_of`."""
    if not _names_another_patient(header.study, described.study):
        return {}
    named = {"patient_id": header.study.patient_id, "patient_name": header.study.patient_name}
    return {"remarks": [str(Warn.OTHER_PATIENT)], "names": named}


def doubted(headers: Iterable[Header], known: Mapping[str, Described]) -> list[tuple[int, InstanceDescription]]:
    """The instances whose UID a file has that names another study and patient, each with what that file says.

    Args:
        headers: of files with a `conflict`.
        known: instances by their SOP Instance UIDs.
    """
    of_uid = ((header, known.get(header.instance.sop_instance_uid)) for header in headers)
    return [
        (one.instance_id, header.instance)
        for header, one in of_uid
        if one and _names_another_patient(header.study, one.study)
    ]


def describe(
    session: Session, headers: Sequence[Header], known: Mapping[str, Described], now: datetime
) -> dict[str, Described]:
    """Find or add the rows of all instances that some headers speak of, in the caller's transaction.

    Their studies have just received something: that is written down, too. In a writing transaction nobody else can add
    a row meanwhile.

    Args:
        session: one that writes.
        headers: in the order in which their files came, without those with a `conflict`.
        known: what `known_instances` says of them, and maybe of others.
        now: the time of arrival.

    Returns:
        Each instance by its SOP Instance UID.
    """
    new: dict[str, Header] = {}
    described: dict[str, Described] = {}
    for header in headers:
        uid = header.instance.sop_instance_uid
        if uid in known:
            described[uid] = known[uid]
        else:
            new.setdefault(uid, header)
    studies = _known_studies(session, {header.study.study_instance_uid for header in new.values()})
    touched = {one.study.id for one in described.values()} | {study.id for study in studies.values()}
    for ids in in_parts(sorted(touched)):
        session.execute(
            update(Study).where(Study.id.in_(ids)).values(last_received_at=now),
            execution_options={"synchronize_session": False},
        )
    of_new_studies = [header for header in new.values() if header.study.study_instance_uid not in studies]
    studies |= _added_studies(session, of_new_studies, now)
    return described | _added_instances(session, new, studies)


def _known_studies(session: Session, uids: Collection[str]) -> dict[str, KnownStudy]:
    """Those of the studies that have their rows, by their Study Instance UIDs."""
    known = {}
    for part in in_parts(sorted(uids)):
        for row in session.execute(select(*_STUDY).where(Study.study_instance_uid.in_(part))):
            study = KnownStudy(*row)
            known[study.study_instance_uid] = study
    return known


def _added_studies(session: Session, headers: Sequence[Header], now: datetime) -> dict[str, KnownStudy]:
    first: dict[str, Header] = {}
    for header in headers:
        first.setdefault(header.study.study_instance_uid, header)
    rows: list[dict[str, Any]] = [
        {"key": study_key(uid), "first_received_at": now, "last_received_at": now, "revision": 0} | vars(header.study)
        for uid, header in first.items()
    ]
    ids = add_rows(session, Study, rows)
    return {
        uid: KnownStudy(study_id, row["key"], uid, header.study.patient_id, header.study.patient_name)
        for study_id, row, (uid, header) in zip(ids, rows, first.items(), strict=True)
    }


def _added_instances(
    session: Session, headers: dict[str, Header], studies: dict[str, KnownStudy]
) -> dict[str, Described]:
    rows = [
        {
            "study_id": studies[header.study.study_instance_uid].id,
            "series_instance_uid": header.instance.series_instance_uid,
            "sop_instance_uid": uid,
        }
        for uid, header in headers.items()
    ]
    ids = add_rows(session, Instance, rows)
    return {
        uid: Described(instance_id, studies[header.study.study_instance_uid])
        for instance_id, (uid, header) in zip(ids, headers.items(), strict=True)
    }


def _names_another_patient(header: StudyDescription, study: KnownStudy) -> bool:
    """Whether a file names a patient whom the study does not: by Patient ID, or by name where one of them has no ID.

    A study that names nobody, as that of an emergency does whose first film came before the patient was known, is not
    given the first patient who is named in it: reports that were made of it say that there is none.
    """
    if not (study.patient_id or study.patient_name):
        return bool(header.patient_id or header.patient_name)
    if header.patient_id and study.patient_id:
        return header.patient_id != study.patient_id
    names = [_comparable(one.patient_name) for one in (header, study)]
    return all(names) and names[0] != names[1]


def _comparable(person_name: str) -> str:
    """A person name without what senders write differently: case, and delimiters of components that are empty."""
    return "=".join(group.rstrip("^ ") for group in person_name.casefold().split("=")).rstrip("=")
