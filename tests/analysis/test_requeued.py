"""A quarantined file that is taken back while the clinic is at work."""

import shutil
from datetime import UTC, datetime

from agcnn_clinic.database.outcomes import decide
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.intake.requeue import requeue_files


def test_a_file_that_was_read_from_the_same_bytes_meanwhile_is_a_duplicate_of_that_one(room, write_film, sandbox):
    """Sent again after the machine had been too busy for it: its header is no other one, and no report is due of it."""
    write_film(room.config.root / "first.dcm", draw(1, (320, 320)).pixels)
    shutil.copy(room.config.root / "first.dcm", room.config.root / "again.dcm")
    room.inbox.take([room.config.root / "first.dcm"])
    with room.database.write() as session:
        decide(session.get_one(ReceivedFile, 1), ReasonCode.DEADLINE, now=datetime.now(UTC))
    room.inbox.take([room.config.root / "again.dcm"])
    room.analysis.step()
    (tried,) = requeue_files(room.database, room.storage, sandbox, [1])
    assert not tried.stays
    with room.database.session() as session:
        before = session.query(Study).one().revision
    room.analysis.step()
    first = room.files()["first.dcm"]
    assert (first.outcome, first.reason_code, first.details["same_as_file"]) == ("duplicate", "same_bytes", 2)
    assert first.reason.endswith("(it is file 2, analysed.)")
    with room.database.session() as session:
        assert session.query(Study).one().revision == before


def test_a_file_that_goes_back_into_quarantine_at_once_is_shown_there(room, write_film, sandbox, monkeypatch):
    """The daemon may read it as soon as its row is pending, before the command is done with it."""
    path, release = room.config.root / "cut.dcm", room.storage.release
    write_film(path, draw(1, (256, 256)).pixels)
    path.write_bytes(path.read_bytes()[:-1000])
    room.inbox.take([path])
    room.analysis.step()

    def shown() -> list[str]:
        return sorted(one.name for one in room.config.quarantine.iterdir())

    before = shown()
    assert len(before) == 2

    def meanwhile(quarantine_path: str) -> None:
        room.analysis.step()
        release(quarantine_path)

    monkeypatch.setattr(room.storage, "release", meanwhile)
    (tried,) = requeue_files(room.database, room.storage, sandbox, [1])
    assert not tried.stays
    room.analysis.step()
    assert room.files()["cut.dcm"].outcome == "quarantined"
    assert shown() == before
