"""What retention lets go, and what it never does."""

import pytest
from sqlalchemy import update

from agcnn_clinic.database.tables import Model, ReceivedFile
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.upkeep.plan import Disk, Kind, plan

ALL = {"archive_days": 30, "quarantine_days": 30, "reports_days": 30}


def going(ward, **retention):
    return {(one.candidate.kind, one.candidate.ids) for one in ward.upkeep(**retention).planned()}


def test_as_it_comes_nothing_ever_goes(ward):
    """All is off by default, whatever its age and however full the disk."""
    ward.reported_study(days_ago=10_000)
    ward.disk = Disk(1, 1000, 0)
    assert going(ward) == set()


def test_what_is_old_and_delivered_goes(ward):
    """Each kind by its own days; what is younger stays."""
    _, file, report = ward.reported_study()
    ward.reported_study(days_ago=10)
    garbage = ward.file(None, ReasonCode.UNRECOGNISED)
    companion = ward.file(None, ReasonCode.MEDIA_COMPANION)
    assert going(ward, archive_days=30) == {(Kind.ARCHIVE, (file,)), (Kind.ARCHIVE, (companion,))}
    assert going(ward, quarantine_days=30) == {(Kind.QUARANTINE, (garbage,))}
    assert going(ward, reports_days=30) == {(Kind.REPORTS, (report,))}
    assert len(going(ward, **ALL)) == 4
    assert going(ward, archive_days=100) == {(Kind.ARCHIVE, (file,)), (Kind.ARCHIVE, (companion,))}
    assert going(ward, archive_days=101) == set()
    assert [one.why for one in ward.upkeep(reports_days=30).planned()] == ["older than 30 days"]


def test_nothing_of_a_study_goes_while_an_image_is_pending(ward):
    """Neither its image that was read, nor its refused one, nor its report."""
    study, _, _ = ward.reported_study()
    ward.file(study, ReasonCode.WRONG_VIEW)
    ward.report(study)
    assert len(going(ward, **ALL)) == 4
    ward.file(study, None)
    assert going(ward, **ALL) == set()


def test_nothing_of_a_study_goes_while_its_report_is_due(ward):
    """A revision that no report covers keeps all of it, its quarantined image too."""
    study, _, _ = ward.reported_study()
    ward.file(study, ReasonCode.UNREADABLE_PIXELS)
    assert going(ward, **ALL) == set()
    ward.report(study)
    assert len(going(ward, **ALL)) == 4


def test_a_report_by_request_is_none_that_was_due(ward):
    """A version that was made with another model covers nothing."""
    study = ward.study()
    ward.file(study)
    with ward.database.write() as session:
        session.add(
            Model(
                id=1,
                name="m",
                version="1",
                weights_sha256="x",
                manifest={},
                manifest_sha256="y",
                registered_at=ward.now,
            )
        )
    ward.report(study, model_id=1)
    assert going(ward, **ALL) == set()


def test_a_study_of_which_nothing_was_read_has_no_report_to_wait_for(ward):
    """Refused images go by their age: they were decided, and there is nothing to deliver."""
    study = ward.study()
    lateral = ward.file(study, ReasonCode.WRONG_VIEW)
    assert going(ward, **ALL) == {(Kind.ARCHIVE, (lateral,))}


def test_the_images_of_a_study_go_together(ward):
    """Their age counts from when the last one came."""
    study = ward.study(days_ago=10)
    ward.file(study, days_ago=100)
    ward.file(study, days_ago=10)
    ward.report(study)
    assert going(ward, archive_days=30) == set()
    assert len(going(ward, archive_days=9)) == 2


def test_shared_bytes_go_only_when_all_their_rows_may(ward):
    """A duplicate and its first file share one archived file, and go as one; a pending one keeps both."""
    _, _, _ = ward.reported_study()
    first = ward.file(None, ReasonCode.MEDIA_COMPANION, content=b"same")
    second = ward.file(None, ReasonCode.SAME_BYTES, content=b"same", days_ago=5)
    assert (Kind.ARCHIVE, (first, second)) not in going(ward, archive_days=30)
    assert (Kind.ARCHIVE, (first, second)) in going(ward, archive_days=4)
    ward.file(None, None, content=b"same")
    assert len(going(ward, archive_days=4)) == 1


@pytest.mark.parametrize("of_use", [ReasonCode.READ, ReasonCode.WRONG_VIEW, ReasonCode.UNPACKED])
def test_bytes_in_quarantine_and_of_use_elsewhere_need_both_days(ward, of_use):
    """A PNG that was quarantined for its study.toml and read or refused when it came again, and a zip that was not."""
    ward.file(None, ReasonCode.STUDY_TOML, content=b"png")
    study = ward.study()
    ward.file(study, of_use, content=b"png")
    ward.report(study)
    assert going(ward, quarantine_days=30) == set()
    assert going(ward, archive_days=30) == set()
    assert len(going(ward, archive_days=30, quarantine_days=30)) == 1


def test_a_zip_goes_when_all_in_it_is_done_with(ward):
    """At any depth: one undecided image keeps the zips around it."""
    study = ward.study()
    outer = ward.file(None, ReasonCode.UNPACKED, media_type=MediaType.ZIP)
    inner = ward.file(None, ReasonCode.UNPACKED, media_type=MediaType.ZIP, container_id=outer)
    film = ward.file(study, container_id=inner)
    assert going(ward, **ALL) == set()
    ward.report(study)
    assert {ids for kind, ids in going(ward, **ALL) if kind is Kind.ARCHIVE} == {(outer,), (inner,), (film,)}
    with ward.database.write() as session:
        session.execute(update(ReceivedFile).where(ReceivedFile.id == outer).values(outcome="pending"))
    assert {ids for kind, ids in going(ward, **ALL) if kind is Kind.ARCHIVE} == {(inner,), (film,)}


