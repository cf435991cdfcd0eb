"""Files that come together share one transaction: the rows are those that they would get one after another."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, update

from agcnn_clinic import staging
from agcnn_clinic.database.many import VARIABLES, in_parts
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Instance, ReceivedFile, Study
from agcnn_clinic.domain import Header, InstanceDescription, MediaType, ReasonCode, StudyDescription
from agcnn_clinic.durable import fsync_file
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.intake.accept import accept
from agcnn_clinic.intake.discover import Walk
from agcnn_clinic.intake.items import Group
from agcnn_clinic.intake.register import Registration, register

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER = datetime(2025, 1, 1, tzinfo=UTC)


def test_the_second_of_two_equal_films_in_a_batch_names_the_first(desk, film_of):
    """Its row says which file it is the same as, by an id that the first one got in the same transaction."""
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        film_of(name, 1, 1, seed=name == "b.dcm")
    first, other, second = desk.taken_in_one_batch()
    assert [row.outcome for row in (first, other, second)] == ["pending", "pending", "duplicate"]
    assert (second.reason_code, second.details) == ("same_bytes", {"same_as_file": first.id})
    assert second.reason.endswith(f"(it is file {first.id}.)"), "what is pending now is not so for ever"
    assert second.stored_path == first.stored_path


@pytest.mark.parametrize("in_one_group", [False, True])
def test_of_two_equal_broken_files_in_a_batch_one_is_laid_out(desk, in_one_group):
    """The second one is a duplicate of a quarantined file, and no second file for a person to look at."""
    for name in ("a.txt", "b.txt"):
        (desk.config.inbox / name).write_bytes(b"no image")
    if in_one_group:
        list(accept(desk.intake, [[Group(tuple(Walk(desk.config.inbox, ())), remove=True)]], lambda: NOW))
    first, second = desk.taken_in_one_batch()
    assert (first.outcome, second.reason_code) == ("quarantined", "same_bytes")
    assert f"it is file {first.id}, quarantined" in second.reason
    assert "nothing needs to be done" not in second.reason
    assert (bool(first.quarantine_path), second.quarantine_path) == (True, "")
    assert len(list(desk.config.quarantine.iterdir())) == 2


def test_films_of_one_new_study_in_a_batch_share_its_row(desk, film_of):
    """Three films of two instances are one study, whose patient is the first film's."""
    film_of("a.dcm", 1, 1, seed=1, PatientID="first")
    film_of("b.dcm", 1, 2, seed=2, PatientID="second")
    film_of("c.dcm", 1, 1, seed=3, PatientID="third")
    one, other, again = desk.taken_in_one_batch()
    assert one.instance_id == again.instance_id != other.instance_id
    assert one.instance.study_id == other.instance.study_id
    assert one.instance.study.patient_id == "first"
    with desk.database.session() as session:
        assert len(session.scalars(select(Study)).all()) == 1
        assert len(session.scalars(select(Instance)).all()) == 2


def test_a_group_that_cannot_be_laid_out_has_no_rows_and_holds_nobody_up(desk, film_of):
    """Of its two files one was laid out: neither has a row, and one outside with its bytes is no duplicate of it."""
    contents = {"folder/1.txt": b"broken", "folder/2.txt": b"broken, too", "z.txt": b"broken"}
    for name, content in contents.items():
        (desk.config.inbox / name).parent.mkdir(exist_ok=True)
        (desk.config.inbox / name).write_bytes(content)
    film_of("film.dcm", 1, 1)
    in_the_way = desk.config.quarantine / f"{hashlib.sha256(b'broken, too').hexdigest()}.bin.reason.json"
    in_the_way.mkdir()
    found = {file.name: file for file in Walk(desk.config.inbox, ())}
    folder = Group((found["folder/1.txt"], found["folder/2.txt"]), remove=True)
    rest = [Group((found[name],), remove=True) for name in ("z.txt", "film.dcm")]
    (taken,) = accept(desk.intake, [[folder, *rest]], lambda: NOW)
    assert (taken.files, taken.left) == (2, 2)
    assert desk.outcomes() == {"z.txt": ("quarantined", "unrecognised"), "film.dcm": ("pending", "")}
    assert sorted(path.name for path in (desk.config.inbox / "folder").iterdir()) == ["1.txt", "2.txt"]
    in_the_way.rmdir()
    list(accept(desk.intake, [[folder]], lambda: NOW))
    assert desk.outcomes()["folder/1.txt"] == ("duplicate", "same_bytes")
    assert desk.outcomes()["folder/2.txt"] == ("quarantined", "unrecognised")


