"""Which reading of an image counts, who has read how much, and what a model has still to read. Needs no torch.

Of the readings of an image one counts: it is in the clinic's reports and summaries, and the others stand beside it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Exists, and_, case, exists, func, join, not_, or_, select, update
from sqlalchemy.orm import Session

from agcnn_clinic.database.tables import Inference, Instance, Model, ReceivedFile, Study
from agcnn_clinic.domain import Outcome

_IMAGES = join(join(Study, Instance), ReceivedFile)
"""From the study down to its files."""


@dataclass(frozen=True)
class Scope:
    """Which studies are meant; what is None does not limit them."""

    study_ids: Collection[int] | None = None
    since: datetime | None = None
    """Studies for which something came at this moment or later."""


@dataclass(frozen=True)
class Outlook:
    """What there is to do before a model has read every image that was read before.

    Attributes:
        studies: how many studies have something to be done.
        images: how many images it has to read.
        beside: of how many its reading stands beside the one that counts; none of them is read again.
        removed: how many it cannot read, since retention has removed their bytes.
    """

    studies: int
    images: int
    beside: int
    removed: int


@dataclass(frozen=True)
class ReadBy:
    """How many images a model has read, and of how many of them its reading counts."""

    model: Model
    images: int
    counting: int


def outlook(session: Session, manifest_sha256: str, scope: Scope, *, counts: bool) -> Outlook:
    """Count what is left for a model to do.

    Args:
        session: to read from.
        manifest_sha256: the model.
        scope: which studies.
        counts: whether it is the clinic's own model, whose readings shall count.
    """
    unread, beside = _unread(manifest_sha256), _beside(manifest_sha256)
    kept = ReceivedFile.removed_at.is_(None)
    to_do = or_(and_(unread, kept), beside) if counts else and_(unread, kept)
    statement = select(
        func.count(case((to_do, Study.id)).distinct()),
        func.count(case((and_(unread, kept), 1))),
        func.count(case((beside, 1))),
        func.count(case((and_(unread, not_(kept)), 1))),
    )
    statement = statement.select_from(_IMAGES).where(*_read_before(scope))
    studies, images, stand_beside, removed = session.execute(statement).one()
    return Outlook(studies, images, stand_beside, removed)


def studies_to_read(
    session: Session, manifest_sha256: str, scope: Scope, *, counts: bool, limit: int | None = None
) -> list[int]:
    """The ids of the studies with an image that the model has not read, or whose reading by it shall count, in order.

    Args:
        session: to read from.
        manifest_sha256: the model.
        scope: which studies.
        counts: whether it is the clinic's own model, whose readings shall count.
        limit: the most studies; None for all.
    """
    to_do = and_(_unread(manifest_sha256), ReceivedFile.removed_at.is_(None))
    if counts:
        to_do = or_(to_do, _beside(manifest_sha256))
    statement = select(Study.id).select_from(_IMAGES).where(*_read_before(scope), to_do).distinct()
    return list(session.scalars(statement.order_by(Study.id).limit(limit)))


def files_to_read(session: Session, manifest_sha256: str, study_ids: Sequence[int]) -> list[tuple[int, ReceivedFile]]:
    """The files that the model has to read, each after its study's id, study by study in order of arrival."""
    statement = (
        select(Study.id, ReceivedFile)
        .select_from(_IMAGES)
        .where(*_read_before(Scope(study_ids)), _unread(manifest_sha256), ReceivedFile.removed_at.is_(None))
        .order_by(Study.id, ReceivedFile.id)
    )
    return [(study_id, file) for study_id, file in session.execute(statement)]


def let_count(session: Session, study_id: int, model_id: int) -> int:
    """Let a model's readings of a study count from now on; those that counted until now stand beside them.

    The study's revision counts up once, so that one new report is due. Nothing is done where they count already.

    Returns:
        How many readings count that did not before.
    """
    mine = (
        select(Inference.id, Inference.file_id)
        .join(Inference.file)
        .join(ReceivedFile.instance)
        .where(Instance.study_id == study_id, Inference.model_id == model_id, Inference.beside)
    )
    found = session.execute(mine).all()
    if found:
        ids, files = [row.id for row in found], [row.file_id for row in found]
        session.execute(
            update(Inference).where(Inference.file_id.in_(files)).values(beside=Inference.id.not_in(ids)),
            execution_options={"synchronize_session": False},
        )
        session.get_one(Study, study_id).revision += 1
    return len(found)


def read_by_models(session: Session) -> list[ReadBy]:
    """Every model that has read an image, in the order in which they came."""
    images = func.count(Inference.id)
    counting = func.count(case((not_(Inference.beside), 1)))
    statement = select(Model, images, counting).outerjoin(Inference, Inference.model_id == Model.id).group_by(Model.id)
    rows = session.execute(statement.order_by(Model.id))
    return [ReadBy(model, read, counted) for model, read, counted in rows if read]


def _read_before(scope: Scope) -> list[ColumnElement[bool]]:
    """The conditions for a file of these studies that was read."""
    conditions = [ReceivedFile.outcome == Outcome.ANALYSED]
    if scope.study_ids is not None:
        conditions.append(Study.id.in_(scope.study_ids))
    if scope.since is not None:
        conditions.append(Study.last_received_at >= scope.since)
    return conditions


def _unread(manifest_sha256: str) -> ColumnElement[bool]:
    return ~_reading(manifest_sha256)


def _beside(manifest_sha256: str) -> ColumnElement[bool]:
    return _reading(manifest_sha256).where(Inference.beside)


def _reading(manifest_sha256: str) -> Exists:
    return exists().where(
        Inference.file_id == ReceivedFile.id,
        Inference.model_id == Model.id,
        Model.manifest_sha256 == manifest_sha256,
    )
