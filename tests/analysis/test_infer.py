"""What a reading says of a label, and where it comes from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from agcnn_clinic.analysis.infer import LabelReading, Reader
from agcnn_clinic.analysis.seen import NetworkFilm
from agcnn_models.bundle import open_bundle
from agcnn_models.labels import LABELS
from agcnn_models.manifest import CalibrationMethod, Platt
from agcnn_models.preprocessing import box_to_source, standardise


@pytest.mark.parametrize(
    ("probability", "threshold", "positive"),
    [(0.5, 0.5, True), (0.49999, 0.5, False), (0.0, 0.0, True), (0.9, None, None)],
)
def test_a_label_is_positive_from_its_threshold_on(probability, threshold, positive):
    """The calibrated probability counts, and none of the branches'; without a threshold nothing is said."""
    others = 1 - probability
    reading = LabelReading("Mass", probability, others, others, others, threshold)
    assert reading.positive is positive


def test_a_reading_holds_what_each_branch_says_of_its_film(small_bundle):
    """Of two films in a batch, one of them high and narrow: by the network itself, label by label, branch by branch."""
    bundle = open_bundle(small_bundle)
    scaled = bundle.manifest.calibration.model_copy(
        update={"method": CalibrationMethod.PLATT, "coefficients": dict.fromkeys(LABELS, Platt(a=0.5, b=-2.0))}
    )
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"calibration": scaled}))
    reader = Reader(bundle, bundle.load_model(torch.device("cpu")), torch.device("cpu"))
    preprocessing = bundle.manifest.preprocessing
    side = preprocessing.crop
    random = np.random.default_rng(3)
    films = [
        NetworkFilm(random.random((side, side), dtype=np.float32), height, width)
        for height, width in ((300, 200), (150, 400))
    ]
    grey = torch.from_numpy(np.stack([film.grey for film in films]))[:, None]
    said = bundle.load_model(torch.device("cpu")).read(standardise(grey, preprocessing))
    calibrated = bundle.calibrate(said.fusion_logits.numpy())
    for row, (film, reading) in enumerate(zip(films, reader.read_films(films), strict=True)):
        for one in reading.labels:
            at = row, LABELS.index(one.label)
            assert one.probability == pytest.approx(calibrated[at], abs=1e-4)
            assert one.probability_global == pytest.approx(said.global_probabilities[at].item(), abs=1e-4)
            assert one.probability_local == pytest.approx(said.local_probabilities[at].item(), abs=1e-4)
            assert one.probability_fusion == pytest.approx(said.fusion_probabilities[at].item(), abs=1e-4)
            assert one.threshold == bundle.thresholds.get(one.label)
        box = tuple(said.boxes[row].tolist())
        assert reading.region == box_to_source(box, preprocessing, film.height, film.width)
