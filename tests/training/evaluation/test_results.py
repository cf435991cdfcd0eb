"""Judging a set of films, and the files that hold the outcome."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Preprocessing
from agcnn_training.data.films import Films
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.decision import fit_decision
from agcnn_training.evaluation.metrics import area_under_curve
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.readings import Evaluator
from agcnn_training.evaluation.results import TEST, VALIDATION, judge, measure, summary
from agcnn_training.evaluation.subgroups import judge_subgroups
from agcnn_training.evaluation.tables import write_localisation, write_metrics
from agcnn_training.evaluation.writing import RESULTS_FILE, split_counts, write_json, write_results

PREPROCESSING = Preprocessing(resize=72, crop=64)


class Brightness(torch.nn.Module):
    """A network of one branch: a film bears each label the more the brighter it is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, len(LABELS))


@pytest.fixture(scope="module")
def grey(make_rows):
    """Films of one grey each, the brighter half of which bear every pathology; and their rows."""
    count = 32
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 72, 72) * 7
    targets = (torch.arange(count) >= 16).float()[:, None].repeat(1, len(LABELS))
    targets[3] = 1  # else each area would be one
    rows = make_rows(count)
    return Films(pixels, targets, torch.empty(count, 0), tuple(row.patient for row in rows)), rows


def evaluator_of(films: Films) -> Evaluator:
    """Reads these films."""
    return Evaluator(films, np.empty(0, np.int64), PREPROCESSING, 8, torch.device("cpu"))


def test_test_films_choose_nothing(grey, tiny) -> None:
    """Whatever the test films' labels are, calibration and thresholds stay those of the validation films."""
    films, rows = grey
    sides = {"train": np.arange(0, 8), VALIDATION: np.arange(0, 32, 2), TEST: np.arange(1, 32, 2)}
    first = measure(Brightness(), evaluator_of(films), rows, sides, tiny)
    turned = films.targets.clone()
    turned[1::2] = 1 - turned[1::2]
    second = measure(Brightness(), evaluator_of(replace(films, targets=turned)), rows, sides, tiny)
    assert first.decision == second.decision
    assert first.sets[TEST].branches[BranchName.GLOBAL].score.mean == pytest.approx(
        1 - second.sets[TEST].branches[BranchName.GLOBAL].score.mean
    )
    assert (first.reported, list(first.sets)) == (TEST, [VALIDATION, TEST])
    assert "test: 16 films of 16 patients" in summary(first.sets)


def test_a_label_that_was_never_learnt_is_not_judged(grey, tiny) -> None:
    """However the films bear it: it is in no mean, no calibration and no threshold, and the others stay as they are."""
    films, rows = grey
    sides = {"train": np.arange(0, 8), VALIDATION: np.arange(0, 32, 2)}
    evaluator = evaluator_of(films)
    whole = measure(Brightness(), evaluator, rows, sides, tiny)
    part = measure(Brightness(), replace(evaluator, not_assessed=("Hernia",)), rows, sides, tiny)
    areas, left = (one.sets[VALIDATION].branches[BranchName.GLOBAL].score.per_label for one in (whole, part))
    assert left == {label: area for label, area in areas.items() if label != "Hernia"}
    assert "Hernia" not in {*part.decision.scales, *part.decision.threshold_sets[0].values}
    assert "mean AUC over 13 labels" in summary(part.sets)