def test_a_group_that_cannot_be_synced_stays_and_holds_nobody_up(desk, film_of, monkeypatch):
    """The disk says only when it is asked to keep a film's bytes that it cannot: that film is found again."""
    for number, name in enumerate(("a.dcm", "b.dcm", "c.dcm")):
        film_of(name, number, 1)
    full = hashlib.sha256((desk.config.inbox / "b.dcm").read_bytes()).hexdigest()

    def fails(path) -> None:
        if hashlib.sha256(path.read_bytes()).hexdigest() == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync_file(path)

    with monkeypatch.context() as patched:
        patched.setattr(staging, "fsync_file", fails)
        desk.take_in_one_batch()
    assert set(desk.outcomes()) == {"a.dcm", "c.dcm"}
    assert [path.name for path in desk.config.inbox.iterdir()] == ["b.dcm"]
    desk.take_in_one_batch()
    assert set(desk.outcomes()) == {"a.dcm", "b.dcm", "c.dcm"}
    assert list((desk.config.archive / ".incoming").rglob("*.part")) == []


def test_bytes_that_retention_removed_are_there_again_for_all_their_rows(desk, film_of):
    """Files of a batch bring back their own bytes, and no other's."""
    for number, name in enumerate(("a.dcm", "b.dcm", "c.dcm")):
        film_of(name, number, 1)
    desk.take_in_one_batch()
    with desk.database.write() as session:
        session.execute(update(ReceivedFile).values(removed_at=EARLIER))
    film_of("a.dcm", 0, 1)
    film_of("b.dcm", 1, 1)
    assert [row.removed_at for row in desk.taken_in_one_batch()] == [None, None, EARLIER, None, None]


@contextmanager
def statements(desk) -> Iterator[list[str]]:
    """What is asked of the database in the block."""
    asked: list[str] = []

    def ask(_connection, _cursor, statement, *_) -> None:
        asked.append(statement)

    event.listen(desk.database._engine, "before_cursor_execute", ask)
    try:
        yield asked
    finally:
        event.remove(desk.database._engine, "before_cursor_execute", ask)


def test_a_batch_asks_as_little_for_many_files_as_for_few(desk, film_of):
    """New ones, broken ones, those of a known study, those known themselves: a file costs its INSERTs, and no more."""

    def take(new_rows: int) -> int:
        """Take what lies there: how many statements that was, without those that add these rows."""
        with statements(desk) as asked:
            desk.take_in_one_batch(datetime.now(UTC))
        # PostgreSQL takes many rows in one; SQLite does not say which of them got which id.
        inserts = [one for one in asked if one.startswith("INSERT") and "audit_event" not in one]
        assert len(inserts) <= new_rows
        return len(asked) - len(inserts)

    def drop(count: int, series: int) -> tuple[int, int]:
        for number in range(count):
            film_of(f"{number:03}.dcm", 100 * series + number, 1)
            (desk.config.inbox / f"{number:03}.txt").write_text(f"broken {series} {number}")
        new = take(4 * count)
        for number in range(count):
            film_of(f"{number:03}.dcm", 100 * series + number, 1, seed=1)
            film_of(f"{number:03}-again.dcm", 100 * series + number, 1)
        known = take(2 * count)
        assert [row.outcome for row in desk.rows()[-2 * count :]] == ["duplicate", "pending"] * count
        return new, known

    drop(1, 1)  # the first use of a connection asks more
    assert drop(3, 2) == drop(19, 3)


