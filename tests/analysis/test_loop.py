"""The analysis loop's step, with a real network, real child processes and a real database."""

import shutil
from dataclasses import dataclass

import numpy as np
import pydicom
import pytest
from sqlalchemy import select, update

from agcnn_clinic.analysis.infer import load_reader
from agcnn_clinic.analysis.loop import MAX_ATTEMPTS, Analysis, due
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import Inference, Model, ReceivedFile
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.errors import ModelUnavailableError
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.sandbox import Sandbox
from agcnn_clinic.storage import Storage
from agcnn_models.labels import LABELS


@dataclass(frozen=True)
class Room:
    """A clinic with an intake that takes at once and an analysis of two films a batch."""

    config: Config
    database: Database
    inbox: Inbox
    analysis: Analysis

    def files(self) -> dict[str, ReceivedFile]:
        """The received files by name."""
        with self.database.session() as session:
            return {file.original_name: file for file in session.scalars(select(ReceivedFile))}


@pytest.fixture(scope="module")
def reader(small_bundle):
    """The small model, loaded once."""
    return load_reader(small_bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def sandbox():
    """One child process for all tests of this file."""
    with Sandbox(1, seconds=60, memory_mb=4096) as sandbox:
        yield sandbox


@pytest.fixture
def room(tmp_path, reader, sandbox, new_clinic):
    """An empty clinic."""
    config = new_clinic(tmp_path / "clinic")
    storage = Storage(config)
    storage.prepare()
    with open_database(config.database_url) as database:
        inbox = Inbox(config, Intake(storage, database, sandbox, 10**9, config.inbox))
        yield Room(config, database, inbox, Analysis(database, storage, sandbox, reader, config.gate, batch_size=2))


def send(room, write_film, *seeds):
    """Drop one film for each seed and take it in."""
    for seed in seeds:
        path = room.config.root / f"{seed}.dcm"
        write_film(path, draw(seed, (256, 256)).pixels)
        room.inbox.take([path])


def test_pending_films_are_decided_in_batches_in_order_of_arrival(room, write_film):
    """Three films at two a batch take two steps; then nothing is left."""
    send(room, write_film, 1, 2, 3)
    assert [room.analysis.step() for _ in range(3)] == [2, 1, 0]
    assert {file.outcome for file in room.files().values()} == {"analysed"}


def test_a_reading_is_stored_whole(room, write_film):
    """15 findings that agree with their threshold, a heat map in [0, 1], a region inside the film, one model."""
    send(room, write_film, 1)
    room.analysis.step()
    with room.database.session() as session:
        (inference,) = session.scalars(select(Inference))
        (model,) = session.scalars(select(Model))
        assert [finding.label for finding in inference.findings] == list(LABELS)
        for finding in inference.findings:
            assert finding.positive == (finding.probability >= finding.threshold)
            # The small model has no calibration.
            assert finding.probability == pytest.approx(finding.probability_fusion, abs=1e-6)
        shape = (inference.heat_map_rows, inference.heat_map_columns)
        heat = np.frombuffer(inference.heat_map, np.float16).reshape(shape)
        assert shape == (2, 2)
        assert (heat.min(), heat.max()) == (0, 1)
        region = inference.attended_region
        assert 0 <= region.x_min < region.x_max <= 256
        assert 0 <= region.y_min < region.y_max <= 256
        assert (model.name, inference.thresholds_id) == ("untrained", "half")


def test_the_same_film_alone_or_in_a_batch_reads_the_same(room, write_film, reader):
    """What lies beside a film in its batch does not change its probabilities."""
    send(room, write_film, 1, 2)
    room.analysis.step()
    with room.database.session() as session:
        stored = [
            [finding.probability for finding in inference.findings] for inference in session.scalars(select(Inference))
        ]
    for name, probabilities in zip(("1.dcm", "2.dcm"), stored, strict=True):
        file = room.files()[name]
        picture = room.analysis._sandbox.run(
            _picture, room.config.archive / file.stored_path, room.config.gate.max_pixels
        )
        (alone,) = reader.read([picture])
        assert [label.probability for label in alone.labels] == pytest.approx(probabilities, abs=1e-5)


def _picture(path, max_pixels):
    from agcnn_clinic.analysis.normalise import read_picture
    from agcnn_clinic.domain import MediaType

    return read_picture(path, MediaType.DICOM, max_pixels)


def test_a_file_that_the_archive_does_not_give_up_stays_pending_and_holds_up_nobody(room, write_film):
    """The other film is read; the lost one rests, is not blamed, and is read when the archive has it again."""
    send(room, write_film, 1, 2)
    lost = room.config.archive / room.files()["1.dcm"].stored_path
    shutil.move(lost, room.config.root / "elsewhere")
    while room.analysis.step():
        pass
    files = room.files()
    assert (files["1.dcm"].outcome, files["1.dcm"].attempts) == ("pending", 0)
    assert files["2.dcm"].outcome == "analysed"
    shutil.move(room.config.root / "elsewhere", lost)
    room.analysis._resting.clear()
    room.analysis.step()
    assert room.files()["1.dcm"].outcome == "analysed"


def test_a_file_that_ended_the_process_again_and_again_is_kept_apart(room, write_film):
    """After three attempts that never ended it is quarantined as crashing, and not tried for ever."""
    send(room, write_film, 1)
    with room.database.write() as session:
        session.execute(update(ReceivedFile).values(attempts=MAX_ATTEMPTS))
    room.analysis.step()
    (file,) = room.files().values()
    assert (file.outcome, file.reason_code) == ("quarantined", "crashed")
    assert (room.config.quarantine / file.quarantine_path).is_file()


def test_of_two_files_of_one_instance_only_the_first_is_due(room, write_film):
    """What becomes of the second depends on the first."""
    send(room, write_film, 1)
    dataset = pydicom.dcmread(room.config.root / "1.dcm")
    dataset.PatientName = "Other^Name"
    dataset.save_as(room.config.root / "again.dcm")
    room.inbox.take([room.config.root / "again.dcm"])
    assert [job.original_name for job in due(room.database, 10)] == ["1.dcm"]
    room.analysis.step()
    (job,) = due(room.database, 10)
    assert (job.original_name, job.previous_path) == ("again.dcm", room.files()["1.dcm"].stored_path)


def test_a_device_that_is_not_there_is_a_sentence(small_bundle):
    """`analysis.device` names the machine's own devices only."""
    with pytest.raises(ModelUnavailableError, match=r"analysis\.device"):
        load_reader(small_bundle, device="cuda:99", threads=1)
