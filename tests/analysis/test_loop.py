"""The analysis loop's step, with a real network, real child processes and a real database."""

import contextlib
import hashlib
import shutil
import sqlite3

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sqlalchemy import select, update

from agcnn_clinic.analysis.infer import load_reader
from agcnn_clinic.analysis.loop import MAX_ATTEMPTS, REST_SECONDS, Analysis, due
from agcnn_clinic.analysis.seen import network_film
from agcnn_clinic.database.engine import make_engine
from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Inference, Model, ReceivedFile, Study
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.domain import MediaType, Picture
from agcnn_clinic.errors import ModelUnavailableError
from agcnn_clinic.faults import FaultPoint
from agcnn_models.labels import LABELS
from agcnn_models.manifest import MANIFEST_FILE, WEIGHTS_FILE


def test_pending_films_are_decided_in_batches_in_order_of_arrival(room, send):
    """Three films at two a batch take two steps; then nothing is left."""
    send(1, 2, 3)
    assert [room.analysis.step() for _ in range(3)] == [2, 1, 0]
    assert {file.outcome for file in room.files().values()} == {"analysed"}


def test_a_reading_is_stored_whole(room, send):
    """15 findings that agree with their threshold, a heat map in [0, 1], a region inside the film, one model."""
    send(1)
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


def test_the_same_film_alone_or_in_a_batch_reads_the_same(room, send, reader, sandbox):
    """What lies beside a film in its batch does not change its probabilities."""
    send(1, 2)
    room.analysis.step()
    with room.database.session() as session:
        stored = [
            [finding.probability for finding in inference.findings] for inference in session.scalars(select(Inference))
        ]
    for name, probabilities in zip(("1.dcm", "2.dcm"), stored, strict=True):
        file = room.files()[name]
        picture = sandbox.run(_picture, room.config.archive / file.stored_path, room.config.gate.max_pixels)
        (alone,) = reader.read_films([network_film(picture, reader.manifest.preprocessing)])
        assert [label.probability for label in alone.labels] == pytest.approx(probabilities, abs=1e-5)


def _picture(path, max_pixels) -> Picture:
    from agcnn_clinic.analysis.normalise import read_picture

    return read_picture(path, MediaType.DICOM, max_pixels)


def test_a_file_that_the_archive_does_not_give_up_stays_pending_and_holds_up_nobody(room, send):
    """The other film is read; the lost one rests, is not blamed, and is read when the archive has it again."""
    send(1, 2)
    lost = room.config.archive / room.files()["1.dcm"].stored_path
    shutil.move(lost, room.config.root / "elsewhere")
    while room.analysis.step():
        pass
    files = room.files()
    assert (files["1.dcm"].outcome, files["1.dcm"].attempts) == ("pending", 0)
    assert files["2.dcm"].outcome == "analysed"
    shutil.move(room.config.root / "elsewhere", lost)
    room.elapsed.passed += REST_SECONDS - 1
    assert room.analysis.step() == 0
    room.elapsed.passed += 1
    room.analysis.step()
    assert room.files()["1.dcm"].outcome == "analysed"


def test_a_file_that_ended_the_process_again_and_again_is_kept_apart(room, send):
    """After three attempts that never ended it is quarantined as crashing, and not tried for ever."""
    send(1)
    with room.database.write() as session:
        session.execute(update(ReceivedFile).values(attempts=MAX_ATTEMPTS))
    room.analysis.step()
    (file,) = room.files().values()
    assert (file.outcome, file.reason_code) == ("quarantined", "crashed")
    assert (room.config.quarantine / file.quarantine_path).is_file()


@pytest.mark.sqlite_only("another program that holds its lock")
def test_a_disk_or_database_that_fails_is_no_attempt_on_the_films(room, send, at_point):
    """However often the outcomes cannot be written, the films are read once they can, and not called crashing."""
    send(1, 2)
    impatient = Database(make_engine(room.database.url, busy_timeout_seconds=0.01), room.database.url)
    room.analysis._database = impatient
    other = sqlite3.connect(room.database.file, isolation_level=None)
    for _ in range(MAX_ATTEMPTS + 1):
        at_point(FaultPoint.BATCH_READ, lambda: other.execute("BEGIN IMMEDIATE"))
        with pytest.raises(DatabaseUnavailableError, match="locked"):
            room.analysis.step()
        other.execute("ROLLBACK")
    room.analysis.step()
    other.close()
    impatient.close()
    assert {(file.outcome, file.attempts) for file in room.files().values()} == {("analysed", 1)}


