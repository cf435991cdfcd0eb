"""What a header says of view, body part, frames and the like."""

import pytest
from pydicom import uid as uids
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.facts import image_facts, view_of
from agcnn_clinic.dicom.orientation import Orientation
from agcnn_clinic.dicom.views import View


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


def _views(**attributes):
    return [(stated.view, stated.by) for stated in image_facts(_dataset(**attributes)).views]


@pytest.mark.parametrize(
    ("modifier", "views"),
    [
        (("R-40799", ""), [View.AP, View.LORDOTIC]),
        (("", "Oblique"), [View.AP, View.OBLIQUE]),
        (("102536004", "left lateral decubitus"), [View.AP, View.LEFT_DECUBITUS]),
        (("", "Expiratory"), [View.AP]),
    ],
)
def test_a_modifier_of_a_view_makes_another_one_of_it(modifier, views):
    """An AP that is lordotic, oblique or taken with a horizontal beam is no AP; one in expiration is."""
    view = _coded("399348003")
    view.ViewModifierCodeSequence = [_coded(*modifier)]
    assert [said for said, _ in _views(ViewCodeSequence=[view])] == views


def test_every_attribute_that_speaks_of_the_view_is_asked():
    """View Position, the codes, Patient Orientation and descriptions: none hides what another says."""
    posture = _coded("102540006")
    posture.PatientOrientationModifierCodeSequence = [_coded("102536004", "left lateral decubitus")]
    assert _views(
        ViewPosition="PA",
        ViewCodeSequence=[_coded("399173006", "left lateral")],
        PatientOrientation=["A", "F"],
        PatientOrientationCodeSequence=[posture],
        BodyPartExamined="CHEST LAT",
        AcquisitionDeviceProcessingDescription="CHEST,OBL",
        ProtocolName="Thorax seitl.",
        SeriesDescription="Lordotic",
    ) == [
        (View.PA, "View Position"),
        (View.LEFT_LATERAL, "View Code Sequence"),
        (View.LATERAL, "Patient Orientation"),
        (View.LEFT_DECUBITUS, "Patient Orientation Code Sequence"),
        (View.LATERAL, "Body Part Examined"),
        (View.OBLIQUE, "Acquisition Device Processing Description"),
        (View.LATERAL, "Protocol Name"),
        (View.LORDOTIC, "Series Description"),
    ]


def test_what_says_nothing_of_the_view_states_none():
    """Empty, unknown and frontal by its axes: no view is stated."""
    nothing = {"ViewPosition": "", "PatientOrientation": ["L", "F"], "SeriesDescription": "CHEST PA AND LAT"}
    assert _views(**nothing, ViewCodeSequence=[], ProtocolName="TORACE,FRN P->A") == []
    assert view_of(_dataset(**nothing)) is View.UNKNOWN


def test_a_view_that_is_described_is_the_first_that_is_stated():
    """What the database keeps where View Position is empty."""
    assert view_of(_dataset(ViewPosition="", ViewCodeSequence=[_coded("399067008")])) is View.LATERAL
    assert view_of(_dataset(ViewCodeSequence=[_coded("R-10206")], PatientOrientation=["A", "F"])) is View.AP


@pytest.mark.parametrize(
    ("attributes", "body_parts"),
    [
        ({}, ()),
        ({"BodyPartExamined": "CHEST"}, ("CHEST",)),
        ({"AnatomicRegionSequence": [_coded("51185008", "Thorax, entire")]}, ("CHEST",)),
        ({"AnatomicRegionSequence": [_coded("T-D3000", "")]}, ("CHEST",)),
        ({"AnatomicRegionSequence": [_coded("39607008", "Lung")]}, ("LUNG",)),
        ({"AnatomicRegionSequence": [_coded("122495006", "Thoracic spine")]}, ("Thoracic spine",)),
        ({"AnatomicRegionSequence": [_coded("122495006", "")]}, ("122495006",)),
        (
            {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": [_coded("122495006", "Thoracic spine")]},
            ("CHEST", "Thoracic spine"),
        ),
    ],
)
def test_a_region_is_named_by_its_code_before_its_meaning(attributes, body_parts):
    """Known codes are the chest's and the lung's whatever is written beside them; both attributes count."""
    assert image_facts(_dataset(**attributes)).body_parts == body_parts


@pytest.mark.parametrize(
    ("attributes", "for_processing"),
    [
        ({}, False),
        ({"PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
        ({"SOPClassUID": uids.DigitalXRayImageStorageForProcessing}, True),
        ({"SOPClassUID": uids.DigitalXRayImageStorageForPresentation}, False),
    ],
)
def test_an_image_for_processing_is_one_by_its_class_or_its_intent(attributes, for_processing):
    """SOP Class UID and Presentation Intent Type, whichever says so."""
    assert image_facts(_dataset(**attributes)).for_processing is for_processing


def test_facts_have_defaults_for_what_is_not_stated():
    """A header without the attributes is one grey frame of no modality."""
    facts = image_facts(_dataset())
    assert (facts.number_of_frames, facts.modality) == (1, "")
    assert (facts.has_image, facts.lossy, facts.burned_in) == (False, False, False)
    assert (facts.views, facts.body_parts, facts.orientation) == ((), (), Orientation())


def test_facts_are_those_of_the_header():
    """Size, frames, loss, annotations, the anatomic region and the patient's orientation are read."""
    dataset = _dataset(
        SOPClassUID=uids.SecondaryCaptureImageStorage,
        Modality="OT",
        NumberOfFrames="3",
        LossyImageCompression="01",
        BurnedInAnnotation="YES",
        AnatomicRegionSequence=[_coded("51185008", "Chest")],
        Rows=3,
        Columns=2,
        PatientOrientation=["L", "F"],
    )
    facts = image_facts(dataset)
    assert (facts.rows, facts.columns, facts.orientation) == (3, 2, Orientation(rows="L", columns="F"))
    assert (facts.modality, facts.number_of_frames, facts.body_parts) == ("OT", 3, ("CHEST",))
    assert facts.has_image
    assert facts.lossy
    assert facts.burned_in


def test_jpeg_baseline_is_lossy_whatever_the_header_says():
    """The syntax itself cannot be lossless."""
    dataset = _dataset(LossyImageCompression="00")
    dataset.file_meta.TransferSyntaxUID = uids.JPEGBaseline8Bit
    assert image_facts(dataset).lossy


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_terms_in_small_letters_are_the_standards():
    """A writer that spells them so says the same."""
    facts = image_facts(
        _dataset(
            Modality="dx",
            PhotometricInterpretation="palette color",
            BurnedInAnnotation="yes",
            PresentationIntentType="for processing",
        )
    )
    assert (facts.modality, facts.photometric_interpretation) == ("DX", "PALETTE COLOR")
    assert facts.burned_in
    assert facts.for_processing


@pytest.mark.parametrize(
    ("attributes", "has_image"),
    [
        ({"SOPClassUID": uids.EncapsulatedPDFStorage}, False),
        ({"SOPClassUID": uids.ComputedRadiographyImageStorage}, True),
        ({"Columns": 2}, True),
        ({"PixelData": b""}, True),
        ({"FloatPixelData": b""}, True),
    ],
)
def test_an_image_is_one_by_its_class_its_size_or_its_pixels(attributes, has_image):
    """Whichever says so: what of an image is lost is told by another reason than that there is none."""
    assert image_facts(_dataset(**attributes)).has_image is has_image
