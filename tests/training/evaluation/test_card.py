"""What a bundle says of a measured network: its manifest and its card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import BranchName, Weights, WeightsDtype, bind
from agcnn_models.manifest_file import require_consistent, to_toml
from agcnn_models.settings import Preprocessing
from agcnn_training.card import Provenance, model_card
from agcnn_training.data.source import Dataset
from agcnn_training.data.splits import TEST, VALIDATION, Split
from agcnn_training.data.table import Row
from agcnn_training.evaluation.bootstrap import Interval
from agcnn_training.evaluation.decision import fit_decision
from agcnn_training.evaluation.page_tables import finding_table
from agcnn_training.evaluation.printed import NONE, signed
from agcnn_training.evaluation.results import Measured, judge, summary
from agcnn_training.given import Given
from agcnn_training.publish import describe, draft_manifest
from agcnn_training.recipe import changed

PREPROCESSING = Preprocessing(resize=72, crop=64)


@pytest.fixture(scope="module")
def measured(make_predictions, make_rows) -> Measured:
    """A network measured on validation and test films."""
    predictions = {VALIDATION: make_predictions(40, seed=1), TEST: make_predictions(60, seed=2)}
    decision = fit_decision(predictions[VALIDATION], "tiny-1.0.0")
    sets = {
        name: judge(found, make_rows(len(found)), decision, PREPROCESSING, seed=0)
        for name, found in predictions.items()
    }
    return Measured(predictions, decision, sets)


def divided(rows: Sequence[Row], **sides: range) -> Dataset:
    """These films, divided so."""
    chosen = {side: np.array(indices) for side, indices in sides.items()}
    return Dataset(tuple(rows), (), Split.measured([row.patient for row in rows], chosen, "by hand"))


@pytest.fixture
def provenance(tiny, make_rows) -> Provenance:
    """160 films, of which the first of the test side is of a patient who trained."""
    dataset = divided(make_rows(160), train=range(61), validation=range(62, 100), test=range(61, 62))
    return describe(tiny, dataset, None, Given())


def test_the_manifest_speaks_of_the_test_films(tiny, measured: Measured, provenance: Provenance) -> None:
    """Where there are test films the metrics are theirs; calibration and both threshold sets are the weights' own."""
    draft = draft_manifest(tiny, provenance, measured)
    manifest = bind(draft, Weights(sha256="a" * 64, dtype=WeightsDtype.FLOAT16))
    require_consistent(manifest)
    assert manifest.metrics.films == 60
    assert "chose nothing" in manifest.metrics.evaluated_on
    fusion, found = manifest.metrics.branches[BranchName.FUSION], measured.sets[TEST].branches[BranchName.FUSION]
    assert fusion.mean_auc == found.score.mean
    assert fusion.auc_ci.keys() == set(PATHOLOGIES)
    assert fusion.average_precision.keys() == set(LABELS)
    assert [one.set_id for one in (manifest.thresholds, *manifest.further_thresholds)] == [
        "tiny-1.0.0-youden", "tiny-1.0.0-sensitivity-90",
    ]  # fmt: skip
    assert "[[further_thresholds]]" in to_toml(manifest)


def test_thresholds_of_other_weights_are_refused(tiny, measured: Measured, provenance: Provenance) -> None:
    """Further threshold sets are checked as the one in use is."""
    from agcnn_models.errors import ModelError

    manifest = bind(draft_manifest(tiny, provenance, measured), Weights(sha256="a" * 64, dtype=WeightsDtype.FLOAT16))
    foreign = manifest.further_thresholds[0].model_copy(update={"weights_sha256": "b" * 64})
    with pytest.raises(ModelError, match="thresholds belong to other weights"):
        require_consistent(manifest.model_copy(update={"further_thresholds": (foreign,)}))


def test_the_card_says_how_sure_it_is(tiny, measured: Measured, provenance: Provenance) -> None:
    """Areas of both sets with intervals, the gain of the fusion, calibration, thresholds and groups are there."""
    card = model_card(tiny, provenance, measured)
    for name in (TEST, VALIDATION):
        fusion = measured.sets[name].branches[BranchName.FUSION]
        assert f"| fusion | {fusion.score.mean:.3f} | {fusion.interval.low:.3f} to {fusion.interval.high:.3f} |" in card
    gain = measured.sets[TEST].comparisons[1]
    assert (gain.first, gain.second) == (BranchName.GLOBAL, BranchName.FUSION)
    assert (
        f"Fusion minus global: {signed(gain.difference)} ({signed(gain.interval.low)} to {signed(gain.interval.high)})"
        in card
    )
    assert "chose nothing" in card
    assert "1 of those patients have films among the others" in card
    assert "`tiny-1.0.0-sensitivity-90` on the test films" in card
    assert "Expected calibration error of the fusion branch" in card
    assert "| sex F (small) | 30 | 30 |" in card
    assert "fewer than two patients have carries no interval" in card
    assert "split: by hand" in card
    assert "nan" not in card


