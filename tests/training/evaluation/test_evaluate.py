"""The front door of evaluation, on drawn films: from a bundle to numbers, tables and a page."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agcnn_models.agcnn import build_agcnn
from agcnn_models.bundle import open_bundle, write_bundle
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName, CalibrationMethod, CalibrationSet, Draft, Manifest, Platt, ThresholdSet
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import Backbone
from agcnn_training.data.pictures import read_picture
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.decision import decision_of, fit_decision
from agcnn_training.evaluation.evaluate import (
    LOCALISATION_FILE,
    METRICS_FILE,
    PAGE_FILE,
    PREDICTIONS_FILE,
    EvaluateRequest,
    evaluate,
)
from agcnn_training.evaluation.figures import area_figure, roc_figure
from agcnn_training.evaluation.opening import Side, open_films, warnings
from agcnn_training.evaluation.page import Report, page
from agcnn_training.evaluation.page_tables import finding_table
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.results import judge
from agcnn_training.evaluation.writing import RESULTS_FILE
from agcnn_training.experiments.charts import branch_curves
from agcnn_training.met import read_met

NIH_BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n0.png,Mass,640,400,200,200\n1.png,Nodule,700,420,150,150\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle) -> Path:
    """A bundle that was never trained, with calibration and two threshold sets."""
    torch.manual_seed(0)
    original = open_bundle(small_bundle).manifest
    content = original.model_dump(include=set(Draft.model_fields))
    for part in ("thresholds", "calibration"):
        content[part].pop("weights_sha256")
    draft = Draft.model_validate(content).model_copy(
        update={
            "name": "measured",
            "calibration": CalibrationSet(
                method=CalibrationMethod.PLATT, coefficients={label: Platt(a=0.5, b=-1.0) for label in LABELS}
            ),
            "further_thresholds": (ThresholdSet(set_id="sensitive", method="low", values=dict.fromkeys(LABELS, 0.1)),),
        }
    )
    folder = tmp_path_factory.mktemp("bundles") / "measured"
    return write_bundle(folder, build_agcnn(Backbone.DENSENET121).eval(), draft, "# Measured\n").folder


@pytest.fixture
def asked(bundle: Path, films: Path, tmp_path: Path) -> EvaluateRequest:
    """A request to evaluate on all drawn films, with boxes on two of them."""
    (tmp_path / "boxes.csv").write_text(NIH_BOXES)
    return EvaluateRequest(
        bundle=bundle,
        data=films / "labels.csv",
        images=films / "images",
        out=tmp_path / "out",
        boxes=tmp_path / "boxes.csv",
        device="cpu",
    )


@pytest.fixture
def said() -> Console:
    """A console whose words can be read."""
    return Console(file=io.StringIO(), width=400)


def test_a_bundle_is_measured_as_it_serves(asked: EvaluateRequest, said: Console) -> None:
    """Every file is written, and the logits are those of the serving path."""
    assert evaluate(asked, said) == asked.out / PAGE_FILE
    stored = Predictions.load(asked.out / PREDICTIONS_FILE)
    opened = open_bundle(asked.bundle)
    inputs = torch.stack(
        [to_model_input(read_picture(asked.images / name), opened.manifest.preprocessing) for name in stored.images[:4]]
    )
    reading = opened.load_model().read(inputs)
    np.testing.assert_allclose(stored.logits[BranchName.FUSION][:4], reading.fusion_logits, atol=1e-5)
    np.testing.assert_array_equal(stored.boxes[:4], reading.boxes)
    content = json.loads((asked.out / RESULTS_FILE).read_text())
    assert (content["model"], content["flip"], len(content["warnings"])) == ("measured", False, 1)
    found = content["sets"]["all"]
    assert (found["films"], found["patients"]) == (24, 12)
    assert set(found["branches"]) == {"global", "local", "fusion"}
    assert found["branches"]["fusion"]["auc"].keys() == {"Mass", "Nodule"}
    assert found["thresholds"].keys() == {"half", "sensitive"}
    assert (found["localisation"]["lesions"], found["localisation"]["films"]) == (2, 2)
    with (asked.out / LOCALISATION_FILE).open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"all", "Mass", "Nodule"}
    assert (asked.out / METRICS_FILE).exists()
    assert "cannot be told" in said.file.getvalue()


def test_mirrored_films_are_averaged(asked: EvaluateRequest, said: Console) -> None:
    """With --flip the logits are the mean over a film and its mirror image, and the page says so."""
    evaluate(replace(asked, flip=True), said)
    stored = Predictions.load(asked.out / PREDICTIONS_FILE)
    opened = open_bundle(asked.bundle)
    film = to_model_input(read_picture(asked.images / stored.images[0]), opened.manifest.preprocessing)
    with torch.no_grad():
        both = opened.load_model()(torch.stack((film, film.flip(-1)))).global_logits
    assert (both[0] - both[1]).abs().max() > 0.05
    np.testing.assert_allclose(stored.logits[BranchName.GLOBAL][0], both.mean(dim=0), atol=1e-5)
    assert "read mirrored as well" in (asked.out / PAGE_FILE).read_text()


def split_file(bundle: Path, sides: dict[str, str]) -> None:
    """The run's split beside a bundle, as training writes it."""
    run = bundle.with_name(bundle.name + ".run")
    run.mkdir()
    lines = [f"{image},{int(image.split('.')[0]) // 2},{side}" for image, side in sides.items()]
    (run / "split.csv").write_text("\n".join(("image,patient,side", *lines)) + "\n")


