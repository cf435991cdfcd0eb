"""What physicians say of the model's findings: recorded beside them, image by image and label by label.

A review is about one image and one label, whether or not the model assesses that. It names the reading that was looked
at, the one which counts, and so the model and what it said; where another model's counts since, the verdict still
stands, for it is about the image.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, load_only

from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.outcomes import OF_THE_PICTURE, names_another_patient
from agcnn_clinic.database.tables import Finding, Inference, Instance, ReceivedFile, Review, Study
from agcnn_clinic.domain import Outcome, Verdict
from agcnn_clinic.errors import UsageError
from agcnn_models.labels import NO_FINDING, PATHOLOGIES

Verdicts = Mapping[str, Verdict]
"""Label -> verdict; a label without a verdict is not there."""


@dataclass(frozen=True)
class ReviewRequest:
    """What a physician wants recorded of a study.

    Attributes:
        given: verdicts, label by label; CLEARED takes an earlier one back.
        confirm: whether the model's own findings are confirmed first: positive ones present, the others absent.
        reviewer: who says so.
        note: what else there is to say.
        instance: the one image that it is about, by its SOP Instance UID or the beginning of that; None: every image
            of the study that was read.
    """

    given: Verdicts
    confirm: bool
    reviewer: str
    note: str = ""
    instance: str | None = None


@dataclass(frozen=True)
class ReviewedImage:
    """What was recorded of one image."""

    sop_instance_uid: str
    model: str
    """Name and version of the model whose reading of it counts: that is what was looked at, and confirmed."""
    verdicts: Verdicts
    undecided: tuple[str, ...]
    """Labels that could not be confirmed, since the model has no threshold for them, or does not assess them."""
    patient_in_doubt: bool
    """Whether it may be another patient's than the study's: see `names_another_patient`."""


@dataclass(frozen=True)
class ReviewedFilm:
    """An image with verdicts, as training takes it.

    Attributes:
        stored_path: its file, below the archive.
        patient: the key of the first study that came of this patient: the same for all of them, and no name.
        patient_sex: as DICOM writes it.
        patient_birth_date: ISO 8601, or empty.
        study_date: ISO 8601, or empty.
        view_position: as DICOM writes it, or empty.
        verdicts: those that stand.
        reviewed_at: when the newest word on it was said.
    """

    stored_path: str
    patient: str
    patient_sex: str
    patient_birth_date: str
    study_date: str
    view_position: str
    verdicts: Verdicts
    reviewed_at: datetime


class ReviewedFilms(NamedTuple):
    """What training may take of a clinic's reviewed films, and what it may not."""

    films: list[ReviewedFilm]
    in_doubt: list[str]
    """For each film that may be another patient's than its study's, the study's key. Under the study's patient it would
    have that one's age and sex, and its own patient might be on both sides of a split."""
    removed: int
    """How many films have a verdict that stands and no bytes any more: retention removed them."""


def record_review(session: Session, study: Study, request: ReviewRequest, now: datetime) -> list[ReviewedImage]:
    """Add reviews of a study's images, in the caller's transaction; `study.revision` and so its report stay.

    Raises:
        UsageError: the study has no such image that was read, or the verdicts contradict each other.
    """
    standing = standing_reviews(session, study.id)
    reviewed = []
    images = _images(session, study, request.instance)
    in_doubt = _in_doubt(session, [instance.id for instance, _ in images])
    for instance, inference in images:
        current = {label: Verdict(review.verdict) for label, review in standing.get(instance.id, {}).items()}
        said = _confirmed(inference.findings) if request.confirm else {}
        verdicts = completed({**said, **request.given}, current)
        session.add_all(
            Review(
                inference=inference,
                label=label,
                verdict=verdict,
                reviewer=request.reviewer,
                note=request.note,
                reviewed_at=now,
            )
            for label, verdict in verdicts.items()
        )
        undecided = tuple(label for label in PATHOLOGIES if label not in verdicts) if request.confirm else ()
        model = f"{inference.model.name} {inference.model.version}"
        reviewed.append(ReviewedImage(instance.sop_instance_uid, model, verdicts, undecided, instance.id in in_doubt))
    return reviewed