def test_what_the_films_are_stands_on_card_and_manifest(tiny, measured: Measured, make_rows) -> None:
    """As it is known of the data, unless the recipe says it in words of its own."""
    films = divided(make_rows(160), train=range(61), validation=range(62, 100), test=range(100, 160))
    films = replace(films, about="Films of one ward.")
    for recipe, said in ((tiny, "Films of one ward."), (changed(tiny, {"card.data": "My films."}), "My films.")):
        told = describe(recipe, films, None, Given())
        assert draft_manifest(recipe, told, measured).training.data == said
        assert said in model_card(recipe, told, measured)


def test_given_weights_of_unknown_origin_are_said_everywhere(tiny, measured: Measured, make_rows) -> None:
    """Card and manifest say which stage did not train, and take back that the test films were never met."""
    dataset = divided(make_rows(160), train=range(61), validation=range(62, 100), test=range(100, 160))
    told = describe(tiny, dataset, None, Given(branch=Path("a.pth"), unknown=("a.pth",)))
    manifest = bind(draft_manifest(tiny, told, measured), Weights(sha256="a" * 64, dtype=WeightsDtype.FLOAT16))
    assert manifest.training.epochs == {"local": 1, "fusion": 1}
    assert "Which films a.pth learnt from is unknown" in manifest.training.pretraining
    assert "its initial weights may have met them" in manifest.metrics.evaluated_on
    card = model_card(tiny, told, measured)
    assert "the file a.pth. Not trained here: the stage global. Which films a.pth learnt from is unknown" in card
    assert "Its initial weights may have met them, though: see above." in card


def test_what_was_not_learnt_is_said_and_not_judged(tiny, make_predictions, make_rows) -> None:
    """Manifest and card name the labels that are not assessed, and those without a threshold, and count the others."""
    unlearnt, undecided = ("Hernia", "No Finding"), "Mass"
    predictions = {name: make_predictions(60, seed=seed) for seed, name in enumerate((VALIDATION, TEST))}
    for found in predictions.values():
        found.truth[:, [LABELS.index(label) for label in unlearnt]] = np.nan
    predictions[VALIDATION].truth[:, LABELS.index(undecided)] = 0
    decision = fit_decision(predictions[VALIDATION], "tiny-1.0.0")
    rows = make_rows(60)
    sets = {name: judge(found, rows, decision, PREPROCESSING, seed=0) for name, found in predictions.items()}
    measured = Measured(predictions, decision, sets)
    dataset = divided(rows, train=range(40), validation=range(40, 60))
    told = describe(tiny, dataset, None, Given(), unlearnt)
    manifest = bind(draft_manifest(tiny, told, measured), Weights(sha256="a" * 64, dtype=WeightsDtype.FLOAT16))
    assert (manifest.not_assessed, manifest.undecided) == (unlearnt, (undecided,))
    assert len(manifest.metrics.branches[BranchName.FUSION].auc) == 13
    card = model_card(tiny, told, measured)
    assert "**Not assessed: Hernia, No Finding**" in card
    assert "mean over the 13 pathologies" in card
    assert "Not assessed, so left out: Hernia, No Finding." in card
    assert "since the validation films have one outcome only: Mass." in card
    assert "Hernia: 0" not in card
    assert "mean AUC over 13 labels" in summary(sets)


def test_card_and_page_write_numbers_alike(tiny, provenance: Provenance, make_predictions, make_rows) -> None:
    """A number that is missing and one below zero look the same in both, and so does all else of a finding."""
    predictions = {name: make_predictions(60, seed=seed) for seed, name in enumerate((VALIDATION, TEST))}
    predictions[TEST].truth[:, PATHOLOGIES.index("Mass")] = 0
    decision = fit_decision(predictions[VALIDATION], "tiny-1.0.0")
    sets = {name: judge(found, make_rows(60), decision, PREPROCESSING, seed=0) for name, found in predictions.items()}
    first, gain, *others = sets[TEST].comparisons
    worse = replace(gain, difference=-0.0049, interval=Interval(-0.0136, 0.004))
    result = replace(sets[TEST], comparisons=(first, worse, *others))
    card = model_card(tiny, provenance, Measured(predictions, decision, {**sets, TEST: result}))
    page = {row[0]: row[2:] for row in finding_table(result).rows}
    for label in ("Mass", "Effusion"):
        assert f"| {label} | {' | '.join(page[label])} |" in card
    assert f"| Mass | {NONE} | {NONE} | {NONE} | {NONE} | {NONE} | 0.000 |" in card
    assert "Fusion minus global: \u22120.0049 (\u22120.0136 to +0.0040)" in card


def test_a_card_without_test_films_warns(tiny, measured: Measured, provenance: Provenance) -> None:
    """Numbers of the films that chose epochs and thresholds are called flattering."""
    validation = Measured(
        {VALIDATION: measured.predictions[VALIDATION]}, measured.decision, {VALIDATION: measured.sets[VALIDATION]}
    )
    card = model_card(tiny, provenance, validation)
    assert "These films also chose the epochs" in card
    assert "all of this flatters them" in card