def test_values_are_asked_for_in_parts_that_fit_into_a_query():
    """All of them, in order, and no more at a time than a database takes."""
    values = list(range(2 * VARIABLES + 1))
    parts = list(in_parts(values))
    assert [len(part) for part in parts] == [VARIABLES, VARIABLES, 1]
    assert [value for part in parts for value in part] == values
    assert list(in_parts([])) == []


_ERRORS = [None, None, ReasonCode.UNREADABLE_HEADER, ReasonCode.DEADLINE, ReasonCode.MEDIA_DIRECTORY]
_FILE = st.tuples(
    st.integers(0, 4),  # bytes
    st.sampled_from(_ERRORS),
    st.integers(0, 2),  # study
    st.integers(0, 3),  # instance
    st.booleans(),  # whether it can be laid out
)
_GROUPS = st.lists(st.lists(_FILE, min_size=1, max_size=3), min_size=1, max_size=8)


def _registration(number: int, content: int, error: ReasonCode | None, study: int, instance: int, fits: bool):
    def quarantine(stored_path: str, reason: dict[str, str]) -> str:
        if not fits:
            raise StorageError("The quarantine is full.")
        return f"{stored_path}, {reason['reason_code']}"

    patient = StudyDescription(f"1.2.{study}", patient_id=f"of file {number}")
    digest = hashlib.sha256(bytes([content])).hexdigest()
    return Registration(
        original_name=f"{number}",
        media_type=MediaType.DICOM,
        size=1,
        sha256=digest,
        arrival=f"{number}",
        stored_path=f"{digest[:2]}/{digest}.dcm",
        header=Header(patient, InstanceDescription("", f"1.3.{instance}")) if error is None else None,
        error=None if error is None else ImageError(error, "as drawn"),
        quarantine=quarantine,
    )


@pytest.fixture
def database(url):
    """An empty database."""
    with open_database(url) as database:
        yield database


def _rows(database, batches) -> list[tuple]:
    """The rows that groups get which come in these batches, each with a transaction of its own; gone afterwards."""
    for batch in batches:
        with database.write() as session:
            register(session, batch, NOW)
    with database.write() as session:
        files = list(session.scalars(select(ReceivedFile).order_by(ReceivedFile.id)))
        name = {file.id: file.original_name for file in files}
        rows = []
        for file in files:
            study = None if file.instance is None else file.instance.study
            rows.append(
                (
                    file.original_name,
                    file.outcome,
                    file.reason_code,
                    file.quarantine_path,
                    name.get(file.details.get("same_as_file")),
                    study and (file.instance.sop_instance_uid, study.study_instance_uid),
                    study and (study.patient_id, study.revision, study.last_received_at),
                )
            )
        session.execute(delete(ReceivedFile))
        session.execute(delete(Instance))
        session.execute(delete(Study))
    return rows


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=_GROUPS)
def test_groups_get_the_same_rows_in_one_batch_as_one_after_another(database, groups):
    """Whatever they share (bytes, a study, an instance), and whichever of them cannot be laid out."""
    numbered = iter(range(100))
    registrations = [[_registration(next(numbered), *file) for file in group] for group in groups]
    together = _rows(database, [registrations])
    assert together == _rows(database, [[group] for group in registrations])
    taken = {row[0] for row in together}
    for group in registrations:
        assert len(taken & {one.original_name for one in group}) in (0, len(group))


def test_a_file_that_no_time_was_left_for_does_not_speak_for_its_bytes(database):
    """The same bytes in the same batch are taken: another try may go well."""
    late = _registration(0, 1, ReasonCode.DEADLINE, 0, 0, fits=True)
    sound = replace(_registration(1, 1, None, 0, 0, fits=True), stored_path=late.stored_path)
    assert [row[1] for row in _rows(database, [[[late], [sound]]])] == ["quarantined", "pending"]
