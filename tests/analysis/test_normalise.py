"""A file on its way to a picture that has passed the gate, and its revisions."""

import pickle
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid as uids

from agcnn_clinic.analysis.normalise import PRELOAD, Wanted, develop, normalise, read_picture
from agcnn_clinic.analysis.seen import NetworkFilm, network_film
from agcnn_clinic.domain import NOT_ABOUT_THE_BYTES, Geometry, MediaType, ReasonCode, Warn
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.picture import picture_of
from agcnn_clinic.prints import fitted, grey
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_models.settings import Preprocessing

GATE = Gate()
SMALL = Preprocessing(resize=64, crop=56)
WHOLE = {"WindowCenter": 2048, "WindowWidth": 4096}


def _refused(*arguments):
    with pytest.raises(ImageError) as caught:
        normalise(*arguments)
    return caught.value.code


def test_a_film_is_normalised(write_dicom, tmp_path, twelve, film):
    """The result has the picture, this file's own header, the measures and the remarks."""
    path = write_dicom(tmp_path / "film.dcm", twelve, BurnedInAnnotation="YES", PixelSpacing=[0.2, 0.2], **WHOLE)
    result = normalise(path, MediaType.DICOM, GATE)
    np.testing.assert_allclose(result.picture.pixels, film, atol=1 / 4095)
    assert result.header.rows == 320
    assert result.study_instance_uid == pydicom.dcmread(path).StudyInstanceUID
    assert result.quality["contrast"] > 0.5
    assert result.quality["spacing_mm"] == 0.2
    assert result.warnings == (Warn.LOW_RESOLUTION, Warn.BURNED_IN)
    assert result.same_as_previous is None


REFUSED_BY = {
    "modalities": (("SC",), {}),
    "views": (("LL",), {}),
    "accept_unknown_view": (False, {"ViewPosition": ""}),
    "accept_turned": (False, {"PatientOrientation": ["F", "L"]}),
    "body_parts": (("HAND",), {}),
    "accept_unknown_body_part": (False, {"BodyPartExamined": ""}),
    "accept_for_processing": (False, {"PresentationIntentType": "FOR PROCESSING"}),
    "min_side": (1000, {}),
    "max_pixels": (1000, {}),
    "max_aspect_ratio": (1.0, {}),
    "min_contrast": (1.0, {}),
    "max_clipped": (0.0, {}),
}
"""Each setting of [gate] with a value that refuses the film, and what its header must say for that."""


@pytest.mark.parametrize("setting", sorted(Gate.model_fields.keys() - {"low_resolution_side"}))
def test_a_film_that_a_setting_refuses_is_judged_anew_when_it_comes_again(write_dicom, tmp_path, twelve, setting):
    """The setting may have been changed since: no reason that comes of [gate] speaks for the bytes."""
    value, header = REFUSED_BY[setting]
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE | header)
    assert _refused(path, MediaType.DICOM, Gate(**{setting: value})) in NOT_ABOUT_THE_BYTES


def test_a_film_is_developed_to_what_is_done_with_it(write_dicom, tmp_path, twelve):
    """The network's view, the picture in 8 bits and its print: the same as are made of the picture itself."""
    path = write_dicom(tmp_path / "film.dcm", twelve, PixelSpacing=[0.2, 0.2], **WHOLE)
    picture = normalise(path, MediaType.DICOM, GATE).picture
    developed = develop(path, MediaType.DICOM, GATE, Wanted(SMALL, (90, 90)))
    np.testing.assert_array_equal(developed.seen.grey, network_film(picture, SMALL).grey)
    assert (developed.seen.height, developed.seen.width) == picture.pixels.shape
    np.testing.assert_array_equal(developed.film, fitted(grey(picture.pixels), (90, 90)))
    np.testing.assert_array_equal(developed.grey, grey(picture.pixels))
    assert (developed.geometry, developed.picture_sha256) == (picture.geometry, picture.sha256)
    assert developed.study_instance_uid == pydicom.dcmread(path).StudyInstanceUID
    assert developed.seconds > 0


def test_the_network_sees_the_middle_of_the_film():
    """The crop is as far from the top as from the bottom, and from the left as from the right."""
    pixels = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    seen = network_film(picture_of(pixels, Geometry(64, 64)), SMALL)
    np.testing.assert_allclose(seen.grey, pixels[4:60, 4:60], atol=1e-6)


def test_a_film_whose_predecessor_is_gone_is_compared_by_its_picture(write_dicom, tmp_path, twelve):
    """Its picture's SHA-256 is all that is left of the earlier one; nobody reads this one either."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    picture_sha256 = normalise(path, MediaType.DICOM, GATE).picture.sha256
    for gone, same in ((picture_sha256, True), ("0" * 64, False)):
        developed = develop(path, MediaType.DICOM, GATE, Wanted(SMALL), tmp_path / "gone.dcm", gone_picture=gone)
        assert (developed.same_as_previous, developed.seen) == (same, None)


def test_a_film_that_was_read_before_is_compared_and_not_developed(write_dicom, tmp_path, twelve):
    """Nobody is going to read it: no view for the network, no prints."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    developed = develop(path, MediaType.DICOM, GATE, Wanted(SMALL, (90, 90)), previous_path=path)
    assert developed.same_as_previous is True
    assert (developed.seen, developed.grey, developed.film) == (None, None, None)


