"""One file at a time: what is read, what is refused, what could not be reached."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.analysis.normalise import Developed, Wanted, develop, normalise
from agcnn_clinic.batch import examine as module
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import MediaType
from agcnn_clinic.sections import Gate
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import Preprocessing


def dies(path: Path, *_: object, **__: object) -> Developed:
    """What a file does that takes a decoder over."""
    del path
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def shrinks_too_much(path: Path, kind: MediaType, gate: Gate, *_: object, **__: object) -> Developed:
    """What a child might answer that a file has taken over: a film of another size than the network takes."""
    return develop(path, kind, gate, Wanted(Preprocessing(resize=32, crop=28)))


def examined(examiner, root, *names, follow=False):
    """What becomes of files, by name."""
    found = examiner.examine(root, [os.fsencode(name) for name in names], follow=follow)
    return {one.path: one for one in found}


def test_a_film_becomes_what_the_network_sees_of_it(examiner, archive, task):
    """The same input to the last bit as `process` makes, with its UIDs and without its patient."""
    found = examined(examiner, archive, "a.dcm")["a.dcm"]
    picture = normalise(archive / "a.dcm", MediaType.DICOM, Gate()).picture
    assert found.code == "read"
    expected = to_model_input(picture.pixels, task.preprocessing)
    mean, std = (np.float32(value[0]) for value in (task.preprocessing.mean, task.preprocessing.std))
    np.testing.assert_array_equal((found.film.grey - mean) / std, expected[0].numpy())
    assert found.study_instance_uid.startswith("2.25.")
    assert found.view_position == "PA"
    assert "Secret" not in repr(found)


def test_each_bad_file_has_its_reason_and_the_next_one_is_read(examiner, archive):
    """A refused film keeps its UIDs; a broken one is not opened again."""
    found = examined(examiner, archive, "lateral.dcm", "x-garbage.dcm", "y-truncated.dcm", "b")
    assert {name: one.code for name, one in found.items()} == {
        "lateral.dcm": "wrong_view",
        "x-garbage.dcm": "unrecognised",
        "y-truncated.dcm": "pixel_length",
        "b": "read",
    }
    assert found["lateral.dcm"].sop_instance_uid
    assert all(one.sha256 for one in found.values())


def test_a_file_that_kills_its_child_is_one_row(examiner, archive, monkeypatch):
    """The decoder lives on, and the same file is read when it behaves."""
    monkeypatch.setattr(module, "develop", dies)
    assert examined(examiner, archive, "a.dcm")["a.dcm"].code == "crashed"
    monkeypatch.undo()
    assert examined(examiner, archive, "a.dcm")["a.dcm"].code == "read"


def test_a_film_of_another_size_than_the_network_takes_is_no_answer(examiner, archive, monkeypatch):
    """It would take the whole batch with it."""
    monkeypatch.setattr(module, "develop", shrinks_too_much)
    assert examined(examiner, archive, "a.dcm")["a.dcm"].code == "crashed"


def test_what_is_decided_at_sight_is_not_opened(examiner, tmp_path):
    """Empty, too large, a zip."""
    for name, content in (("empty", b""), ("large", b"x" * (10**6 + 1)), ("zip", b"PK\x03\x04" + bytes(100))):
        (tmp_path / name).write_bytes(content)
    found = examined(examiner, tmp_path, "empty", "large", "zip")
    assert [one.code for one in found.values()] == ["empty_file", "file_too_large", "unrecognised"]


def test_what_cannot_be_reached_is_not_judged(examiner, tmp_path, archive):
    """A missing file, a pipe, a link in a folder: no reason code, and the detail names no path."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(archive / "a.dcm")
    found = examined(examiner, tmp_path, "missing", "pipe", "link")
    assert [one.code for one in found.values()] == [None, None, None]
    assert [one.detail for one in found.values()] == [
        "it cannot be read: No such file or directory",
        "it is no regular file",
        "it cannot be read: Too many levels of symbolic links",
    ]


def test_a_link_that_a_list_names_is_followed(examiner, tmp_path, archive):
    """Whoever lists it means it."""
    (tmp_path / "link").symlink_to(archive / "a.dcm")
    assert examined(examiner, tmp_path, "link", follow=True)["link"].code == "read"


def test_a_film_that_changes_while_it_is_read_is_left_for_the_next_run(examiner, tmp_path, archive, monkeypatch):
    """Hash and findings must be of the same bytes."""
    film = tmp_path / "film"
    film.write_bytes((archive / "a.dcm").read_bytes())
    taking = examiner._take

    def take(*arguments):
        taking(*arguments)
        film.write_bytes(b"other")

    monkeypatch.setattr(examiner, "_take", take)
    found = examined(examiner, tmp_path, "film")["film"]
    assert (found.code, found.film, found.detail) == (None, None, "it changed while it was read")


@pytest.mark.parametrize(
    ("toml", "code"),
    [
        ('[views]\n"film.png" = "LATERAL"\n', "wrong_view"),
        ('[views]\n"FILM.PNG" = "LATERAL"\n', "wrong_view"),
        ('[views]\n"flim.png" = "LATERAL"\n', "study_toml"),
        ("= no toml", "study_toml"),
        (None, "read"),
    ],
)
def test_a_png_is_what_the_study_toml_beside_it_says(examiner, tmp_path, toml, code):
    """As in an inbox: its view can refuse it; its UID comes from its bytes."""
    pixels = (draw(1, (256, 256)).pixels * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "film.png")
    if toml is not None:
        (tmp_path / "study.toml").write_text(toml)
    found = examined(examiner, tmp_path, "film.png")["film.png"]
    assert found.code == code
    assert found.sop_instance_uid == derived_uid(found.sha256)