FILMS = [f"{index}.png" for index in range(24)]


@pytest.mark.parametrize(
    ("sides", "asked_for", "count", "warning"),
    [
        ({f: "train" if i < 10 else "validation" for i, f in enumerate(FILMS)}, Side.ALL, 24, "trained on 10 of these"),
        ({f: "train" if i < 10 else "validation" for i, f in enumerate(FILMS)}, None, 24, "14 of these 24 films chose"),
        ({f: "train" if i < 10 else "test" for i, f in enumerate(FILMS)}, None, 14, None),
        ({f: "train" if i % 2 else "test" for i, f in enumerate(FILMS)}, None, 12, "other films of 12 of these 12"),
        ({f: "validation" if i < 10 else "test" for i, f in enumerate(FILMS)}, Side.VALIDATION, 10, "10 of these 10"),
    ],
)
def test_films_that_the_model_has_met_are_named(
    films: Path, bundle: Path, tmp_path: Path, sides: dict[str, str], asked_for: Side | None, count: int, warning: str
) -> None:
    """Its run's split says which films trained and chose, whose patients trained, and which are the test films."""
    split_file(tmp_path / "model", sides)
    met = read_met(tmp_path / "model")
    found = open_films(films / "labels.csv", films / "images", asked_for, met)
    assert len(found.rows) == count
    said = warnings(found, met, open_bundle(bundle).manifest)
    assert any(warning in sentence for sentence in said) if warning else not said


def test_a_training_film_is_no_test_film_of_the_same_series(bundle: Path, films: Path, tmp_path: Path) -> None:
    """Films named by their UIDs without a suffix keep the sides that the run's split gives each of them."""
    names = [f"1.2.840.2000.{number}" for number in range(6)]
    for number, name in enumerate(names):
        (tmp_path / name).symlink_to(films / "images" / f"{number}.png")
    rows = [f"{name},{number},Mass" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(("image,patient,finding_labels", *rows)) + "\n")
    split_file(tmp_path / "model", {name: "train" if number < 4 else "test" for number, name in enumerate(names)})
    met = read_met(tmp_path / "model")
    found = open_films(tmp_path / "labels.csv", None, None, met)
    assert [row.image for row in found.rows] == names[4:]
    everything = open_films(tmp_path / "labels.csv", None, Side.ALL, met)
    (said,) = warnings(everything, met, open_bundle(bundle).manifest)
    assert "trained on 4 of these 6 films" in said


def test_a_broken_split_is_one_sentence(tmp_path: Path) -> None:
    """A split.csv that is none is named instead of being passed over."""
    (tmp_path / "model.run").mkdir()
    (tmp_path / "model.run" / "split.csv").write_text("film,side\n1,train\n")
    with pytest.raises(TrainingError, match=r"split\.csv is not a run's split"):
        read_met(tmp_path / "model")


def test_no_test_films_is_one_sentence(asked: EvaluateRequest, said: Console) -> None:
    """A table of which no film is known to be a test film has none to measure on."""
    with pytest.raises(TrainingError, match=r"has no test films: .*--split all"):
        evaluate(replace(asked, side=Side.TEST), said)


