"""Judging a set of films, and the files that hold the outcome."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import Preprocessing
from agcnn_training.data.pictures import Loading
from agcnn_training.data.source import Dataset
from agcnn_training.data.splits import TEST, VALIDATION, Indices, Split
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.evaluation.decision import fit_decision
from agcnn_training.evaluation.metrics import area_under_curve
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.results import judge, measure, summary
from agcnn_training.evaluation.served import ServedReader
from agcnn_training.evaluation.subgroups import judge_subgroups
from agcnn_training.evaluation.tables import write_localisation, write_metrics
from agcnn_training.evaluation.writing import RESULTS_FILE, write_json, write_results
from agcnn_training.progress import StopRequest

PREPROCESSING = Preprocessing(resize=72, crop=64)


class Brightness(torch.nn.Module):
    """A network of one branch: a film bears each label the more the brighter it is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, len(LABELS))


@pytest.fixture(scope="module")
def grey(make_rows) -> tuple[Row, ...]:
    """Rows of films of one grey each, the brighter half of which bear every pathology."""
    ill = {3, *range(16, 32)}  # without the third each area would be one
    return tuple(
        replace(row, findings=frozenset(PATHOLOGIES if index in ill else ())) for index, row in enumerate(make_rows(32))
    )


def grey_film(path: Path) -> NDArray[np.float32]:
    """The film of such a row."""
    return np.full((80, 80), int(path.stem) / 32, np.float32)


READER = ServedReader(PREPROCESSING, 8, torch.device("cpu"), Loading(grey_film, workers=1))


def dataset_of(rows: Sequence[Row], **sides: Indices) -> Dataset:
    """These films, divided so."""
    split = Split.measured([row.patient for row in rows], {"train": np.arange(1), **sides}, "for a test")
    return Dataset(tuple(rows), tuple(Path(row.image) for row in rows), split)


def test_test_films_choose_nothing(grey, tiny) -> None:
    """Whatever the test films' labels are, calibration and thresholds stay those of the validation films."""
    sides = {VALIDATION: np.arange(0, 32, 2), TEST: np.arange(1, 32, 2)}
    first = measure(Brightness(), READER, dataset_of(grey, **sides), tiny)
    turned = [
        replace(row, findings=frozenset(PATHOLOGIES) - row.findings) if index % 2 else row
        for index, row in enumerate(grey)
    ]
    second = measure(Brightness(), READER, dataset_of(turned, **sides), tiny)
    assert first.decision == second.decision
    assert first.sets[TEST].branches[BranchName.GLOBAL].score.mean == pytest.approx(
        1 - second.sets[TEST].branches[BranchName.GLOBAL].score.mean
    )
    assert (first.reported, list(first.sets)) == (TEST, [VALIDATION, TEST])
    assert "test: 16 films of 16 patients" in summary(first.sets)


def test_a_label_that_was_never_learnt_is_not_judged(grey, tiny) -> None:
    """However the films bear it: it is in no mean, no calibration and no threshold, and the others stay as they are."""
    dataset = dataset_of(grey, validation=np.arange(0, 32, 2))
    whole = measure(Brightness(), READER, dataset, tiny)
    part = measure(Brightness(), replace(READER, not_assessed=("Hernia",)), dataset, tiny)
    areas, left = (one.sets[VALIDATION].branches[BranchName.GLOBAL].score.per_label for one in (whole, part))
    assert left == {label: area for label, area in areas.items() if label != "Hernia"}
    assert "Hernia" not in {*part.decision.scales, *part.decision.threshold_sets[0].values}
    assert "mean AUC over 13 labels" in summary(part.sets)


