"""Images read again by another model: with real networks, a real child process and a real database."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pydicom
import pytest
from sqlalchemy import update

from agcnn_clinic.analysis import reanalyse
from agcnn_clinic.analysis.reanalyse import Reanalysis
from agcnn_clinic.database.audit import EventFilter, events
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.database.readings import Scope, outlook, read_by_models
from agcnn_clinic.database.tables import Finding, Inference, ReceivedFile, Study
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.reporting.due import studies_due
from agcnn_models.manifest import digest

EVERY = Scope()


class BusyReader:
    """A model while whose first batch is in the network something else happens."""

    def __init__(self, reader, happening):
        self._reader = reader
        self._happening = happening
        self.manifest, self.computed_on = reader.manifest, reader.computed_on

    def read_films(self, films):
        happening, self._happening = self._happening, lambda: None
        happening()
        return self._reader.read_films(films)


@pytest.fixture
def again(room, sandbox, other_reader):
    """Makes a reanalysis with the other model."""

    def make(*, counts=False, reader=other_reader, batch_size=2, gate=room.config.gate):
        return Reanalysis(room.database, room.storage, sandbox, reader, gate, batch_size, counts=counts)

    return make


def analyse(room) -> None:
    while room.analysis.step():
        pass


def join_studies(room, *names: str) -> None:
    """Let these films be of one study: that of the first."""
    with room.database.write() as session:
        files = [session.get_one(ReceivedFile, room.files()[name].id) for name in names]
        for file in files[1:]:
            file.instance.study = files[0].instance.study
        files[0].instance.study.revision = len(names)


def due_now(room) -> list[int]:
    with room.database.session() as session:
        return studies_due(session, datetime.now(UTC), 0)


def look_ahead(room, reader, *, counts):
    with room.database.session() as session:
        return outlook(session, digest(reader.manifest), EVERY, counts=counts)


def test_another_models_readings_stand_beside_and_change_nothing(room, send, again, other_reader):
    """Each image has two readings with other figures; the old rows, revisions and reports due are as they were."""
    send(1, 2, 3)
    analyse(room)
    studies = [(study.id, study.revision) for study in room.all(Study)]
    findings = [(row.id, row.probability) for row in room.all(Finding)]
    ahead = look_ahead(room, other_reader, counts=False)
    assert (ahead.studies, ahead.images, ahead.beside, ahead.removed) == (3, 3, 0, 0)
    told = []
    tally = again().run(EVERY, told.append)
    assert (tally.read, tally.tried, tally.counting, tally.studies) == (3, 3, 0, 0)
    assert told == [2, 3]
    assert [reading.beside for reading in room.all(Inference)] == [False] * 3 + [True] * 3
    assert [(study.id, study.revision) for study in room.all(Study)] == studies
    after = [(row.id, row.probability) for row in room.all(Finding)]
    assert after[: len(findings)] == findings
    assert [p for _, p in after[len(findings) :]] != [p for _, p in findings]
    with room.database.session() as session:
        assert [(one.model.name, one.images, one.counting) for one in read_by_models(session)] == [
            ("untrained", 3, 3),
            ("tighter", 3, 0),
        ]


def test_a_second_run_reads_nothing(room, send, again):
    """What the model has read it does not read again."""
    send(1, 2)
    analyse(room)
    again().run(EVERY)
    assert again().run(EVERY).tried == 0
    assert len(room.all(Inference)) == 4


def test_the_clinics_own_model_counts_and_one_report_a_study_is_due(room, send, again):
    """Of two films of one study and one of another, revisions count up once a study, when all its films are read."""
    send(1, 2, 3)
    analyse(room)
    join_studies(room, "1.dcm", "2.dcm")
    before = {study.id: study.revision for study in room.all(Study)}
    seen = []
    with room.database.write() as session:
        session.execute(update(Study).values(last_received_at=datetime.now(UTC) - timedelta(hours=1)))

    def look(tried):
        seen.append((tried, {study.id: study.revision - before[study.id] for study in room.all(Study)}))

    tally = again(counts=True, batch_size=1).run(EVERY, look)
    assert (tally.read, tally.counting, tally.studies) == (3, 3, 2)
    assert [counted[1] for tried, counted in seen if tried == 1] == [0]  # half of the first study is read
    assert {study.id: study.revision - before[study.id] for study in room.all(Study)} == {1: 1, 2: 0, 3: 1}
    readings = room.all(Inference)
    assert [(reading.model_id, reading.beside) for reading in readings] == [(1, True)] * 3 + [(2, False)] * 3
    assert sorted(due_now(room)) == [1, 3]


def test_a_model_that_read_beside_begins_to_count_without_reading_again(room, send, again, reader, other_reader):
    """After `models use` its readings are taken as they are, and those of the first model when the clinic goes back."""
    send(1, 2)
    analyse(room)
    again().run(EVERY)
    for back, model_id in ((other_reader, 2), (reader, 1)):
        ahead = look_ahead(room, back, counts=True)
        assert (ahead.studies, ahead.images, ahead.beside) == (2, 0, 2)
        tally = again(counts=True, reader=back).run(EVERY)
        assert (tally.read, tally.counting, tally.studies) == (0, 2, 2)
        assert {reading.model_id for reading in room.all(Inference) if not reading.beside} == {model_id}
        assert look_ahead(room, back, counts=True).studies == 0
    assert len(room.all(Inference)) == 4
    assert [study.revision for study in room.all(Study)] == [3, 3]


def test_a_process_that_dies_before_its_readings_count_is_made_good(room, send, again):
    """Its readings stand beside, no report is due of half a study; the next run reads the rest and lets all count."""
    send(1, 2, 3)
    analyse(room)
    join_studies(room, "1.dcm", "2.dcm", "3.dcm")

    class KilledError(BaseException):
        pass

    def killed(_tried):
        raise KilledError

    with pytest.raises(KilledError):
        again(counts=True, batch_size=1).run(EVERY, killed)
    assert [reading.beside for reading in room.all(Inference)] == [False, False, False, True]
    assert room.all(Study)[0].revision == 3
    tally = again(counts=True).run(EVERY)
    assert (tally.read, tally.counting, tally.studies) == (2, 3, 1)
    assert room.all(Study)[0].revision == 4


def test_the_trail_tells_which_readings_began_to_count(room, send, again, monkeypatch):
    """Also where nothing had to be read for it: per transaction the studies, the model and the number of images."""
    monkeypatch.setattr(reanalyse, "_STUDIES_AT_ONCE", 2)
    send(1, 2, 3)
    analyse(room)
    again().run(EVERY)
    for counting in (3, 0):
        assert again(counts=True).run(EVERY).counting == counting
    keys = [study.key for study in room.all(Study)]
    with room.database.connection() as connection:
        told = list(events(connection, EventFilter(event=AuditEvent.READINGS_CHANGED)))[::-1]
    assert [json.loads(row["studies"]) for row in told] == [keys[:2], keys[2:]]
    assert [json.loads(row["details"]) for row in told] == [
        {"images": 2, "model_id": 2},
        {"images": 1, "model_id": 2},
    ]


def test_two_at_once_store_each_reading_once(room, send, again, other_reader):
    """While a batch is in the network, another process reads everything: the slower one finds it done."""
    send(1, 2, 3)
    analyse(room)
    slow = again(counts=True, reader=BusyReader(other_reader, lambda: again(counts=True).run(EVERY)))
    tally = slow.run(EVERY)
    assert (tally.read, tally.meanwhile, tally.counting) == (0, 3, 0)
    readings = [(reading.file_id, reading.model_id) for reading in room.all(Inference)]
    assert len(readings) == len(set(readings)) == 6
    assert [study.revision for study in room.all(Study)] == [2, 2, 2]


def test_watch_goes_on_beside_it(room, send, again, other_reader):
    """A film that `watch` reads in the meantime has a reading that counts, and is left to the next run."""
    send(1)
    analyse(room)

    def meanwhile():
        send(2)
        analyse(room)

    tally = again(reader=BusyReader(other_reader, meanwhile)).run(EVERY)
    assert tally.read == 1
    assert [(reading.file_id, reading.beside) for reading in room.all(Inference)] == [(1, False), (2, False), (1, True)]
    assert again().run(EVERY).read == 1


def test_what_cannot_be_read_again_is_told_and_left(room, send, again, other_reader):
    """One file is lost, one was removed by retention, one the gate refuses now: they keep reading and outcome."""
    send(1, 2, 3, 4)
    analyse(room)
    join_studies(room, "2.dcm", "4.dcm")
    files = room.files()
    shutil.move(room.config.archive / files["1.dcm"].stored_path, room.config.root / "elsewhere")
    with room.database.write() as session:
        session.get_one(ReceivedFile, files["2.dcm"].id).removed_at = datetime.now(UTC)
    path = room.config.archive / files["3.dcm"].stored_path
    dataset = pydicom.dcmread(path)
    dataset.ViewPosition = "LL"
    dataset.save_as(path)
    assert look_ahead(room, other_reader, counts=True).removed == 1
    tally = again(counts=True).run(EVERY)
    assert (tally.read, tally.unreachable, dict(tally.refused)) == (1, 1, {ReasonCode.WRONG_VIEW: 1})
    assert {file.outcome for file in room.files().values()} == {"analysed"}
    assert [(r.file_id, r.model_id) for r in room.all(Inference) if not r.beside] == [(1, 1), (2, 1), (3, 1), (4, 2)]


def test_only_the_studies_asked_for_are_read(room, send, again):
    """By their ids, or by what came since a moment."""
    send(1, 2, 3)
    analyse(room)
    moment = datetime.now(UTC)
    with room.database.write() as session:
        session.get_one(Study, 2).last_received_at = moment + timedelta(seconds=1)
    again().run(Scope(since=moment))
    again().run(Scope([3]))
    again().run(Scope([]))
    assert [reading.file_id for reading in room.all(Inference)][3:] == [2, 3]