def completed(given: Verdicts, current: Verdicts) -> dict[str, Verdict]:
    """Add to the verdicts given what follows from them for No Finding, so that it never contradicts the others.

    No Finding is present exactly when all fourteen are absent; while some are not known it is as it was said, unless
    that no longer holds.

    Raises:
        UsageError: No Finding is to be present beside a finding, or a verdict that is not there is to be cleared.
    """
    if gone := [label for label, verdict in given.items() if verdict is Verdict.CLEARED and label not in current]:
        raise UsageError(
            f"{gone[0]} has no verdict that could be cleared; `review STUDY --show` lists those there are."
        )
    verdicts = dict(given)
    said = given.get(NO_FINDING)
    found = [label for label in PATHOLOGIES if given.get(label, Verdict.ABSENT) is not Verdict.ABSENT]
    if said is Verdict.PRESENT:
        if found:
            raise UsageError(
                f"{NO_FINDING} cannot be present with {found[0]} {given[found[0]]}; leave one of them out."
            )
        return dict.fromkeys(PATHOLOGIES, Verdict.ABSENT) | verdicts
    before, after = _of_pathologies(current), _of_pathologies({**current, **given})
    if said is Verdict.UNCERTAIN and Verdict.PRESENT in after.values():
        raise UsageError(f"{NO_FINDING} cannot be uncertain while a finding is present; leave it out.")
    if said is None:
        until_now = current.get(NO_FINDING)
        implied = _implied(before, after, until_now)
        if implied is not None and implied is not until_now:
            verdicts[NO_FINDING] = implied
    return verdicts


def standing_reviews(session: Session, study_id: int) -> dict[int, dict[str, Review]]:
    """The reviews of a study that stand: instance id -> label -> the newest one, unless that cleared it."""
    newest: dict[int, dict[str, Review]] = {}
    of_study = _reviews(Instance.id, Review.label, Review).where(Study.id == study_id)
    for instance_id, label, review in session.execute(of_study):
        newest.setdefault(instance_id, {})[label] = review
    return {
        instance_id: {label: review for label, review in by_label.items() if review.verdict != Verdict.CLEARED}
        for instance_id, by_label in newest.items()
    }


def reviewed_films(session: Session) -> ReviewedFilms:
    """All images with a verdict that stands, in the order of their arrival, and why some of them are left out."""
    verdicts: dict[int, dict[str, Verdict]] = {}
    newest: dict[int, datetime] = {}
    places: dict[int, tuple[Study, ReceivedFile]] = {}
    everything = _reviews(Instance.id, Review.label, Review.verdict, Review.reviewed_at, Study, ReceivedFile)
    for instance_id, label, verdict, reviewed_at, study, file in session.execute(everything):
        verdicts.setdefault(instance_id, {})[label] = Verdict(verdict)
        newest[instance_id] = reviewed_at
        if file.removed_at is None:
            places[instance_id] = study, file
    pseudonyms = _pseudonyms(session)
    doubtful = _in_doubt(session, places)
    standing = {instance_id: _standing(said) for instance_id, said in verdicts.items() if _standing(said)}
    found = ReviewedFilms([], [], removed=len(standing.keys() - places.keys()))
    for instance_id in sorted(standing.keys() & places.keys()):
        study, file = places[instance_id]
        if instance_id in doubtful:
            found.in_doubt.append(study.key)
        else:
            found.films.append(
                ReviewedFilm(
                    stored_path=file.stored_path,
                    patient=pseudonyms.get(study.patient_id, study.key),
                    patient_sex=study.patient_sex,
                    patient_birth_date=study.patient_birth_date,
                    study_date=study.study_date,
                    view_position=str(file.header.get("view_position") or ""),
                    verdicts=standing[instance_id],
                    reviewed_at=newest[instance_id],
                )
            )
    return found


