"""From rows to what the report says."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from agcnn_clinic.database.readings import let_count
from agcnn_clinic.database.tables import Inference, Model, ReceivedFile, Study
from agcnn_clinic.domain import REASONS, WARNINGS, Outcome, ReasonCode, Warn
from agcnn_clinic.reporting import making
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import BranchFigures, Edition, SeenArea
from agcnn_clinic.reporting.readings import counting_readings, readings_of_model
from agcnn_models.labels import NO_FINDING


def test_an_image_brings_its_findings_and_its_model(clinic, composed) -> None:
    """Everything that was recorded is there: findings by falling probability, region, heat map, model facts."""
    study = clinic.add_study()
    clinic.add_file(study, warnings=[Warn.LOSSY])
    content = composed(study)
    (image,) = content.images
    assert [row.label for row in image.findings[:2]] == ["Mass", "Effusion"]
    assert [row.label for row in image.positives] == ["Mass", "Effusion"]
    assert len(image.findings) == 14
    assert image.no_finding is not None
    assert image.remarks == ("The image was compressed with loss.",)
    assert image.path.is_file()
    assert (image.region.x_min, image.region.height_mm) == (450, 50.0)
    assert image.heat_map.shape == (7, 7)
    assert image.heat_map[5, 5] == 1
    assert image.model.seen == SeenArea(16 / 256, 240 / 256)
    assert image.model.film_side == 256
    assert image.model.training_counts == "2,540 films of 2,040 patients"
    assert image.model.branches == (
        BranchFigures("global", 0.741, 0.722, 0.760),
        BranchFigures("fusion", 0.748, 0.729, 0.767),
    )
    assert image.model.auc_of_label == {"Mass": 0.813}
    model = image.model
    assert (model.backbone, model.intended_use) == ("densenet121", "Research only.")
    assert (model.thresholds_id, model.thresholds_method) == ("youden-1", "Youden index on validation films")
    assert (model.training_data, model.pretraining) == ("Films of the training list.", "")
    assert model.evaluated_on == "349 films of 278 patients kept out of training."
    assert content.models == (image.model,)


def test_what_was_recorded_of_an_image_is_printed_as_it_is(clinic, composed) -> None:
    """Each branch's probability, the edges and sides of the region, and the threshold set are those of the rows."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.write() as session:
        inference = session.query(Inference).one()
        inference.thresholds_id = "set-of-that-day"
        for number, finding in enumerate(inference.findings):
            finding.probability_global, finding.probability_local = number / 100, number / 100 + 0.3
            finding.probability_fusion = number / 100 + 0.6
        inference.attended_region.x_min, inference.attended_region.y_min = 10, 20
        inference.attended_region.x_max, inference.attended_region.y_max = 310, 520
        inference.attended_region.width_mm, inference.attended_region.height_mm = 30, 50
        branches = {
            one.label: (one.probability, one.probability_global, one.probability_local, one.probability_fusion)
            for one in inference.findings
        }
    (image,) = composed(study).images
    assert image.no_finding is not None
    assert branches == {
        one.label: (one.probability, one.probability_global, one.probability_local, one.probability_fusion)
        for one in (*image.findings, image.no_finding)
    }
    region = image.region
    assert region is not None
    assert (region.x_min, region.y_min, region.x_max, region.y_max) == (10, 20, 310, 520)
    assert (region.width_mm, region.height_mm) == (30, 50)
    assert image.thresholds_id == "set-of-that-day"


def test_an_image_is_described_as_its_header_does(clinic, composed) -> None:
    """Its UID, kind, size and maker, and the moment of acquisition as far as that is known."""
    study = clinic.add_study()
    file_id = clinic.add_file(study, uid="1.2.7")
    maker = {"manufacturer": "Roentgen Works", "manufacturer_model_name": "R 1"}
    with clinic.database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        file.header = file.header | maker | {"acquisition_date_time": "2026-03-01"}
    (image,) = composed(study).images
    assert (image.sop_instance_uid, image.modality, image.view_position) == ("1.2.7", "DX", "PA")
    assert (image.rows, image.columns, image.bits_stored) == (700, 800, 8)
    assert (image.manufacturer, image.acquired) == ("Roentgen Works R 1", "2026-03-01")


