"""How bytes are kept."""

import fcntl
import hashlib
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.config import Config
from agcnn_clinic.domain import MediaType
from agcnn_clinic.durable import side_by_side, write_atomically
from agcnn_clinic.errors import StorageError
from agcnn_clinic.staging import HEAD_BYTES
from agcnn_clinic.storage import Storage


@pytest.fixture
def config(tmp_path):
    config = Config()
    config._root = tmp_path
    return config


@pytest.fixture
def storage(config):
    storage = Storage(config)
    storage.prepare()
    return storage


def all_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@given(data=st.binary(max_size=3 * HEAD_BYTES))
def test_a_staged_file_is_its_source_byte_for_byte(tmp_path_factory, data):
    """Size, hash, head and bytes are those of the source."""
    folder = tmp_path_factory.mktemp("clinic")
    config = Config()
    config._root = folder
    storage = Storage(config)
    storage.prepare()
    source = folder / "film"
    source.write_bytes(data)
    staged = storage.stage(source, "film")
    assert staged.path.read_bytes() == data
    assert (staged.size, staged.head) == (len(data), data[:HEAD_BYTES])
    assert staged.sha256 == hashlib.sha256(data).hexdigest()


def test_an_archived_file_is_named_by_its_content_and_readable_by_its_owner_alone(storage, config, tmp_path):
    """The sender's name appears nowhere on the disk, and nobody else can read the film."""
    source = tmp_path / "Doe^Jane.dcm"
    source.write_bytes(b"film")
    staged = storage.stage(source, source.name)
    relative = storage.keep(staged, MediaType.DICOM)
    digest = hashlib.sha256(b"film").hexdigest()
    assert all_files(config.archive) == [relative] == [f"{digest[:2]}/{digest}.dcm"]
    assert stat.S_IMODE(storage.archived(relative).stat().st_mode) == 0o600
    assert source.exists()


def test_the_same_bytes_are_kept_once(storage, config, tmp_path):
    """Two arrivals of one content share one archived file."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"film")
        storage.keep(storage.stage(tmp_path / name, name), MediaType.PNG)
    assert len(all_files(config.archive)) == 1


def test_an_arrival_is_the_same_only_for_the_same_file(storage, tmp_path):
    """Found again it is the same arrival; written anew, renamed or changed it is another."""
    source = tmp_path / "film"
    source.write_bytes(b"film")
    first = storage.stage(source, "film").arrival
    assert storage.stage(source, "film").arrival == first
    assert storage.stage(source, "other").arrival != first
    os.utime(source, ns=(1, 1))
    assert storage.stage(source, "film").arrival != first


def test_a_link_or_a_pipe_is_not_followed(storage, tmp_path):
    """What became a link or a pipe after the listing is left alone, and nothing hangs."""
    target = tmp_path / "secret"
    target.write_bytes(b"secret")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "gone"):
        with pytest.raises(StorageError):
            storage.stage(tmp_path / name, name)


def test_preparing_clears_what_a_killed_run_left_half_copied(storage, config):
    """A half copy is of no use: its source is still in the inbox."""
    (config.archive / ".incoming" / "half.part").write_bytes(b"ha")
    storage.prepare()
    assert all_files(config.archive) == []


def test_preparing_leaves_alone_what_a_living_worker_copies(config, tmp_path):
    """Of three workers one is dead: its half copy goes; a worker whose folder went makes it again."""
    film = tmp_path / "film"
    film.write_bytes(b"film")
    workers = {name: Storage(config, name) for name in ("new", "living", "dead")}
    for name in ("living", "dead"):
        workers[name].prepare(workers)
        workers[name].stage(film, "film")
    workers["new"].prepare({"living"})
    (left,) = all_files(config.archive)
    assert left.startswith(".incoming/living/")
    assert workers["dead"].stage(film, "film").path.is_file()


@pytest.mark.parametrize("worker", ["", "one"])
def test_nothing_is_written_where_the_archives_disk_has_gone(config, tmp_path, worker):
    """Unmounted while the clinic works, it leaves an empty mount point, which stays so until it is back."""
    storage = Storage(config, worker)
    storage.prepare()
    (tmp_path / "film").write_bytes(b"film")
    config.archive.rename(tmp_path / "disk")
    config.archive.mkdir()
    with pytest.raises(StorageError, match="it is tried again"):
        storage.stage(tmp_path / "film", "film")
    assert list(config.archive.iterdir()) == []
    config.archive.rmdir()
    (tmp_path / "disk").rename(config.archive)
    assert storage.stage(tmp_path / "film", "film").path.is_file()


def test_preparing_clears_what_a_killed_write_left_and_not_one_that_goes_on(storage, config):
    """A temporary file of a dead process goes; one that a living process writes is locked, and stays."""
    dead, living = (config.reports / f".agcnn-clinic-{name}.part" for name in ("dead", "living"))
    for path in (dead, living):
        path.write_bytes(b"half")
    with living.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        storage.prepare()
        assert (dead.exists(), living.exists()) == (False, True)
    storage.prepare()
    assert not living.exists()


def test_a_quarantine_on_another_disk_holds_a_copy(storage, config, tmp_path, mount):
    """Where no hard link can be made the bytes are copied, for their owner alone, with nothing temporary beside."""
    mount(config.quarantine, "-t", "tmpfs", "tmpfs")
    (tmp_path / "broken").write_bytes(b"broken")
    relative = storage.keep(storage.stage(tmp_path / "broken", "broken"), MediaType.UNKNOWN)
    name = storage.quarantine(relative, {"reason_code": "unrecognised"})
    assert (config.quarantine / name).read_bytes() == b"broken"
    assert stat.S_IMODE((config.quarantine / name).stat().st_mode) == 0o600
    assert all_files(config.quarantine) == sorted([name, f"{name}.reason.json"])


def test_a_quarantined_file_lies_beside_its_reason_and_can_be_released(storage, config, tmp_path):
    """A person finds the bytes and the reason; taking it back leaves the archive as it was."""
    (tmp_path / "broken").write_bytes(b"broken")
    relative = storage.keep(storage.stage(tmp_path / "broken", "broken"), MediaType.UNKNOWN)
    for _ in range(2):  # doing it again after a crash changes nothing
        name = storage.quarantine(relative, {"reason_code": "unrecognised"})
    assert (config.quarantine / name).read_bytes() == b"broken"
    reason = json.loads((config.quarantine / f"{name}.reason.json").read_text())
    assert reason == {"reason_code": "unrecognised"}
    storage.release(name)
    assert all_files(config.quarantine) == []
    assert storage.archived(relative).read_bytes() == b"broken"


@given(things=st.lists(st.integers(), max_size=20))
def test_what_is_done_side_by_side_is_given_in_order(things):
    """However many there are: whose sync failed must not be another one."""
    assert side_by_side(str, things) == list(map(str, things))


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    """A write that cannot be finished changes nothing and leaves no temporary file."""
    path = tmp_path / "report.pdf"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert all_files(tmp_path) == ["report.pdf"]