def test_float32_is_computed_as_such_where_figures_come_from(grey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is measured in the numbers that the clinic reads in, and training then goes on in its own."""
    seen = []

    class Noting(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(images)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    READER.predict(Noting(), grey[:16], [Path(row.image) for row in grey[:16]])
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32


def test_a_network_is_measured_on_films_as_they_are_served(grey) -> None:
    """What the network is given of a film of any size is what serving gives it, to the last bit."""
    random, given = np.random.default_rng(0), []
    films = {f"{index}.png": random.random((90 + index, 70), np.float32) for index in range(5)}

    class Keeping(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            given.extend(images)
            return super().forward(images)

    reader = replace(READER, batch=2, loading=Loading(lambda path: films[path.name], workers=2))
    reader.predict(Keeping(), grey[:5], [Path(name) for name in films])
    served = [to_model_input(film, PREPROCESSING) for film in films.values()]
    # Those of a batch in the order in which its shares are read.
    assert sorted(image.numpy().tobytes() for image in given) == sorted(image.numpy().tobytes() for image in served)


def test_films_that_have_gone_since_are_all_named(grey, tiny) -> None:
    """A run whose films cannot be read any more when it is measured says which."""

    def lost(path: Path) -> NDArray[np.float32]:
        if int(path.stem) in (8, 20):
            raise TrainingError(f"The image {path} is missing.")
        return grey_film(path)

    reader = replace(READER, loading=Loading(lost, workers=2))
    with pytest.raises(TrainingError, match=r"2 of 32 films cannot be read:\n.* 8\.png .*\n.* 20\.png "):
        measure(Brightness(), reader, dataset_of(grey, validation=np.arange(32)), tiny)


def test_a_stop_is_heard_while_a_network_is_measured(grey, tiny) -> None:
    """Ctrl-C does not wait for all films; what was trained is kept, and the sentence says how to go on."""
    stop = StopRequest()
    stop.made = True
    reader = replace(READER, loading=replace(READER.loading, stop=stop))
    with pytest.raises(TrainingStopped, match="--resume measures it anew"):
        measure(Brightness(), reader, dataset_of(grey, validation=np.arange(32)), tiny)


def test_healthy_test_films_do_not_undo_a_run(grey, tiny) -> None:
    """Where no test film has a finding that side is read and not judged, and the validation films are reported."""
    found = measure(Brightness(), READER, dataset_of(grey, validation=np.arange(0, 32, 2), test=np.array([1, 5])), tiny)
    assert (found.reported, found.unjudged, len(found.predictions[TEST])) == (VALIDATION, (TEST,), 2)
    assert "nothing can be judged" in summary(found.sets, found.unjudged)


def test_a_run_without_test_films_reports_its_validation(grey, tiny) -> None:
    """An empty side is no set, and a network of one branch has the global one only."""
    found = measure(Brightness(), READER, dataset_of(grey, validation=np.arange(32)), tiny)
    assert (found.reported, list(found.sets)) == (VALIDATION, [VALIDATION])
    assert list(found.sets[VALIDATION].branches) == [BranchName.GLOBAL]
    assert found.predictions[VALIDATION].boxes is None


def test_an_interval_is_of_the_mean_that_it_stands_beside(make_predictions, make_rows) -> None:
    """Where one patient bears a finding, no draw without that patient counts: 13 areas of 1 and one of 0 are 13/14."""
    made = make_predictions(40)
    truth = (np.arange(40) % 4 < 2)[:, None].repeat(len(LABELS), axis=1).astype(np.float32)
    hernia = PATHOLOGIES.index("Hernia")
    truth[:, hernia] = np.arange(40) == 5
    logits = truth * 2 - 1
    logits[:, hernia] *= -1
    predictions = replace(made, truth=truth, logits={BranchName.GLOBAL: logits, BranchName.FUSION: logits})
    decision = fit_decision(predictions, "one-1.0.0")
    found = judge(predictions, make_rows(40), decision, PREPROCESSING, seed=0)
    interval = found.branches[BranchName.FUSION].interval
    assert found.branches[BranchName.FUSION].score.mean == pytest.approx(13 / 14)
    assert (interval.low, interval.high) == (pytest.approx(13 / 14), pytest.approx(13 / 14))
    assert found.drawn_again > 300  # a draw in e lacks that patient
    (view,) = (group for group in found.subgroups if group.attribute == "view")
    assert (view.labels, view.interval.high) == (14, pytest.approx(13 / 14))


def test_results_say_what_was_measured(grey, tiny, tmp_path: Path) -> None:
    """results.json has the agreed keys, and its numbers are those of the predictions beside it."""
    dataset = dataset_of(grey, train=np.arange(0, 8), validation=np.arange(8, 32))
    found = measure(Brightness(), READER, dataset, tiny)
    write_results(tmp_path, found, tiny, dataset)
    content = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert (content["recipe"], content["version"], content["seed"]) == ("tiny", "1.0.0", 3)
    assert content["split"] == {
        "films": {"train": 8, "validation": 24, "test": 0},
        "patients": {"train": 4, "validation": 12, "test": 0},
        "overlap": {"train-validation": 0, "train-test": 0, "validation-test": 0},
    }
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
    """Every array, name and type survives the file."""
    whole = make_predictions(10)
    whole.save(tmp_path / "all.npz")
    stored = Predictions.load(tmp_path / "all.npz")
    assert (stored.images, stored.patients, stored.size) == (whole.images, whole.patients, whole.size)
    for one, two in zip(
        (whole.truth, whole.boxes, whole.heat_maps, *whole.logits.values()),
        (stored.truth, stored.boxes, stored.heat_maps, *stored.logits.values()),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    with np.load(tmp_path / "all.npz", allow_pickle=False) as file:
        assert tuple(file["labels"]) == LABELS


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


def test_a_single_patient_has_figures_and_no_intervals(make_predictions, make_rows) -> None:
    """Of a set, and of a group beside others: no draw of one patient can say how sure a mean or a difference is."""
    predictions, rows = make_predictions(40), make_rows(40)
    alone = replace(predictions, patients=("one",) * 40)
    found = judge(alone, rows, fit_decision(predictions, "m-1"), PREPROCESSING, seed=0)
    assert not any(branch.interval.known for branch in found.branches.values())
    assert not any(one.interval.known for one in found.comparisons)
    rows = [replace(row, age=5.0 if index < 20 else 50.0) for index, row in enumerate(rows)]
    mixed = replace(predictions, patients=("one",) * 20 + predictions.patients[20:])
    child, adults = (one for one in judge_subgroups(mixed, rows, seed=0) if one.attribute == "age")
    assert (child.patients, np.isnan(child.mean), child.interval.known) == (1, False, False)
    assert adults.interval.known


def test_a_mean_that_hangs_on_every_patient_has_no_interval(make_predictions, make_rows) -> None:
    """Of a set and of a group: of two patients, one of whom has all findings, each draw that has an area is both."""
    predictions, rows = make_predictions(40), make_rows(40)
    truth = np.zeros_like(predictions.truth)
    truth[:20] = 1
    two = replace(predictions, patients=("ill",) * 20 + ("sound",) * 20, truth=truth)
    found = judge(two, rows, fit_decision(predictions, "m-1"), PREPROCESSING, seed=0)
    assert all(0 < branch.score.mean < 1 for branch in found.branches.values())
    assert not any(branch.interval.known for branch in found.branches.values())
    assert not any(one.interval.known for one in found.comparisons)
    assert not any(one.interval.known for one in found.subgroups if one.attribute == "view")


@pytest.mark.parametrize(("bearing", "known"), [({"0"}, False), ({"0", "1"}, True)])
def test_a_mean_of_findings_of_single_patients_has_no_interval(make_predictions, make_rows, bearing, known) -> None:
    """Nor has the finding: draws that all have that one patient say nothing of what another one would have had."""
    predictions, rows = make_predictions(40), make_rows(40)
    truth = np.full_like(predictions.truth, np.nan)
    truth[:, 3] = [patient in bearing for patient in predictions.patients]
    found = judge(replace(predictions, truth=truth), rows, fit_decision(predictions, "m-1"), PREPROCESSING, seed=0)
    assert [bool(branch.label_intervals) for branch in found.branches.values()] == [known] * 3
    assert [one.interval.known for one in (*found.branches.values(), *found.comparisons)] == [known] * 6
    assert [one.interval.known for one in found.subgroups if one.attribute == "view"] == [known]


def test_an_age_beyond_any_patient_is_in_no_band(make_predictions, make_rows) -> None:
    """NIH's typing errors, and unknown ages, are left out instead of being put among the old."""
    rows = [replace(row, age=None if index % 2 else 412) for index, row in enumerate(make_rows(20))]
    assert not [one for one in judge_subgroups(make_predictions(20), rows, seed=0) if one.attribute == "age"]


def test_a_birthday_opens_the_next_age_band(make_predictions, make_rows) -> None:
    """Years are whole: who is 17.9 is a child still, who is 18 is not, and who is 120 is among the old."""
    ages = [0, 17, 17.9, 18, 39.5, 40, 59, 60, 79.9, 80, 120, 120.9]
    rows = [replace(row, age=age) for row, age in zip(make_rows(12), ages, strict=True)]
    found = judge_subgroups(make_predictions(12), rows, seed=0)
    films = {one.group: one.films for one in found if one.attribute == "age"}
    assert films == {"0-17": 3, "18-39": 2, "40-59": 2, "60-79": 2, "80+": 3}
