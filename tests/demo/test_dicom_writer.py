"""The writer of DICOM: what it writes is what pydicom reads, in every syntax that loses nothing."""

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from agcnn_clinic.demo.dicom_writer import Format, Kind, stored_values, write_dicom
from agcnn_clinic.domain import StudyDescription

STUDY = StudyDescription("2.25.1", patient_id="1", patient_name="Doe^Jane", patient_birth_date="1970-02-03")
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


def _write(path, pixels, image, **more):
    uids = {"series_instance_uid": "2.25.2", "sop_instance_uid": "2.25.3"}
    return write_dicom(path, pixels, study=STUDY, image=image, **uids, **more)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(32, 45), st.integers(32, 45)),
    seed=st.integers(0, 1000),
    syntax=st.sampled_from(SYNTAXES),
    bits=st.integers(8, 16),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_what_is_written_is_what_is_read(tmp_path, shape, seed, syntax, bits, photometric):
    """Every depth, polarity and syntax without loss gives back the very integers, odd sizes included."""
    pixels = np.random.default_rng(seed).random(shape, np.float32)
    path = tmp_path / "film.dcm"
    _write(path, pixels, Format(Kind.CR, photometric, bits, syntax))
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(dataset.pixel_array, stored_values(pixels, bits, photometric))


@given(value=st.floats(0, 1, width=32), bits=st.integers(8, 16))
def test_the_two_polarities_add_up_to_the_highest_value(value, bits):
    """MONOCHROME1 is MONOCHROME2 turned around, exactly."""
    pixels = np.full((1, 1), value, np.float32)
    one, two = (int(stored_values(pixels, bits, f"MONOCHROME{n}")[0, 0]) for n in (1, 2))
    assert one + two == (1 << bits) - 1


def test_the_window_spans_all_values(tmp_path):
    """By the LINEAR function of the standard the lowest value becomes 0 and the highest 1, rescaled or not."""
    pixels = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    _write(tmp_path / "film.dcm", pixels, Format(bits=12, rescale=(2.0, -100.0)))
    dataset = pydicom.dcmread(tmp_path / "film.dcm")
    windowed = pydicom.pixels.apply_voi_lut(pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset), dataset)
    span = windowed.max() - windowed.min()
    assert (windowed - windowed.min()) / span == pytest.approx(pixels, abs=1e-3)


def test_patient_and_study_are_written(tmp_path):
    """Dates lose their dashes, and absent attributes of type 2 are there and empty."""
    _write(tmp_path / "film.dcm", np.zeros((8, 8), np.float32), Format(), view="AP", pixel_spacing_mm=0.143)
    dataset = pydicom.dcmread(tmp_path / "film.dcm")
    assert dataset.PatientBirthDate == "19700203"
    assert dataset.ReferringPhysicianName == ""
    assert dataset.ImagerPixelSpacing == [0.143, 0.143]
    assert dataset.ViewPosition == "AP"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 7}, "bits"),
        ({"bits": 17}, "bits"),
        ({"photometric": "RGB"}, "RGB"),
        ({"kind": Kind.DX, "rescale": (2.0, 0.0)}, "DX"),
    ],
)
def test_an_impossible_format_is_refused(options, message):
    """The caller is told at once, before a file is there."""
    with pytest.raises(ValueError, match=message):
        Format(**options)


def test_only_one_grey_plane_is_written(tmp_path):
    """Colour is no radiograph."""
    with pytest.raises(ValueError, match="shape"):
        _write(tmp_path / "film.dcm", np.zeros((8, 8, 3), np.float32), Format())