def test_an_empty_manifest_is_no_obstacle(clinic, composed) -> None:
    """A model of another make may say nothing of itself."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.write() as session:
        session.query(Model).one().manifest = {"metrics": None, "training": "none", "preprocessing": {"resize": 0}}
    (model,) = composed(study).models
    assert (model.seen, model.branches, model.calibrated) == (SeenArea(0.0, 1.0), (), False)
    assert model.film_side is None


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        ({}, (False, ())),
        ({"method": "none"}, (False, ())),
        ({"method": "platt"}, (True, ())),
        ({"method": "platt", "coefficients": {"Mass": [1, 0]}}, (True, ("Nodule",))),
    ],
)
def test_a_probability_is_called_calibrated_where_it_is(clinic, composed, calibration, told) -> None:
    """The method says so, its coefficients say of which labels; one that is not assessed is not spoken of."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.write() as session:
        session.query(Model).one().manifest = {
            "labels": ["Mass", "Nodule", "Hernia"],
            "not_assessed": ["Hernia"],
            "calibration": calibration,
        }
    (model,) = composed(study).models
    assert (model.calibrated, model.uncalibrated) == told


@pytest.mark.parametrize("preprocessing", [{"resize": 256}, {"crop": 224}, {"resize": 224, "crop": 256}])
def test_where_a_manifest_does_not_say_what_the_network_sees_it_is_the_whole_film(
    clinic, composed, preprocessing
) -> None:
    """Nothing is drawn as left out that may have been seen."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.write() as session:
        session.query(Model).one().manifest = {"preprocessing": preprocessing}
    assert composed(study).images[0].model.seen == SeenArea(0.0, 1.0)


def test_images_stand_in_the_order_in_which_they_were_acquired(clinic, composed) -> None:
    """Whatever their files are called; those of unknown time come last, and days are told where there are several."""
    study = clinic.add_study(study_date="2026-03-01")
    times = {
        "a-after": "2026-03-01T11:45:00",
        "b-unknown": "",
        "c-before": "2026-03-01T08:15:10",
        "d-some-time-that-day": "2026-03-01",
        "e-too": "",
    }
    for name, acquired in times.items():
        _acquired(clinic, clinic.add_file(study, name=name), acquired)
    images = composed(study).images
    assert [(image.number, image.original_name, image.when) for image in images] == [
        (1, "c-before", "08:15"),
        (2, "a-after", "11:45"),
        (3, "d-some-time-that-day", ""),
        (4, "b-unknown", ""),
        (5, "e-too", ""),
    ]
    _acquired(clinic, clinic.add_file(study, name="f-day-before"), "2026-02-28T23:10:00")
    images = composed(study).images
    assert [image.original_name[0] for image in images] == ["f", "c", "a", "d", "b", "e"]
    assert [image.when for image in images[:4]] == [
        "2026-02-28 23:10",
        "2026-03-01 08:15",
        "2026-03-01 11:45",
        "2026-03-01",
    ]
    assert images[1].acquired == "2026-03-01 08:15:10"


def test_an_image_that_was_taken_on_another_day_than_the_study_says_so(clinic, composed) -> None:
    """Also where it is the only one: the day at the head of the report is the study's."""
    study = clinic.add_study(study_date="2026-03-01")
    _acquired(clinic, clinic.add_file(study), "2026-02-28T23:10:00")
    assert [image.when for image in composed(study).images] == ["2026-02-28 23:10"]