def test_a_full_quarantine_holds_up_only_what_belongs_there(room, send, mount):
    """The sound film is read; the cut one waits, and is laid out when there is room."""
    send(1, 2)
    cut = room.config.archive / room.files()["1.dcm"].stored_path
    cut.write_bytes(cut.read_bytes()[:-2000])
    mount(room.config.quarantine, "-t", "tmpfs", "-o", "size=100k", "tmpfs")
    ballast = room.config.quarantine / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    while room.analysis.step():
        pass
    files = room.files()
    assert (files["1.dcm"].outcome, files["1.dcm"].attempts) == ("pending", 0)
    assert files["2.dcm"].outcome == "analysed"
    ballast.unlink()
    mount(room.config.quarantine, "-o", "remount,size=10m")
    room.elapsed.passed += REST_SECONDS
    room.analysis.step()
    (file,) = [file for file in room.files().values() if file.outcome == "quarantined"]
    assert (room.config.quarantine / file.quarantine_path).read_bytes() == cut.read_bytes()


def test_an_analysis_that_ends_as_it_was_told_to_counts_no_attempt(room, send):
    """What was decoded ahead and not decided is as if nobody had begun on it."""
    send(1, 2, 3, 4)
    room.analysis.step()
    assert room.files()["3.dcm"].attempts == 1
    room.analysis.close()
    assert {file.attempts for file in room.files().values() if file.outcome == "pending"} == {0}


def test_of_two_files_of_one_instance_only_the_first_is_due(room, send):
    """What becomes of the second depends on the first."""
    send(1)
    dataset = pydicom.dcmread(room.config.root / "1.dcm")
    dataset.PatientName = "Other^Name"
    dataset.save_as(room.config.root / "again.dcm")
    room.inbox.take([room.config.root / "again.dcm"])
    first, second = room.files()["1.dcm"], room.files()["again.dcm"]
    assert [job.file_id for job in due(room.database, 10)] == [first.id]
    room.analysis.step()
    (job,) = due(room.database, 10)
    assert (job.file_id, job.film.previous_path) == (second.id, first.stored_path)


@pytest.mark.parametrize(
    ("seed", "ended"), [(1, ("duplicate", "header_differs")), (2, ("quarantined", "uid_conflict"))]
)
def test_an_image_whose_bytes_are_gone_is_still_compared(room, send, write_film, seed, ended):
    """After retention a new file of the same SOP Instance is held against the picture's hash, not read again."""
    send(1)
    room.analysis.step()
    with room.database.write() as session:
        file = session.scalars(select(ReceivedFile)).one()
        file.removed_at = file.received_at
        (room.config.archive / file.stored_path).unlink()
    first = pydicom.dcmread(room.config.root / "1.dcm")
    write_film(room.config.root / "again.dcm", draw(seed, (256, 256)).pixels)
    again = pydicom.dcmread(room.config.root / "again.dcm")
    again.PatientName = "Other^Name"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(again, keyword, getattr(first, keyword))
    again.save_as(room.config.root / "again.dcm")
    room.inbox.take([room.config.root / "again.dcm"])
    assert room.analysis.step() == 1
    file = room.files()["again.dcm"]
    assert (file.outcome, file.reason_code) == ended
    if seed == 1:
        assert "removed by retention" in file.reason


def test_a_film_that_is_refused_for_another_reason_than_last_time_makes_a_report_due(room, send, reader, sandbox):
    """Too large, too small, too large: each time what the report says of it has changed."""
    gates = [room.config.gate.model_copy(update=limits) for limits in ({"max_pixels": 1000}, {"min_side": 2000})]
    judges = [Analysis(room.database, room.storage, sandbox, reader, gate, batch_size=2) for gate in gates]
    for number, analysis in enumerate([*judges, judges[0], judges[0]], start=1):
        send(1)
        analysis.step()
        assert [study.revision for study in room.all(Study)] == [min(number, 3)]


def test_a_refused_film_that_is_sent_again_is_judged_anew(room, send, reader, sandbox):
    """Refused again it makes no new report due; once the limit is raised it is read, and from then on a duplicate."""
    narrow = room.config.gate.model_copy(update={"max_pixels": 1000})
    strict = Analysis(room.database, room.storage, sandbox, reader, narrow, batch_size=2)
    for analysis in (strict, strict, room.analysis, room.analysis):
        send(1)
        analysis.step()
        outcomes = [(file.outcome, file.reason_code) for file in room.all(ReceivedFile)]
        (study,) = room.all(Study)
        assert study.revision == 1 + (("analysed", "read") in outcomes)
    assert outcomes == [
        *[("refused", "too_large")] * 2,
        ("analysed", "read"),
        ("duplicate", "same_bytes"),
    ]
    assert room.all(ReceivedFile)[-1].details == {"same_as_file": 3}