def test_nothing_counts_as_read_that_no_network_saw(write_dicom, tmp_path, twelve):
    """Neither a child that was taken over nor a slip can give a film without a view for one that is to be read."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    developed = develop(path, MediaType.DICOM, GATE, Wanted(SMALL))
    with pytest.raises(ValueError, match="to be read"):
        replace(developed, seen=None)
    with pytest.raises(ValueError, match="to be read"):
        replace(developed, same_as_previous=True)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_the_network_is_given_nothing_outside_of_the_range(value):
    """Its view may come from a process that a file has taken over; one pixel is enough."""
    grey = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    NetworkFilm(grey, 1, 1)
    grey[1, 2] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        NetworkFilm(grey, 9, 9)


@pytest.mark.parametrize(("height", "width"), [(0, 9), (9, 0)])
def test_the_network_is_given_no_film_without_a_side(height, width):
    """Its attended region would lie nowhere on the film."""
    with pytest.raises(ValueError, match="has pixels"):
        NetworkFilm(np.zeros((4, 4), np.float32), height, width)


def test_a_png_is_normalised_and_its_stated_view_counts(tmp_path, film):
    """A PNG has no view of its own; one that study.toml calls lateral is refused."""
    path = tmp_path / "film.png"
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(path)
    result = normalise(path, MediaType.PNG, GATE)
    assert Warn.VIEW_UNKNOWN in result.warnings
    assert Warn.SPACING_UNKNOWN in result.warnings
    stated = normalise(path, MediaType.PNG, GATE, None, "PA")
    assert Warn.VIEW_UNKNOWN not in stated.warnings
    assert (result.header.view_position, stated.header.view_position) == ("", "PA")
    assert _refused(path, MediaType.PNG, GATE, None, "lateral") == ReasonCode.WRONG_VIEW


def test_the_header_is_asked_before_the_pixels(write_dicom, tmp_path, twelve):
    """A lateral view is refused even where its pixels are broken: they are never decoded."""
    path = write_dicom(tmp_path / "film.dcm", twelve, ViewPosition="LL", Rows=60000)
    assert _refused(path, MediaType.DICOM, GATE) == ReasonCode.WRONG_VIEW


def test_the_same_picture_under_another_header_is_named(write_dicom, tmp_path, twelve):
    """A correction of the name is the same picture, with what differs; the gate is not asked again."""
    first = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    dataset = pydicom.dcmread(first)
    dataset.PatientName, dataset.BodyPartExamined = "Corrected^Name", "RIBCAGE"
    dataset.save_as(tmp_path / "second.dcm")
    result = normalise(tmp_path / "second.dcm", MediaType.DICOM, GATE, first)
    assert result.same_as_previous is True
    assert result.differing_attributes == ("PatientName", "BodyPartExamined")


def test_another_transfer_syntax_is_the_same_picture(write_dicom, tmp_path, twelve):
    """The film that comes again compressed is not another film."""
    first = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    second = write_dicom(tmp_path / "again.dcm", twelve, syntax=uids.JPEG2000Lossless, **WHOLE)
    assert normalise(second, MediaType.DICOM, GATE, first).same_as_previous is True


def test_another_picture_under_one_uid_is_told(write_dicom, tmp_path, twelve):
    """The film relabelled MONOCHROME1 shows something else; picture and header are those of the file that came."""
    first = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    second = write_dicom(tmp_path / "inverted.dcm", twelve, photometric="MONOCHROME1", **WHOLE)
    result = normalise(second, MediaType.DICOM, GATE, first)
    assert result.same_as_previous is False
    assert result.header.photometric_interpretation == "MONOCHROME1"
    assert result.picture.sha256 == read_picture(second, MediaType.DICOM, GATE.max_pixels).sha256
    assert "PhotometricInterpretation" in result.differing_attributes


def test_a_lost_predecessor_is_not_the_new_files_fault(write_dicom, tmp_path, twelve):
    """An archive that can no longer be read is a matter of the storage."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    (tmp_path / "broken.dcm").write_bytes(path.read_bytes()[:1000])
    for previous in ("broken.dcm", "gone.dcm"):
        with pytest.raises(StorageError):
            normalise(path, MediaType.DICOM, GATE, tmp_path / previous)


def test_a_report_reads_the_picture_without_the_gate(write_dicom, tmp_path, twelve):
    """What was read once is rendered again, equal, whatever the limits are now."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    picture = read_picture(path, MediaType.DICOM, GATE.max_pixels)
    assert picture.sha256 == normalise(path, MediaType.DICOM, GATE).picture.sha256


def test_it_all_crosses_a_process_boundary(write_dicom, tmp_path, twelve):
    """In a child the result is the same as here, and so are its errors."""
    path = write_dicom(tmp_path / "film.dcm", twelve, **WHOLE)
    here = normalise(path, MediaType.DICOM, GATE)
    with Sandbox(1, 60, 2048, PRELOAD) as sandbox:
        there = sandbox.run(normalise, path, MediaType.DICOM, GATE)
        with pytest.raises(ImageError) as caught:
            sandbox.run(normalise, path, MediaType.PNG, GATE)
    assert there.picture.sha256 == here.picture.sha256
    assert (there.warnings, there.header, there.quality) == (here.warnings, here.header, here.quality)
    assert caught.value.code == ReasonCode.UNREADABLE_HEADER
    assert pickle.loads(pickle.dumps(here)).header == here.header


def test_neither_dicom_nor_png_is_not_normalised(tmp_path):
    """Other files are not for analysis."""
    assert _refused(tmp_path / "study.toml", MediaType.STUDY_TOML, GATE) == ReasonCode.UNRECOGNISED
