"""Where a network looked, against where the lesions are."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_models.manifest import BranchName
from agcnn_models.manifest_file import read_manifest
from agcnn_models.preprocessing import box_to_source
from agcnn_models.settings import Preprocessing
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.localisation import (
    ALL,
    POINTING,
    Hit,
    Lesions,
    area,
    intersection,
    judge_localisation,
    lesion_edges,
    lesions_on,
    pointing,
    random_box_measures,
)

PREPROCESSING = Preprocessing(resize=80, crop=64)


@dataclass(frozen=True)
class Box:
    """A drawn lesion, as a table has it."""

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float


@st.composite
def edges(draw: st.DrawFn, size: int = 24, margin: int = 4) -> tuple[int, int, int, int]:
    """A box of whole pixels that may reach over a field of `size` pixels."""
    x, y = draw(st.integers(-margin, size - 1)), draw(st.integers(-margin, size - 1))
    return x, y, draw(st.integers(x + 1, size + margin)), draw(st.integers(y + 1, size + margin))


@given(edges(), edges())
def test_areas_are_counted_pixels(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Area and intersection of whole-pixel boxes are the numbers of pixels in them."""
    grid = np.zeros((2, 40, 40), bool)
    for mask, (x_min, y_min, x_max, y_max) in zip(grid, (one, other), strict=True):
        mask[y_min + 6 : y_max + 6, x_min + 6 : x_max + 6] = True
    first, second = np.array([one], float), np.array([other], float)
    assert area(first)[0] == grid[0].sum()
    assert intersection(first, second)[0] == (grid[0] & grid[1]).sum()


@settings(max_examples=40)
@given(edges(size=12, margin=0), edges(size=12, margin=3))
def test_the_control_is_the_mean_over_every_place(attended: tuple[int, ...], drawn: tuple[int, ...]) -> None:
    """Moving the attended box to every place and measuring there gives the same averages."""
    box, lesion, size = np.array([attended], float), np.array([drawn], float), 12
    width, height = attended[2] - attended[0], attended[3] - attended[1]
    places = np.array(
        [(x, y, x + width, y + height) for x in range(size - width + 1) for y in range(size - height + 1)], float
    )
    shared = intersection(places, lesion)
    iou, iobb = shared / (area(places) + area(lesion) - shared), shared / area(places)
    found = random_box_measures(box, lesion, size)
    assert found["iou"][0] == pytest.approx(iou.mean())
    assert found["iou>=0.25"][0] == pytest.approx(np.mean(iou >= 0.25))
    assert found["iobb>=0.5"][0] == pytest.approx(np.mean(iobb >= 0.5))


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_lesion_comes_back_to_the_pixels_it_was_drawn_on(x: int, y: int) -> None:
    """Input pixels mapped to the film as serving does, and drawn there, are the same pixels again."""
    drawn = box_to_source((x, y, x + 3, y + 2), PREPROCESSING, height=1, width=1)
    lesions = Lesions(np.zeros(1, np.int64), ("Mass",), np.array([drawn]))
    np.testing.assert_allclose(lesion_edges(lesions, PREPROCESSING), [[x, y, x + 4, y + 3]], atol=1e-9)


def test_pointing_follows_the_hottest_place() -> None:
    """A hot corner points there; a flat map points everywhere, so by chance."""
    heat = np.zeros((3, 4, 4), np.float16)
    heat[0, 0, 3] = heat[1, 0, 3] = 1
    drawn = np.array([[48, 0, 64, 16], [0, 48, 16, 64], [0, 0, 32, 32]], float)
    np.testing.assert_allclose(pointing(heat, drawn, 64), [1, 0, 0.25])


def hits(found: tuple[Hit, ...], label: str = ALL) -> dict[str, Hit]:
    """By measure."""
    return {hit.measure: hit for hit in found if hit.label == label}


def drawn_on(predictions, shift: int = 0) -> list[Box]:
    """A lesion on each film: its attended region, moved by pixels."""
    boxes = []
    for image, box in zip(predictions.images, predictions.boxes, strict=True):
        edge = box_to_source(tuple(box + shift), PREPROCESSING, height=1, width=1)
        boxes.append(Box(image.replace("png", "jpg"), "Nodule", edge[0], edge[1], edge[2] - edge[0], edge[3] - edge[1]))
    return boxes