def test_a_file_that_was_decided_at_the_moment_of_the_report_is_in_it(clinic) -> None:
    """And one that was decided a microsecond later is not, nor one that is not decided yet."""
    study = clinic.add_study()
    clinic.add_file(study, None, name="to be read.dcm")
    clinic.add_file(study, at=clinic.clock.now, name="in time.dcm")
    clinic.add_file(study, at=clinic.clock.now + timedelta(microseconds=1), name="too late.dcm")
    edition = Edition(1, clinic.clock.now, "1.0")
    with clinic.database.session() as session:
        readings = counting_readings(session, [study])
        content = compose(session.get_one(Study, study), edition, readings=readings, archive=clinic.config.archive)
    assert [image.original_name for image in content.images] == ["in time.dcm"]


def test_a_mean_auc_says_over_how_many_labels_it_is(clinic, composed) -> None:
    """Where these are not all fourteen, and where it is known at all; No Finding is none of them."""
    study = clinic.add_study()
    clinic.add_file(study)
    (model,) = composed(study).models
    every = dict.fromkeys((row.label for row in composed(study).images[0].findings), 0.8)
    for areas, told in (
        ({}, "Mean AUC"),
        ({NO_FINDING: 0.7}, "Mean AUC"),
        ({"Mass": 0.8, NO_FINDING: 0.7}, "Mean AUC over 1 label"),
        ({"Mass": 0.8, "Hernia": 0.7}, "Mean AUC over 2 labels"),
        (every | {NO_FINDING: 0.7}, "Mean AUC"),
    ):
        assert replace(model, auc_of_label=areas).mean_auc == told


def _acquired(clinic, file_id: int, moment: str) -> None:
    with clinic.database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        file.header = file.header | {"acquisition_date_time": moment}


def test_images_not_read_are_told_with_their_reason(clinic, composed) -> None:
    """Refused and quarantined files are; duplicates are not, whose picture was read, nor objects that are no images."""
    study = clinic.add_study()
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.WRONG_VIEW, name="lateral.dcm")
    clinic.add_file(study, ReasonCode.PIXEL_LENGTH)
    clinic.add_file(study, ReasonCode.SAME_BYTES)
    clinic.add_file(study, ReasonCode.NO_PIXELS)
    unread = composed(study).unread
    assert [image.outcome for image in unread] == [Outcome.REFUSED, Outcome.QUARANTINED]
    assert (unread[0].original_name, unread[0].view_position) == ("lateral.dcm", "PA")
    assert "The view is not stated, or none that is read here" in unread[0].reason


def test_an_image_that_was_sent_and_refused_twice_is_told_once(clinic, composed) -> None:
    """What became of it last counts, and when; another image is told beside it, in order of arrival."""
    study = clinic.add_study()
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.WRONG_VIEW, uid="1.2.7")
    clinic.add_file(study, ReasonCode.WRONG_VIEW, uid="1.2.8")
    clinic.add_file(study, ReasonCode.BLANK, uid="1.2.7")
    assert [(image.sop_instance_uid, image.reason) for image in composed(study).unread] == [
        ("1.2.8", REASONS[ReasonCode.WRONG_VIEW].sentence),
        ("1.2.7", REASONS[ReasonCode.BLANK].sentence),
    ]


@pytest.mark.parametrize(
    ("reasons", "pictures", "told"),
    [
        ((ReasonCode.WRONG_VIEW, ReasonCode.WRONG_VIEW), ("", ""), ["second.dcm"]),
        ((ReasonCode.PIXEL_LENGTH, ReasonCode.BLANK), ("", ""), ["first.dcm", "second.dcm"]),
        ((ReasonCode.UID_CONFLICT, ReasonCode.UID_CONFLICT), ("1", "1"), ["second.dcm"]),
        ((ReasonCode.UID_CONFLICT, ReasonCode.UID_CONFLICT), ("1", "2"), ["first.dcm", "second.dcm"]),
    ],
)
def test_two_files_of_one_image_of_which_neither_was_read_are_told_once_where_the_reason_is_the_same(
    clinic, composed, reasons, pictures, told
) -> None:
    """A lateral film that comes raw and compressed is one image; two conflicting pictures are two."""
    study = clinic.add_study()
    clinic.add_file(study, uid="1.2.7" if ReasonCode.UID_CONFLICT in reasons else "")
    for name, reason, picture in zip(("first.dcm", "second.dcm"), reasons, pictures, strict=True):
        file_id = clinic.add_file(study, reason, uid="1.2.7", name=name)
        with clinic.database.write() as session:
            file = session.get_one(ReceivedFile, file_id)
            file.sha256, file.picture_sha256 = name.ljust(64, "0"), picture
    assert [image.original_name for image in composed(study).unread] == told