def _in_doubt(session: Session, instance_ids: Iterable[int]) -> set[int]:
    """Those of the images of which a file names another patient than the study."""
    # Only what the answer depends on: of a whole archive the headers alone are many.
    of_the_picture = (
        select(ReceivedFile)
        .where(ReceivedFile.reason_code.in_(OF_THE_PICTURE))
        .options(
            load_only(ReceivedFile.instance_id, ReceivedFile.reason_code, ReceivedFile.header, ReceivedFile.details)
        )
    )
    return {
        file.instance_id
        for part in in_parts(sorted(instance_ids))
        for file in session.scalars(of_the_picture.where(ReceivedFile.instance_id.in_(part)))
        if file.instance_id is not None and names_another_patient(file)
    }


def _reviews(*columns: Any) -> Select[Any]:
    """These columns of all reviews, the oldest first, each joined up to its study."""
    return (
        select(*columns)
        .select_from(Review)
        .join(Review.inference)
        .join(Inference.file)
        .join(ReceivedFile.instance)
        .join(Instance.study)
        .order_by(Review.id)
    )


def _images(session: Session, study: Study, named: str | None) -> list[tuple[Instance, Inference]]:
    """The reading that counts of each image of a study that was read, or of the one that is named."""
    # As in study_summary, and in reports: the newest of those that do not stand beside.
    counting = (
        select(func.max(Inference.id))
        .join(Inference.file)
        .join(ReceivedFile.instance)
        .where(Instance.study_id == study.id, ReceivedFile.outcome == Outcome.ANALYSED, ~Inference.beside)
        .group_by(Instance.id)
    )
    inferences = session.scalars(select(Inference).where(Inference.id.in_(counting)).order_by(Inference.id)).all()
    images = [(inference.file.instance, inference) for inference in inferences if inference.file.instance]
    if not images:
        raise UsageError(f"No image of the study {study.key} was read; `agcnn-clinic show {study.key}` says why.")
    uids = [instance.sop_instance_uid for instance, _ in images]
    chosen = uids if named is None else [uid for uid in uids if uid == named] or _beginning(uids, named)
    return [(instance, inference) for instance, inference in images if instance.sop_instance_uid in chosen]


def _beginning(uids: Sequence[str], named: str) -> list[str]:
    found = [uid for uid in uids if named and uid.startswith(named)]
    if len(found) != 1:
        listed = "".join(f"\n  {uid}" for uid in uids)
        raise UsageError(f"{named!r} names {'no' if not found else 'more than one'} image that was read:{listed}")
    return found


def _confirmed(findings: Iterable[Finding]) -> dict[str, Verdict]:
    """The model's calls as verdicts; a label without a threshold has none. No Finding follows from the others."""
    return {
        finding.label: Verdict.PRESENT if finding.positive else Verdict.ABSENT
        for finding in findings
        if finding.positive is not None and finding.label != NO_FINDING
    }


def _implied(before: Verdicts, after: Verdicts, said: Verdict | None) -> Verdict | None:
    """What No Finding must be, given the fourteen before and after a review and what was said of it until now."""
    if Verdict.PRESENT in after.values():
        return Verdict.ABSENT
    if len(after) == len(PATHOLOGIES) and set(after.values()) == {Verdict.ABSENT}:
        return Verdict.PRESENT
    followed = said is Verdict.PRESENT or (said is Verdict.ABSENT and Verdict.PRESENT in before.values())
    if not followed:
        return said
    return Verdict.UNCERTAIN if Verdict.UNCERTAIN in after.values() else Verdict.CLEARED


def _of_pathologies(verdicts: Verdicts) -> dict[str, Verdict]:
    return {label: verdict for label, verdict in _standing(verdicts).items() if label != NO_FINDING}


def _standing(verdicts: Verdicts) -> dict[str, Verdict]:
    return {label: verdict for label, verdict in verdicts.items() if verdict is not Verdict.CLEARED}


def _pseudonyms(session: Session) -> dict[str, str]:
    """Patient ID -> the key of the first study that came under it; studies without a Patient ID are left out."""
    first = select(func.min(Study.id)).where(Study.patient_id != "").group_by(Study.patient_id)
    studies = session.scalars(select(Study).where(Study.id.in_(first)))
    return {study.patient_id: study.key for study in studies}