def test_a_full_disk_lets_the_oldest_go_until_there_is_room(ward):
    """As many bytes as are missing, from the oldest on; never what is undelivered, whatever that means for the disk."""
    middle, _, oldest = (
        ward.file(None, ReasonCode.WRONG_VIEW, content=letter * 100, days_ago=days)
        for letter, days in ((b"a", 2), (b"b", 1), (b"c", 3))
    )
    study = ward.study()
    ward.file(study, content=b"d" * 100)
    ward.disk = Disk(1, 1000, 20)
    settings = {"min_free_percent": 20}
    planned = ward.upkeep(**settings).planned()
    assert [one.candidate.ids for one in planned] == [(oldest,), (middle,)]
    assert {one.why for one in planned} == {"less than 20 % of the disk is free"}
    ward.disk = Disk(1, 1000, 200)
    assert going(ward, **settings) == set()
    ward.disk = Disk(1, 1000, 0)
    assert len(going(ward, min_free_percent=90)) == 3


def test_a_full_disk_takes_only_from_where_it_may(ward):
    """Quarantine and reports only where free_disk_of names them, in its order; what goes by age counts for room."""
    _, film, report = ward.reported_study(days_ago=3)
    garbage = ward.file(None, ReasonCode.UNRECOGNISED, content=b"g" * 100)
    ward.disk = Disk(1, 1000, 100)
    settings = {"min_free_percent": 20}
    assert going(ward, **settings) == {(Kind.ARCHIVE, (film,))}
    assert going(ward, **settings, free_disk_of=("quarantine", "archive")) == {(Kind.QUARANTINE, (garbage,))}
    assert going(ward, **settings, free_disk_of=("reports",)) == {(Kind.REPORTS, (report,))}
    assert going(ward, **settings, quarantine_days=30) == {(Kind.QUARANTINE, (garbage,))}


def test_a_full_disk_takes_what_is_in_quarantine_and_of_use_elsewhere_only_from_both(ward):
    """The one film of a study is not taken because its PNG lies in quarantine, too."""
    quarantined = ward.file(None, ReasonCode.STUDY_TOML, content=b"png")
    study = ward.study()
    film = ward.file(study, content=b"png")
    ward.report(study)
    ward.disk = Disk(1, 1000, 0)
    assert going(ward, min_free_percent=20, free_disk_of=("quarantine",)) == set()
    assert going(ward, min_free_percent=20, free_disk_of=("archive",)) == set()
    both = {(Kind.QUARANTINE, (quarantined, film))}
    assert going(ward, min_free_percent=20, free_disk_of=("archive", "quarantine")) == both


def test_a_full_disk_takes_nothing_from_another_one(ward):
    """Where films and reports lie on two disks, each is held against its own, with what goes from it by age."""
    _, film, report = ward.reported_study(days_ago=3)
    full, empty = Disk(1, 1000, 150), Disk(2, 1000, 1000)

    def goes(films, reports, **retention):
        disks = {ward.config.archive: films, ward.config.quarantine: films, ward.config.reports: reports}
        update = {"min_free_percent": 20, "free_disk_of": ("archive", "reports")} | retention
        config = ward.config.model_copy(update={"retention": ward.config.retention.model_copy(update=update)})
        with ward.database.session() as session:
            return [(one.candidate.kind, one.candidate.ids) for one in plan(session, config, ward.now, disks.get)]

    assert goes(films=full, reports=empty) == [(Kind.ARCHIVE, (film,))]
    assert goes(films=empty, reports=full) == [(Kind.REPORTS, (report,))]
    assert goes(films=full, reports=full) == [(Kind.ARCHIVE, (film,)), (Kind.REPORTS, (report,))]
    by_age = (Kind.REPORTS, (report,))
    assert goes(films=full, reports=empty, reports_days=1) == [by_age, (Kind.ARCHIVE, (film,))]
    assert goes(films=full, reports=full, reports_days=1) == [by_age]


def test_what_goes_by_age_makes_room_once(ward):
    """Its bytes are counted, and then the oldest of the others has to go for what is still missing."""
    younger, old = (
        ward.file(None, ReasonCode.WRONG_VIEW, content=letter * 100, days_ago=days)
        for letter, days in ((b"a", 3), (b"b", 100))
    )
    ward.file(None, ReasonCode.WRONG_VIEW, content=b"c" * 100, days_ago=2)
    ward.disk = Disk(1, 1000, 0)
    planned = ward.upkeep(archive_days=30, min_free_percent=20).planned()
    assert [one.candidate.ids for one in planned] == [(old,), (younger,)]


@pytest.mark.parametrize("removed", ["file", "report"])
def test_what_is_gone_does_not_go_again(ward, removed):
    """A row that says so is no candidate."""
    ward.reported_study()
    upkeep = ward.upkeep(**({"archive_days": 30} if removed == "file" else {"reports_days": 30}))
    assert len(upkeep.step()) == 1
    assert upkeep.planned() == []
    assert upkeep.step() == []


@pytest.mark.sqlite_only("how SQLite tells its plan")
def test_planning_reads_no_outcome_of_other_studies(ward):
    """On a large clinic the plan must not look at all pending or analysed files once for each study."""
    from sqlalchemy import event

    from agcnn_clinic.upkeep.plan import candidates

    statements = []
    with ward.database.session() as session:
        engine = session.get_bind()
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2:4]))
        list(candidates(session))
        plans = [
            row[3]
            for statement, parameters in statements
            if statement.startswith("SELECT")
            for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert plans
    assert not [step for step in plans if "ix_received_file_outcome_id" in step and "instance" in step]
    assert any("ix_received_file_instance_id" in step for step in plans)
