"""From rows to what the report says."""

from datetime import timedelta

import numpy as np

from agcnn_clinic.database.tables import Model, ReceivedFile
from agcnn_clinic.domain import Outcome, ReasonCode, Warn
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition, SeenArea


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
    assert image.region is not None
    assert (image.region.x_min, image.region.height_mm) == (450, 50.0)
    assert image.heat_map.shape == (7, 7)
    assert image.heat_map[5, 5] == 1
    assert image.model.seen == SeenArea(16 / 256, 240 / 256)
    assert image.model.training_counts == "2,540 films of 2,040 patients"
    assert [figures.branch for figures in image.model.branches] == ["global", "fusion"]
    assert image.model.auc_of_label == {"Mass": 0.813}
    assert content.models == (image.model,)


def test_an_empty_manifest_is_no_obstacle(clinic, composed) -> None:
    """A model of another make may say nothing of itself."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.write() as session:
        session.query(Model).one().manifest = {"metrics": None, "training": "none", "preprocessing": {"resize": 0}}
    (model,) = composed(study).models
    assert (model.seen, model.branches, model.calibrated) == (SeenArea(0.0, 1.0), (), False)


def test_images_not_read_are_told_with_their_reason(clinic, composed) -> None:
    """Refused and quarantined files are listed, duplicates are not: their picture was read."""
    study = clinic.add_study()
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.WRONG_VIEW, name="lateral.dcm")
    clinic.add_file(study, ReasonCode.PIXEL_LENGTH)
    clinic.add_file(study, ReasonCode.SAME_BYTES)
    unread = composed(study).unread
    assert [image.outcome for image in unread] == [Outcome.REFUSED, Outcome.QUARANTINED]
    assert unread[0].original_name == "lateral.dcm"
    assert "frontal" in unread[0].reason


def test_a_file_whose_place_was_taken_is_not_called_unread(clinic, composed) -> None:
    """A broken file is forgotten once a sound one of the same SOP Instance was read; a conflicting one is not."""
    study = clinic.add_study()
    clinic.add_file(study, ReasonCode.UNREADABLE_PIXELS, uid="1.2.7")
    clinic.add_file(study, uid="1.2.7")
    assert composed(study).unread == ()
    clinic.add_file(study, ReasonCode.UID_CONFLICT, uid="1.2.7")
    assert [image.outcome for image in composed(study).unread] == [Outcome.QUARANTINED]


def test_the_newest_reading_counts_and_an_older_edition_keeps_its_own(clinic, composed) -> None:
    """Another model's later reading replaces the first one, except in an edition made before it, or when asked for."""
    study = clinic.add_study()
    file_id = clinic.add_file(study)
    before = clinic.clock.now
    with clinic.database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        newer = Model(
            name="large",
            version="2",
            weights_sha256="ef" * 32,
            manifest={},
            manifest_sha256="12" * 32,
            registered_at=before,
        )
        session.add(clinic.inference(file, newer, before + timedelta(hours=1)))
    clinic.clock.forward(hours=2)
    assert composed(study).images[0].model.name == "large"
    with clinic.database.session() as session:
        row = session.get_one(ReceivedFile, file_id).instance.study
        old = compose(session, row, Edition(1, before, "0.1.0"), archive=clinic.config.archive)
        asked = compose(session, row, Edition(1, clinic.clock.now, "0.1.0"), archive=clinic.config.archive, model_id=1)
    assert (old.images[0].model.name, asked.images[0].model.name) == ("starter", "starter")


def test_heat_maps_are_read_in_their_own_order(clinic, composed) -> None:
    """Rows and columns of a grid that is not square are not mixed up."""
    study = clinic.add_study()
    grid = np.arange(6, dtype=np.float16).reshape(2, 3) / 8
    clinic.add_file(study, heat_map=grid.tobytes(), heat_map_rows=2, heat_map_columns=3)
    assert (composed(study).images[0].heat_map == grid.astype(np.float32)).all()