def test_a_png_whose_view_is_corrected_is_judged_anew(room):
    """It is read once its study.toml calls it frontal; what that says afterwards is told, and nothing is read twice."""
    folder = room.config.root / "jane"
    folder.mkdir()
    Image.fromarray(np.uint8(draw(1, (256, 256)).pixels * 255)).save(folder / "1.png")
    for view in ("LATERAL", "PA", "PA", "LL"):
        (folder / "study.toml").write_text(f'patient_id = "4711"\n[views]\n"1.png" = "{view}"\n')
        room.inbox.take([folder])
        room.analysis.step()
    files = room.all(ReceivedFile)
    assert [(file.outcome, file.reason_code) for file in files] == [
        ("refused", "wrong_view"),
        ("analysed", "read"),
        ("duplicate", "same_bytes"),
        ("duplicate", "header_differs"),
    ]
    assert files[-1].details == {"differing_attributes": ["study.toml"]}
    assert len(room.all(Study)) == len(room.all(Inference)) == 1


def test_a_film_that_names_another_patient_than_its_study_is_read_with_a_remark(room, write_film):
    """Both are of the study that they name; the report of the second says that it names somebody else."""
    for seed, patient in ((1, "P-ONE"), (2, "P-TWO")):
        path = room.config.root / f"{patient}.dcm"
        write_film(path, draw(seed, (256, 256)).pixels, patient_id=patient)
        film = pydicom.dcmread(path)
        film.StudyInstanceUID = "1.2.3"
        film.save_as(path)
        room.inbox.take([path])
    room.analysis.step()
    one, two = room.all(Inference)
    assert two.warnings == ["other_patient", *one.warnings]


def test_a_film_that_comes_again_for_another_patient_makes_a_report_due_once(room, write_film):
    """As a PACS sends it that corrects a patient: the study keeps the first one, and its revision counts up."""
    path = room.config.root / "1.dcm"
    write_film(path, draw(1, (256, 256)).pixels, patient_id="P-WRONG")
    film = pydicom.dcmread(path)
    for patient, name in (("P-WRONG", ""), ("P-RIGHT", "Right^Rita"), ("P-RIGHT", "Right^Rita^Maria")):
        film.PatientID, film.PatientName = patient, name
        film.save_as(path)
        room.inbox.take([path])
        room.analysis.step()
    files = room.all(ReceivedFile)
    assert [file.reason_code for file in files] == ["read", "header_differs", "header_differs"]
    (study,) = room.all(Study)
    assert (study.revision, study.patient_id) == (2, "P-WRONG")


def test_a_zip_that_is_not_unpacked_yet_is_left_to_intake(room, send):
    """A zip that waits for room is pending, and no image."""
    send(1)
    with room.database.write() as session:
        session.execute(update(ReceivedFile).values(media_type="zip"))
    assert due(room.database, 10) == []


def test_a_device_that_is_not_there_is_a_sentence(small_bundle):
    """`analysis.device` names the machine's own devices only."""
    with pytest.raises(ModelUnavailableError, match=r"analysis\.device"):
        load_reader(small_bundle, device="cuda:99", threads=1)


def test_a_bundle_that_is_damaged_is_a_sentence_that_says_what_to_do(small_bundle, tmp_path):
    """The service stops restarting then, and the journal has nothing else."""
    folder = shutil.copytree(small_bundle, tmp_path / "bundle")
    with (folder / WEIGHTS_FILE).open("ab") as weights:
        weights.write(b"0")
    with pytest.raises(ModelUnavailableError, match=r"expected SHA-256 .* models use MODEL\.$"):
        load_reader(folder, device="cpu", threads=1)


def test_a_model_that_gives_no_numbers_ends_the_analysis_and_no_film(room, send, small_bundle, sandbox, tmp_path):
    """Its weights are finite, and so large that the network overflows: the films stay pending, without an attempt."""
    folder = shutil.copytree(small_bundle, tmp_path / "bundle")
    weights = load_file(folder / WEIGHTS_FILE)
    for name in [name for name in weights if name.endswith("norm5.weight")]:
        weights[name] = weights[name].float() * 1e6
    for name in [name for name in weights if name.endswith("classifier.weight")]:
        weights[name] = torch.full(weights[name].shape, 3e38)
        weights[name][:, ::2] *= -1
    before = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    save_file(weights, folder / WEIGHTS_FILE)
    after = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    (folder / MANIFEST_FILE).write_text((folder / MANIFEST_FILE).read_text().replace(before, after))
    reader = load_reader(folder, device="cpu", threads=1)
    send(1)
    analysis = Analysis(room.database, room.storage, sandbox, reader, room.config.gate, batch_size=2)
    with contextlib.closing(analysis), pytest.raises(ModelUnavailableError, match="gives no number for a film"):
        analysis.step()
    assert [(file.outcome, file.attempts) for file in room.files().values()] == [("pending", 0)]
