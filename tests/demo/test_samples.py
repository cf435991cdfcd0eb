"""The demo's studies: real DICOM and PNG, the same bytes each time, each with the trait that it is there for."""

import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from agcnn_clinic.demo import samples
from agcnn_clinic.demo.dicom_writer import stored_values
from agcnn_clinic.demo.lesions import Lesion
from agcnn_clinic.demo.phantom import PhantomSpec, View, draw

SIZE = (288, 240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The samples, smaller than the demo's so that drawing them is quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "SIZE", SIZE)
        folder = tmp_path_factory.mktemp("inbox")
        samples.write_samples(folder)
    return folder


@pytest.fixture
def read(folder):
    """A function that reads a sample by its name."""

    def read(name: str) -> FileDataset:
        return pydicom.dcmread(folder / name)

    return read


def test_all_files_are_named_and_written(tmp_path, monkeypatch):
    """The list that comes back is what lies in the folder, and a second run changes no byte."""
    monkeypatch.setattr(samples, "SIZE", (96, 80))
    first = {path: path.read_bytes() for path in samples.write_samples(tmp_path)}
    assert sorted(first) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path: path.read_bytes() for path in samples.write_samples(tmp_path)} == first


def test_the_monochrome1_film_is_stored_inverted_in_12_bits(read):
    """A DX film of a mass, inverted, with the window and the inverse presentation shape that belong to it."""
    dataset = read("dx-monochrome1-pa.dcm")
    assert dataset.Modality == "DX"
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    assert dataset.PresentationLUTShape == "INVERSE"
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, 0)
    assert (dataset.WindowCenter, dataset.WindowWidth) == (2048, 4096)
    assert dataset.ViewPosition == "PA"
    assert len(dataset.ImagerPixelSpacing) == 2
    drawn = draw(PhantomSpec(10, lesion=Lesion.MASS, collimated=True), SIZE)
    assert np.array_equal(dataset.pixel_array, 4095 - np.rint(drawn.pixels * 4095).astype(int))
    assert float(dataset.ImagerPixelSpacing[0]) == pytest.approx(drawn.pixel_spacing_mm, rel=1e-5)


def test_the_lateral_film_belongs_to_the_same_study(read):
    """One study, two series; the header says that it is lateral, in text and in code."""
    frontal, lateral = read("dx-monochrome1-pa.dcm"), read("dx-lateral.dcm")
    assert lateral.StudyInstanceUID == frontal.StudyInstanceUID
    assert lateral.SeriesInstanceUID != frontal.SeriesInstanceUID
    assert lateral.ViewPosition == "LL"
    assert lateral.ViewCodeSequence[0].CodeMeaning == "left lateral"
    drawn = draw(PhantomSpec(10, View.LATERAL), SIZE)
    assert np.array_equal(lateral.pixel_array, stored_values(drawn.pixels, 12, "MONOCHROME1"))


def test_the_jpeg_2000_films_decode_to_what_was_drawn(read):
    """Two AP films of one series, compressed without loss, with a Modality LUT that shifts their values."""
    films = [read(f"cr-jpeg2000-ap-{number}.dcm") for number in (1, 2)]
    assert len({film.SeriesInstanceUID for film in films}) == 1
    assert len({film.SOPInstanceUID for film in films}) == 2
    for film, lesion in zip(films, (Lesion.EFFUSION, None), strict=True):
        assert film.file_meta.TransferSyntaxUID == JPEG2000Lossless
        assert film.ViewPosition == "AP"
        assert film.RescaleIntercept == -1024
        assert film.WindowCenter == 2048 - 1024
        drawn = draw(PhantomSpec(31, View.AP, lesion), SIZE)
        assert np.array_equal(film.pixel_array, stored_values(drawn.pixels, 12, "MONOCHROME2"))


def test_the_secondary_capture_has_8_bits_and_no_view(read):
    """It says neither its modality nor its view nor a window, as captures do."""
    dataset = read("sc-8bit.dcm")
    assert dataset.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert (dataset.BitsAllocated, dataset.BitsStored) == (8, 8)
    assert dataset.Modality == "OT"
    assert "ViewPosition" not in dataset
    assert "WindowCenter" not in dataset
    assert np.array_equal(dataset.pixel_array, stored_values(draw(45, SIZE).pixels, 8, "MONOCHROME2"))


def test_the_jpeg_ls_film_decodes_to_what_was_drawn(read):
    """10 bits, inverted, JPEG-LS without loss."""
    dataset = read("cr-jpegls-pa.dcm")
    assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless
    drawn = draw(PhantomSpec(52, lesion=Lesion.CARDIOMEGALY), SIZE)
    assert np.array_equal(dataset.pixel_array, stored_values(drawn.pixels, 10, "MONOCHROME1"))


def test_the_truncated_film_has_a_header_and_no_picture(read):
    """Its header is whole, and its pixels are fewer than it says: it cannot be decoded."""
    dataset = read("cr-truncated.dcm")
    assert dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert (dataset.Rows, dataset.Columns) == SIZE
    with pytest.raises(ValueError, match="less than expected"):
        _ = dataset.pixel_array


@pytest.mark.parametrize(
    ("file", "ideographic", "alphabetic"),
    [
        ("dx-lateral.dcm", "", "Lefèvre-Garnier^Zoë"),
        ("cr-jpeg2000-ap-1.dcm", "藤森^幸子", "Fujimori^Sachiko"),
        ("sc-8bit.dcm", "", "Παπαδοπούλου^Ελένη"),
        ("cr-jpegls-pa.dcm", "", "الحداد^أمل"),
        ("cr-truncated.dcm", "", "Dvořák^Jiří"),
    ],
)
def test_names_survive_their_character_sets(read, file, ideographic, alphabetic):
    """Each name comes back from the character set that its header states, which is not UTF-8."""
    dataset = read(file)
    assert "ISO_IR 192" not in dataset.SpecificCharacterSet
    assert dataset.PatientName.alphabetic == alphabetic
    assert dataset.PatientName.ideographic == ideographic


def test_every_uid_is_derived_and_none_is_shared(folder):
    """All UIDs stand under 2.25, SOP Instance UIDs are unique, and file meta and data set agree."""
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == len(datasets) == 7
    for dataset in datasets:
        for uid in (dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID):
            assert uid.startswith("2.25.")
            assert uid.is_valid
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
        assert dataset.StudyDate == "20260112"


def test_the_png_study_says_its_patient_beside_it(folder):
    """16 bits of grey, and a study.toml with TOML dates and the view of the file."""
    toml = tomllib.loads((folder / "png-study" / "study.toml").read_text(encoding="utf-8"))
    assert toml["patient_name"] == "Żółkiewska^Łucja"
    assert toml["patient_birth_date"] == date(1985, 12, 19)
    assert toml["views"] == {"pa.png": "PA"}
    with Image.open(folder / "png-study" / "pa.png") as image:
        assert image.mode == "I;16"
        drawn = draw(PhantomSpec(70, lesion=Lesion.CONSOLIDATION), SIZE)
        assert np.array_equal(np.asarray(image), stored_values(drawn.pixels, 16, "MONOCHROME2"))
