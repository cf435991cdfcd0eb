"""What killed workers left half written goes while others go on working."""

from agcnn_clinic.durable import temporary_file


def leave(folder, name):
    """A file as a process leaves it that is killed while it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"half")
    return folder / name


def test_what_killed_workers_left_goes_and_what_is_being_written_stays(ward):
    """Temporary names, and the copies of a worker that is no longer there; nothing else of these folders."""
    left = [leave(folder, ".agcnn-clinic-abc.part") for folder in (ward.config.reports, ward.config.quarantine)]
    left.append(leave(ward.config.archive / ".incoming" / "dead", "copy.part"))
    other = leave(ward.config.reports, "letter.pdf")
    with temporary_file(ward.config.reports) as (_, being_written):
        assert ward.upkeep().step() == []
        assert being_written.exists()
    assert other.exists()
    assert not any(path.exists() for path in left)


def test_what_a_living_worker_copies_stays(ward):
    """Its own folder is left alone, and that of another one that is at work."""
    copies = [leave(ward.config.archive / ".incoming" / worker, "copy.part") for worker in ("mine", "living", "dead")]
    storage = type(ward.storage)(ward.config, "mine")
    storage.clear(living=["living"])
    assert [path.exists() for path in copies] == [True, True, False]


def test_a_clinic_that_has_taken_nothing_yet_has_nothing_to_clear(ward):
    """`agcnn-clinic retention` looks at a clinic in which no daemon has ever worked."""
    (ward.config.archive / ".incoming").rmdir()
    assert ward.upkeep().step() == []
