"""Labels of which a model says nothing, or calls nothing positive, as a report prints them."""

from agcnn_clinic.database.tables import Finding, Model
from agcnn_models.labels import NO_FINDING

ROW = "not assessed: this model never learnt it"


def limit(clinic, *not_assessed: str, undecided: tuple[str, ...] = ()) -> None:
    """Let the model assess less, as its manifest says, and have no threshold for some labels."""
    with clinic.database.write() as session:
        for model in session.query(Model):
            labels = [finding.label for finding in session.query(Finding).limit(15)]
            fitted = {label: {} for label in labels if label not in (*not_assessed, *undecided)}
            said = {"labels": labels, "not_assessed": list(not_assessed)}
            calibration = {"method": "platt", "coefficients": fitted}
            model.manifest = {**model.manifest, **said, "calibration": calibration}
        for finding in session.query(Finding):
            if finding.label in undecided:
                finding.threshold = finding.positive = None
            if finding.label in not_assessed:
                session.delete(finding)


def test_a_row_says_that_a_label_is_not_assessed(clinic, composed, picture, settings, text_of, render) -> None:
    """It has no number; the count is of the labels that are, and the others are not excluded."""
    study = clinic.add_study()
    clinic.add_file(study)
    limit(clinic, "Effusion", "Hernia", NO_FINDING)
    content = composed(study)
    first = text_of(render(content, picture, settings))[0]
    assert "Of the 12 labels that the model assesses 1 reached its threshold: Mass 0.81." in first
    assert "2 more are not assessed." in first
    assert first.count(ROW) == 3
    assert f"Effusion {ROW} Hernia {ROW}" in first
    assert content.images[0].no_finding is None


def test_a_verdict_counts_what_is_not_assessed(clinic, composed, picture, settings, text_of, render) -> None:
    """Where nothing is missing it says nothing of it, and No Finding is none of the pathologies that it counts."""
    study = clinic.add_study()
    clinic.add_file(study)
    for missing, told in (
        ((), "Mass 0.81, Effusion 0.55. Input quality"),
        (("Hernia",), "1 more is not assessed. Input quality"),
        (("Hernia", "Edema", NO_FINDING), "2 more are not assessed. Input quality"),
    ):
        limit(clinic, *missing)
        assert told in text_of(render(composed(study), picture, settings))[0]


def test_an_only_label_below_its_threshold_is_not_called_normal(
    clinic, composed, picture, settings, text_of, render
) -> None:
    """One label of fourteen says little, and the sentence says how little."""
    study = clinic.add_study()
    clinic.add_file(study)
    with clinic.database.session() as session:
        others = [finding.label for finding in session.query(Finding) if finding.label != "Nodule"]
    limit(clinic, *others)
    first = text_of(render(composed(study), picture, settings))[0]
    assert "Of the 1 label that the model assesses none reached its threshold. 13 more are not assessed." in first
    assert "not excluded" in first


def test_a_label_without_a_threshold_is_called_uncalibrated(
    clinic, composed, picture, settings, text_of, render
) -> None:
    """Its probability stands as it is, the legend says so, and however high it is it is not counted as positive."""
    study = clinic.add_study()
    clinic.add_file(study)
    limit(clinic, undecided=("Mass",))
    first = text_of(render(composed(study), picture, settings))[0]
    assert "1 of 14 labels reached its threshold: Effusion 0.55." in first
    assert "Not calibrated, but as it stands: Mass." in first
    assert "Without a threshold, so never marked: Mass." in first


def test_images_beside_each_other_say_which_label_is_not_assessed(
    clinic, composed, picture, settings, text_of, render
) -> None:
    """In the comparison of several images each has a cell for it, and No Finding stays last."""
    study = clinic.add_study()
    for _ in range(2):
        clinic.add_file(study)
    limit(clinic, "Hernia", NO_FINDING)
    first = text_of(render(composed(study), picture, settings))[0]
    assert "Hernia not assessed not assessed No Finding not assessed not assessed" in first
