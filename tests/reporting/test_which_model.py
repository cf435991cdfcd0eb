"""Which model read which image, where images of a study were read by several."""

import pytest
from sqlalchemy import update

from agcnn_clinic.database.tables import Model
from agcnn_clinic.domain import ReasonCode


@pytest.fixture
def mixed(clinic):
    """A study whose first image was read before `models use other`, and the two others after it."""
    study = clinic.add_study()
    clinic.add_file(study)
    for _ in range(2):
        clinic.add_reading(clinic.add_file(study, inference=False), "other", beside=False)
    return study


def test_a_report_says_which_model_read_which_image(mixed, composed, picture, settings, text_of, render) -> None:
    """Above the comparison, over each image and among its sources, since their numbers stand beside each other."""
    first, *images, last = text_of(render(composed(mixed), picture, settings))
    told = "Models starter 1.0.0 read image 1; other 2 read images 2, 3. Probabilities and marks of different models"
    assert told in first
    assert ["read by starter 1.0.0" in page for page in images] == [True, False, False]
    assert ["read by other 2" in page for page in images] == [False, True, True]
    assert last.count("on cpu with starter 1.0.0 by agcnn-clinic") == 1
    assert last.count("on cpu with other 2 by agcnn-clinic") == 2


def test_models_of_one_name_and_version_are_told_apart(mixed, clinic, composed, picture, settings, text_of, render):
    """By their manifests, in all places: as where a bundle was made again without a new version."""
    with clinic.database.write() as session:
        session.execute(update(Model).values(name="same", version="1"))
    content = composed(mixed)
    first, last = (text_of(render(content, picture, settings))[page] for page in (0, -1))
    for model in content.models:
        name = f"same 1 (manifest {model.manifest_sha256[:12]})"
        assert f"{name} read image" in first
        assert f"{name} (AG-CNN on densenet121), weights {model.weights_sha256[:12]}" in last


def test_where_one_model_read_all_nothing_is_said(clinic, composed, picture, settings, text_of, render) -> None:
    """Also where another one has read the same images beside it, and where an image was not read."""
    study = clinic.add_study()
    clinic.add_reading(clinic.add_file(study), "other")
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.BLANK)
    pages = text_of(render(composed(study), picture, settings))
    assert not [page for page in pages if "read by" in page or "Models" in page or "with starter" in page]
