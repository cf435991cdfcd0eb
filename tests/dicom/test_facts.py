"""What a header says of view, body part and frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid as uids
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.codes import View, body_part_words, view_from_words
from agcnn_clinic.dicom.facts import image_facts, view_of


def _dataset(**attributes):
    dataset = Dataset()
    dataset.file_meta = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _coded(value, meaning=""):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", View.PA),
        ("ap", View.AP),
        ("AP SUPINE", View.AP),
        ("PA_ERECT", View.PA),
        ("LL", View.LEFT_LATERAL),
        ("RL", View.RIGHT_LATERAL),
        ("LATERAL", View.LATERAL),
        ("L LAT", View.LATERAL),
        ("PA/LAT", View.LATERAL),
        ("AP LORDOTIC", View.LORDOTIC),
        ("LLD", View.LEFT_DECUBITUS),
        ("RAO", View.RIGHT_OBLIQUE),
        ("", View.UNKNOWN),
        ("SPAIN", View.UNKNOWN),
        ("CAPA", View.UNKNOWN),
    ],
)
def test_view_positions_are_read_as_senders_write_them(text, view):
    """Defined terms and what senders put beside them; a word that contains PA is not PA."""
    assert view_from_words(text) is view


@given(st.text())
def test_no_text_breaks_the_reading_of_words(text):
    """Any text has a view and body parts, if only unknown ones."""
    assert isinstance(view_from_words(text), View)
    assert all(word == word.upper() for word in body_part_words(text))


def test_the_view_comes_from_the_first_attribute_that_tells():
    """View Position, else View Code Sequence, else Patient Orientation."""
    lateral, frontal = [_coded("399067008")], [_coded("R-10206")]
    assert view_of(_dataset(ViewPosition="PA", ViewCodeSequence=lateral)) is View.PA
    assert view_of(_dataset(ViewPosition="", ViewCodeSequence=lateral)) is View.LATERAL
    assert view_of(_dataset(ViewCodeSequence=frontal, PatientOrientation=["A", "F"])) is View.AP
    assert view_of(_dataset(ViewCodeSequence=[_coded("0")], PatientOrientation=["P", "F"])) is View.LATERAL
    assert view_of(_dataset(PatientOrientation=["L", "F"])) is View.UNKNOWN
    assert view_of(_dataset(PatientOrientation="")) is View.UNKNOWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHEST", ["CHEST"]),
        ("Chest PA", ["CHEST", "PA"]),
        ("TORAX", ["THORAX"]),
        ("RIBCAGE", ["RIBCAGE"]),
        ("", []),
        ("UNKNOWN", []),
        ("胸部", ["胸部"]),
    ],
)
def test_body_parts_are_words_of_the_standard(text, expected):
    """Several words are several parts, synonyms are translated, and what says nothing is nothing."""
    assert body_part_words(text) == expected


def test_facts_have_defaults_for_what_is_not_stated():
    """A header without the attributes is one grey frame of no modality."""
    facts = image_facts(_dataset())
    assert (facts.number_of_frames, facts.samples_per_pixel, facts.modality) == (1, 1, "")
    assert (facts.has_image, facts.lossy, facts.burned_in) == (False, False, False)


def test_facts_are_those_of_the_header():
    """Frames, loss, annotations and the anatomic region are read."""
    dataset = _dataset(
        SOPClassUID=uids.SecondaryCaptureImageStorage,
        Modality="OT",
        NumberOfFrames="3",
        LossyImageCompression="01",
        BurnedInAnnotation="YES",
        AnatomicRegionSequence=[_coded("51185008", "Chest")],
    )
    facts = image_facts(dataset)
    assert (facts.modality, facts.number_of_frames, facts.body_part) == ("OT", 3, "Chest")
    assert facts.has_image
    assert facts.lossy
    assert facts.burned_in


def test_jpeg_baseline_is_lossy_whatever_the_header_says():
    """The syntax itself cannot be lossless."""
    dataset = _dataset(LossyImageCompression="00")
    dataset.file_meta.TransferSyntaxUID = uids.JPEGBaseline8Bit
    assert image_facts(dataset).lossy