def test_looking_at_the_lesion_beats_chance(make_predictions) -> None:
    """Regions that are the lesions hit all of them, and the interval of the difference keeps away from zero."""
    predictions = make_predictions(40)
    lesions = lesions_on(predictions.images, drawn_on(predictions))
    found = judge_localisation(predictions, lesions, PREPROCESSING, seed=0)
    assert (found.lesions, found.films, found.lost, found.cut) == (40, 40, 0, 0)
    for hit in (hits(found.hits)[name] for name in ("iou", "iou>=0.5", "iobb>=0.5")):
        assert hit.value == pytest.approx(1)
        assert 0 < hit.interval.low <= hit.difference <= hit.interval.high
        assert hit.patients == 20
    assert hits(found.hits)["iou"] == replace(hits(found.hits, "Nodule")["iou"], label=ALL)


def test_a_random_network_is_no_better_than_chance(make_predictions) -> None:
    """Regions anywhere, lesions anywhere: no measure is told apart from its control."""
    predictions = make_predictions(200, seed=3)
    random = np.random.default_rng(0)
    corner = random.integers(0, 48, (200, 2))
    box = np.concatenate((corner, corner + 15), axis=1)
    elsewhere = replace(predictions, boxes=box, heat_maps=random.random((200, 2, 2)).astype(np.float16))
    boxes = [Box(image, "Mass", 0.4, 0.4, 0.2, 0.2) for image in predictions.images]
    found = hits(judge_localisation(elsewhere, lesions_on(predictions.images, boxes), PREPROCESSING, seed=0).hits)
    for measure in ("iou", "iou>=0.1", "iobb>=0.1"):
        assert found[measure].interval.low < 0 < found[measure].interval.high
    assert found[POINTING].control == pytest.approx((0.2 * 80) ** 2 / 64**2)


def test_what_the_crop_loses_counts_as_missed(make_predictions) -> None:
    """A lesion in the margin is counted as lost, one on the edge as cut, and neither can be hit by a point inside."""
    predictions = make_predictions(4)
    boxes = [Box("0.png", "Mass", 0, 0, 0.05, 0.05), Box("1.png", "Mass", 0, 0.4, 0.3, 0.2)]
    found = judge_localisation(predictions, lesions_on(predictions.images, boxes), PREPROCESSING, seed=0)
    assert (found.lesions, found.lost, found.cut) == (2, 1, 1)


def test_no_boxes_and_no_attention_are_sentences(make_predictions) -> None:
    """Boxes of other films, and a network that attends to nothing, are refused."""
    predictions = make_predictions(4)
    with pytest.raises(TrainingError, match="None of the boxes"):
        judge_localisation(predictions, lesions_on(predictions.images, []), PREPROCESSING, seed=0)
    lesions = lesions_on(predictions.images, drawn_on(predictions))
    with pytest.raises(TrainingError, match="attends to no region"):
        judge_localisation(replace(predictions, boxes=None), lesions, PREPROCESSING, seed=0)


def test_nihs_boxes_lie_on_the_films(shared_data: Path, make_predictions) -> None:
    """Each real film of the folder has a box, and the shipped preprocessing's crop loses none of them wholly."""
    import pandas as pd

    rows = pd.read_csv(shared_data / "nih-boxes-256" / "labels.csv")
    table = pd.read_csv(
        shared_data / "chestxray14-labels" / "BBox_List_2017.csv.gz", header=0, usecols=range(6),
        names=["image", "label", "x", "y", "width", "height"],
    )  # fmt: skip
    table["label"] = table["label"].replace("Infiltrate", "Infiltration")
    boxes = [Box(*one[:2], *(value / 1024 for value in one[2:])) for one in table.itertuples(index=False, name=None)]
    lesions = lesions_on(list(rows["image"]), boxes)
    assert set(lesions.film.tolist()) == set(range(len(rows)))
    for film, label in zip(lesions.film, lesions.labels, strict=True):
        assert label in rows["finding_labels"][film].split("|")
    predictions = replace(make_predictions(len(rows)), images=tuple(rows["image"]), size=160)
    found = judge_localisation(predictions, lesions, Preprocessing(resize=183, crop=160), seed=0)
    assert (found.lesions, found.films, found.lost) == (221, 200, 0)


def test_a_bundle_of_before_further_thresholds_still_opens(tmp_path: Path) -> None:
    """Version 1.0.0 of the starter was written before manifests had them, and intervals of each label."""
    shipped = Path(__file__).resolve().parents[3] / "models" / "bundles" / "starter" / "manifest.toml"
    content = tomllib.loads(shipped.read_text(encoding="utf-8"))
    assert [chosen["set_id"] for chosen in content.pop("further_thresholds")] == ["starter-3.0.0-sensitivity-90"]
    for branch in content["metrics"]["branches"].values():
        del branch["auc_ci"], branch["average_precision"]
    (tmp_path / "manifest.toml").write_bytes(tomli_w.dumps(content).encode())
    manifest = read_manifest(tmp_path)
    assert manifest.further_thresholds == ()
    assert manifest.metrics.branches[BranchName.FUSION].average_precision == {}
