"""What a child that a file has taken over may answer of a film, and what is made of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from agcnn_clinic.analysis import films
from agcnn_clinic.analysis.loop import Analysis
from agcnn_clinic.analysis.normalise import Developed, Wanted, develop
from agcnn_clinic.database.tables import Inference
from agcnn_clinic.domain import MediaType
from agcnn_clinic.prints import RecentPrints
from agcnn_clinic.sections import Gate
from agcnn_models.settings import Preprocessing


def shrinks_too_much(path: Path, kind: MediaType, gate: Gate, *_: object) -> Developed:
    """What a child might answer that a file has taken over: a film of another size than the network takes."""
    return develop(path, kind, gate, Wanted(Preprocessing(resize=32, crop=28)))


def test_a_film_of_another_size_than_the_network_takes_is_no_answer(room, send, monkeypatch):
    """It would take the whole batch with it; so its file is held to have crashed its child."""
    send(1)
    monkeypatch.setattr(films, "develop", shrinks_too_much)
    room.analysis.step()
    (file,) = room.files().values()
    assert (file.outcome, file.reason_code) == ("quarantined", "crashed")


def compares_with_nothing(path: Path, kind: MediaType, gate: Gate, wanted: Wanted, *_: object) -> Developed:
    """What it might answer, too: that a film which comes for the first time shows what was read before."""
    return replace(develop(path, kind, gate, wanted), seen=None, same_as_previous=True)


def compares_nothing(path: Path, kind: MediaType, gate: Gate, wanted: Wanted, *_: object) -> Developed:
    """And that one which was read before is to be read."""
    return develop(path, kind, gate, wanted)


def has_no_scale(*asked: object) -> Developed:
    """Or of pixels without a size."""
    developed = develop(*asked)
    object.__setattr__(developed.geometry, "scale_x", 0.0)
    return developed


def prints_nothing(*asked: object) -> Developed:
    """Or with a print that has no pixels."""
    developed = develop(*asked)
    object.__setattr__(developed, "grey", np.zeros((0, 0), np.uint8))
    return developed


@pytest.mark.parametrize("lie", [has_no_scale, prints_nothing])
def test_a_film_that_cannot_be_printed_is_no_answer(room, send, reader, sandbox, monkeypatch, lie):
    """Its attended region could not be cut out, which ended the daemon."""
    send(1)
    monkeypatch.setattr(films, "develop", lie)
    darkroom = films.Darkroom(RecentPrints(), (100, 100))
    Analysis(room.database, room.storage, sandbox, reader, room.config.gate, 1, darkroom).step()
    (file,) = room.files().values()
    assert (file.outcome, file.reason_code) == ("quarantined", "crashed")


def test_a_film_is_no_duplicate_of_one_that_there_is_not(room, send, monkeypatch):
    """It would never be read, and nobody be told."""
    send(1)
    monkeypatch.setattr(films, "develop", compares_with_nothing)
    room.analysis.step()
    (file,) = room.files().values()
    assert (file.outcome, file.reason_code) == ("quarantined", "crashed")


def test_a_film_that_was_read_before_is_not_read_again(room, send, monkeypatch):
    """An image has one reading of a model."""
    send(1)
    room.analysis.step()
    dataset = pydicom.dcmread(room.config.root / "1.dcm")
    dataset.PatientName = "Other^Name"
    dataset.save_as(room.config.root / "again.dcm")
    room.inbox.take([room.config.root / "again.dcm"])
    monkeypatch.setattr(films, "develop", compares_nothing)
    room.analysis.step()
    assert room.files()["again.dcm"].reason_code == "crashed"
    assert len(room.all(Inference)) == 1