def test_an_image_that_was_not_read_may_name_another_patient_too(clinic, composed) -> None:
    """What intake remarked of it stands behind the reason."""
    study = clinic.add_study()
    clinic.add_file(study)
    file_id = clinic.add_file(study, ReasonCode.WRONG_VIEW)
    with clinic.database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        file.header = file.header | {"remarks": [Warn.OTHER_PATIENT]}
    (image,) = composed(study).unread
    assert image.reason == f"{REASONS[ReasonCode.WRONG_VIEW].sentence} {WARNINGS[Warn.OTHER_PATIENT]}"


def test_a_file_whose_place_was_taken_is_not_called_unread(clinic, composed) -> None:
    """A broken file is forgotten once a sound one of the same SOP Instance was read; a conflicting one is not."""
    study = clinic.add_study()
    clinic.add_file(study, ReasonCode.UNREADABLE_PIXELS, uid="1.2.7")
    clinic.add_file(study, uid="1.2.7")
    assert composed(study).unread == ()
    clinic.add_file(study, ReasonCode.UID_CONFLICT, uid="1.2.7")
    assert [image.outcome for image in composed(study).unread] == [Outcome.QUARANTINED]
    clinic.add_file(study, ReasonCode.UID_CONFLICT, uid="1.2.8")
    clinic.add_file(study, uid="1.2.8")
    assert [image.sop_instance_uid for image in composed(study).unread] == ["1.2.7", "1.2.8"]


def test_a_reading_that_stands_beside_is_in_no_report_until_it_counts(clinic, composed) -> None:
    """Another model's later reading changes nothing by itself; once it counts, it replaces the other one."""
    study = clinic.add_study()
    file_id = clinic.add_file(study)
    model_id = clinic.add_reading(file_id, "large")
    assert [image.model.name for image in composed(study).images] == ["starter"]
    with clinic.database.write() as session:
        assert let_count(session, study, model_id) == 1
        assert let_count(session, study, model_id) == 0
    content = composed(study)
    assert [image.model.name for image in content.images] == ["large"]
    assert content.study_revision == 2


def test_an_image_that_the_model_asked_for_has_not_read_is_told(clinic) -> None:
    """Of two images the other model has read one: the other is listed as not read, never left out."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study, name="first.dcm"), "large")
    clinic.add_file(study, name="second.dcm")
    with clinic.database.session() as session:
        readings = readings_of_model(session, [study], model_id)
        content = making.next_content(
            session, session.get_one(Study, study), readings, clinic.clock, clinic.config, model_id
        )
    assert [image.original_name for image in content.images] == ["first.dcm"]
    assert [(image.original_name, image.outcome) for image in content.unread] == [("second.dcm", Outcome.ANALYSED)]
    assert "own report" in content.unread[0].reason
    assert content.requested_model == "large 2"


def test_heat_maps_are_read_in_their_own_order(clinic, composed) -> None:
    """Rows and columns of a grid that is not square are not mixed up."""
    study = clinic.add_study()
    grid = np.arange(6, dtype=np.float16).reshape(2, 3) / 8
    clinic.add_file(study, heat_map=grid.tobytes(), heat_map_rows=2, heat_map_columns=3)
    assert (composed(study).images[0].heat_map == grid.astype(np.float32)).all()