def test_float32_is_computed_as_such_where_figures_come_from(grey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is measured in the numbers that the clinic reads in, and training then goes on in its own."""
    films, rows = grey
    seen = []

    class Noting(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(images)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    evaluator = replace(evaluator_of(films), chosen=np.arange(16))
    evaluator.predict(Noting(), [row.image for row in rows])
    assert seen == [False, False]
    assert torch.backends.cudnn.allow_tf32


def test_healthy_test_films_do_not_undo_a_run(grey, tiny) -> None:
    """Where no test film has a finding that side is read and not judged, and the validation films are reported."""
    films, rows = grey
    sides = {VALIDATION: np.arange(0, 32, 2), TEST: np.array([1, 5, 7])}
    found = measure(Brightness(), evaluator_of(films), rows, sides, tiny)
    assert (found.reported, found.unjudged, len(found.predictions[TEST])) == (VALIDATION, (TEST,), 3)
    assert "nothing can be judged" in summary(found.sets, found.unjudged)


def test_a_run_without_test_films_reports_its_validation(grey, tiny) -> None:
    """An empty side is no set, and a network of one branch has the global one only."""
    films, rows = grey
    sides = {VALIDATION: np.arange(32), TEST: np.empty(0, np.int64)}
    found = measure(Brightness(), evaluator_of(films), rows, sides, tiny)
    assert (found.reported, list(found.sets)) == (VALIDATION, [VALIDATION])
    assert list(found.sets[VALIDATION].branches) == [BranchName.GLOBAL]
    assert found.predictions[VALIDATION].boxes is None


def test_results_say_what_was_measured(grey, tiny, tmp_path: Path) -> None:
    """results.json has the agreed keys, and its numbers are those of the predictions beside it."""
    films, rows = grey
    sides = {"train": np.arange(0, 8), VALIDATION: np.arange(8, 32)}
    found = measure(Brightness(), evaluator_of(films), rows, sides, tiny)
    write_results(tmp_path, found, tiny, split_counts(rows, sides))
    content = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert (content["recipe"], content["version"], content["seed"]) == ("tiny", "1.0.0", 3)
    assert content["split"]["films"] == {"train": 8, "validation": 24}
    assert content["split"]["overlap"] == {"train-validation": 0}
    branch = content["sets"]["validation"]["branches"]["global"]
    stored = Predictions.load(tmp_path / "predictions-validation.npz")
    areas = {
        label: area_under_curve(stored.truth[:, i], stored.logits[BranchName.GLOBAL][:, i])
        for i, label in enumerate(PATHOLOGIES)
    }
    assert branch["auc"] == pytest.approx(areas)
    assert branch["mean_auc"] == pytest.approx(np.mean(list(areas.values())))
    assert branch["ci"][0] <= branch["mean_auc"] <= branch["ci"][1]
    assert content["sets"]["validation"]["films"] == len(stored) == 24


def test_predictions_come_back_as_they_were(make_predictions, tmp_path: Path) -> None:
    """Every array, name and type survives the file, and joined parts are the whole."""
    whole = make_predictions(10)
    whole.save(tmp_path / "all.npz")
    stored = Predictions.load(tmp_path / "all.npz")
    parts = [
        Predictions(
            whole.images[part], whole.patients[part], whole.truth[part],
            {name: values[part] for name, values in whole.logits.items()},
            whole.boxes[part], whole.heat_maps[part], whole.size,
        )
        for part in (slice(0, 4), slice(4, 10))
    ]  # fmt: skip
    for other in (stored, Predictions.joined(parts)):
        assert (other.images, other.patients, other.size) == (whole.images, whole.patients, whole.size)
        for one, two in zip(
            (whole.truth, whole.boxes, whole.heat_maps, *whole.logits.values()),
            (other.truth, other.boxes, other.heat_maps, *other.logits.values()),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)
            assert one.dtype == two.dtype


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"\x93NUMPY"])
def test_a_file_without_predictions_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """A broken file is named."""
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(TrainingError, match=r"broken\.npz holds no predictions"):
        Predictions.load(tmp_path / "broken.npz")


def test_what_is_no_number_is_null_and_empty(make_predictions, make_rows, tmp_path: Path) -> None:
    """JSON holds null and CSV an empty cell where there is no number; every row names what it is."""
    predictions = make_predictions(24)
    predictions.truth[:, 1] = 0  # Cardiomegaly occurs nowhere
    decision = fit_decision(predictions, "model-1.0.0")
    sets = {"all": judge(predictions, make_rows(24), decision, PREPROCESSING, seed=0)}
    assert sets["all"].skipped == ("Cardiomegaly",)
    write_metrics(tmp_path / "metrics.csv", sets)
    write_localisation(tmp_path / "localisation.csv", sets)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["set", "branch", "label", "metric", "value", "low", "high"]
    assert "nan" not in (tmp_path / "metrics.csv").read_text()
    fusion = {(row["label"], row["metric"]): row for row in rows if row["branch"] == "fusion"}
    mean = fusion["mean", "auc"]
    assert float(mean["low"]) < float(mean["value"]) < float(mean["high"])
    assert ("Cardiomegaly", "auc") not in fusion
    assert float(fusion["Atelectasis", "films"]["value"]) == 23  # one is unknown
    differences = {row["branch"] for row in rows if row["metric"] == "auc_difference"}
    assert differences == {"local-global", "fusion-global", "fusion-local"}
    write_json(tmp_path / "some.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "some.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, make_predictions) -> None:
    """A missing folder stops the writers with the path."""
    for write in (
        lambda path: write_json(path, {}),
        lambda path: write_metrics(path, {}),
        lambda path: make_predictions(4).save(path),
    ):
        with pytest.raises(TrainingError, match="cannot be written"):
            write(tmp_path / "gone" / "file")


def test_subgroups_part_the_films(make_predictions, make_rows) -> None:
    """Both sexes and all ages cover all films; a group of one outcome has no area; small groups say so."""
    predictions, rows = make_predictions(60), make_rows(60)
    found = judge_subgroups(predictions, rows, seed=0)
    by = {(one.attribute, one.group): one for one in found}
    assert by["sex", "F"].films + by["sex", "M"].films == 60
    assert sum(one.films for one in found if one.attribute == "age") == 60
    assert by["view", "PA"].mean == pytest.approx(
        judge(predictions, rows, fit_decision(predictions, "m-1"), PREPROCESSING, seed=0)
        .branches[BranchName.FUSION]
        .score.mean
    )
    assert all(one.small for one in found)
    nothing = judge_subgroups(replace(predictions, truth=np.zeros_like(predictions.truth)), rows, seed=0)
    assert all(one.labels == 0 and np.isnan(one.mean) for one in nothing)


def test_an_age_beyond_any_patient_is_in_no_band(make_predictions, make_rows) -> None:
    """NIH's typing errors, and unknown ages, are left out instead of being put among the old."""
    rows = [replace(row, age=None if index % 2 else 412) for index, row in enumerate(make_rows(20))]
    assert not [one for one in judge_subgroups(make_predictions(20), rows, seed=0) if one.attribute == "age"]