def test_no_positives_are_one_sentence(asked: EvaluateRequest, said: Console, tmp_path: Path) -> None:
    """Healthy films only give no area under any curve."""
    table = tmp_path / "healthy.csv"
    table.write_text("image,patient,finding_labels\n" + "".join(f"{i}.png,{i},No Finding\n" for i in range(4)))
    with pytest.raises(TrainingError, match="No pathology is both present and absent"):
        evaluate(replace(asked, data=table), said)


def test_boxes_of_other_films_are_refused(asked: EvaluateRequest, said: Console, tmp_path: Path) -> None:
    """Where none of the boxes lies on these films, somebody has named the wrong table."""
    (tmp_path / "boxes.csv").write_text(NIH_BOXES.replace("0.png", "x.png").replace("1.png", "y.png"))
    with pytest.raises(TrainingError, match=r"None of the boxes of boxes\.csv"):
        evaluate(asked, said)


@pytest.fixture
def report(bundle: Path, make_predictions, make_rows) -> Report:
    """What a page shows of made-up predictions."""
    opened = open_bundle(bundle)
    manifest, predictions = opened.manifest, make_predictions(40)
    result = judge(predictions, make_rows(40), decision_of(opened), manifest.preprocessing, seed=0)
    return Report(manifest, "all", ("A <b>caution</b> & more.",), predictions, result)


def test_the_page_needs_nothing_beside_it(report: Report) -> None:
    """No script, no link, no picture from elsewhere; every figure is well-formed; text is escaped."""
    html = page(report)
    assert not re.search(r"<script|<link|<img|<iframe|\shref=\"(?!#)|\ssrc=|@import|url\((?!#)", html)
    outside = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        ET.fromstring(drawing)
    assert "A &lt;b&gt;caution&lt;/b&gt; &amp; more." in html
    assert f"{report.result.branches[BranchName.FUSION].score.mean:.3f}" in html


def test_a_finding_has_the_number_of_films_of_which_it_is_known(report: Report) -> None:
    """Films that were reviewed for some findings alone are fewer for the others, and an area is of those films."""
    films = {row[0]: row[1] for row in finding_table(report.result).rows}
    truth = report.predictions.truth
    assert films["Atelectasis"] == f"{int(np.nansum(truth[:, 0]))} of 39"
    assert films["Effusion"] == f"{int(truth[:, 2].sum())} of 40"


def test_branches_are_told_apart_without_colours(report: Report) -> None:
    """In a grey print the curves of global and local are dashed, each in its way, and that of fusion is not."""
    strokes = set(re.findall(r"stroke-dasharray: ([\d., ]+)", roc_figure(report.predictions)))
    assert len(strokes) == 2


def test_a_branch_has_the_colour_that_it_has_in_the_figures_of_experiments(report: Report) -> None:
    """Page and figure lie beside each other: blue must not be one branch here and another there."""
    drawn = set(re.findall(r"stroke: (#[0-9a-f]{6})", roc_figure(report.predictions)))
    curves = branch_curves("", report.predictions).axes[0].get_lines()
    coloured = {str(line.get_color()).lower() for line in curves} & drawn
    assert len(coloured) == len(report.predictions.logits) == 3


def test_the_same_result_is_the_same_figure(report: Report) -> None:
    """No date and no random name: byte for byte the same, so that a change of results can be seen."""
    assert area_figure(report.result) == area_figure(report.result)


def test_a_network_of_one_branch_has_a_page(bundle: Path, make_predictions, make_rows) -> None:
    """Nothing is compared and nothing localised, and the page stands."""
    predictions = replace(make_predictions(40, branches=(BranchName.GLOBAL,)), boxes=None, heat_maps=None)
    decision, manifest = fit_decision(predictions, "one-1.0.0"), open_bundle(bundle).manifest
    result = judge(predictions, make_rows(40), decision, manifest.preprocessing, seed=0)
    first, second = decision.threshold_sets
    shown: Manifest = manifest.model_copy(update={"thresholds": first, "further_thresholds": (second,)})
    html = page(Report(shown, "validation", (), predictions, result))
    assert "What each branch adds" not in html
    assert "Where it looked" not in html
