"""A quarantined file that is taken back while the clinic is at work."""

from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.intake.requeue import requeue_files


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
