"""Small networks and a bundle that the tests of this room share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.bundle import write_bundle
from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import (
    BranchMetrics,
    BranchName,
    CalibrationMethod,
    CalibrationSet,
    Draft,
    Metrics,
    Platt,
    Software,
    ThresholdSet,
    Training,
)
from agcnn_models.settings import AttentionSettings, Backbone


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: networks this small lose time to more, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained() -> Callable[[Backbone], AGCNN]:
    """Makes a network whose BatchNorms are not the identity: with falling, flat and ordinary channels."""

    def make(backbone: Backbone) -> AGCNN:
        torch.manual_seed(5)
        model = build_agcnn(backbone).eval()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.6, 1.2)
                nn.init.normal_(norm.bias, std=0.2)
                nn.init.normal_(norm.running_mean, std=0.1)
                nn.init.uniform_(norm.running_var, 0.5, 1.0)
                with torch.no_grad():
                    norm.weight[3] *= -1
                    norm.weight[5] = 0
        return model

    return make


@pytest.fixture(scope="session")
def model() -> AGCNN:
    """Return an AG-CNN of two DenseNets with random weights, in eval mode; tests leave it as it is."""
    torch.manual_seed(11)
    return build_agcnn(Backbone.DENSENET121).eval()


@pytest.fixture(scope="session")
def draft() -> Draft:
    """Return a draft with every part of a manifest filled."""
    metrics = BranchMetrics(mean_auc=0.75, ci_low=0.7, ci_high=0.8, auc=dict.fromkeys(PATHOLOGIES, 0.75))
    return Draft(
        name="sample",
        version="1.2.0",
        intended_use="Tests only.",
        backbone=Backbone.DENSENET121,
        attention=AttentionSettings(tau=0.6),
        thresholds=ThresholdSet(
            set_id="sample-youden",
            method="Youden's J on the validation films",
            values={label: 0.1 + 0.05 * position for position, label in enumerate(LABELS)},
        ),
        calibration=CalibrationSet(
            method=CalibrationMethod.PLATT,
            coefficients={label: Platt(a=1.5, b=-0.1 * position) for position, label in enumerate(LABELS)},
        ),
        training=Training(
            data="Nothing.",
            recipe="none",
            split="patients, at random",
            seed=3,
            films_train=20,
            films_validation=4,
            patients_train=12,
            patients_validation=3,
            epochs={"global": 2, "local": 1, "fusion": 1},
            settings={"learning_rate": 0.01, "optimiser": "sgd"},
        ),
        metrics=Metrics(
            evaluated_on="The validation films.",
            films=4,
            patients=3,
            branches=dict.fromkeys(BranchName, metrics),
        ),
        software=Software(agcnn="0.1.0", torch="2.11.0", torchvision="0.26.0", python="3.11"),
    )


@pytest.fixture(scope="session")
def written(tmp_path_factory, model, draft) -> Path:
    """Return the folder of a bundle of `model` as float16; tests copy it before they touch it."""
    folder: Path = tmp_path_factory.mktemp("bundles") / "sample"
    write_bundle(folder, model, draft, "# A sample\n")
    return folder
