"""The front door, on drawn films: from a table to a bundle that reads."""

import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agcnn_models.backbones import build_branch
from agcnn_models.bundle import open_bundle
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import Backbone, Pooling, Preprocessing, Region
from agcnn_training.data.films import evaluation_images, load_films
from agcnn_training.data.pictures import read_picture
from agcnn_training.data.table import read_table
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.metrics import score_branch
from agcnn_training.evaluation.opening import Side, open_films, warnings
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.met import read_met
from agcnn_training.recipe import changed, load_recipe
from agcnn_training.train import TrainRequest, train

Maker = Callable[[str], TrainRequest]


def test_three_stages_end_in_a_bundle_that_reads(request_for: Maker, quiet: Console, recipe_file: Path) -> None:
    """The bundle opens, and read by the serving path it says what its run recorded, film by film."""
    recipe_file.write_text(recipe_file.read_text().replace("resize = 72", "resize = 70"))  # shrunk films are no bytes
    request = request_for("model")
    bundle = open_bundle(train(request, quiet))
    manifest = bundle.manifest
    assert (manifest.training.films_train, manifest.training.films_validation) == (14, 10)
    assert (manifest.training.patients_train, manifest.training.patients_validation) == (7, 5)
    assert "8 further films" in manifest.training.pretraining
    assert manifest.metrics is not None

    run = request.out.with_name("model.run")
    with (run / "split.csv").open() as file:
        chosen = [row["image"] for row in csv.DictReader(file) if row["side"] == "validation"]
    assert len(chosen) == 10
    inputs = torch.stack(
        [to_model_input(read_picture(request.images / name), manifest.preprocessing) for name in chosen]
    )
    diagnosis = bundle.load_model().read(inputs)
    findings = {row.image: row.findings or {"No Finding"} for row in read_table(request.data)}
    truth = np.array([[label in findings[name] for label in LABELS] for name in chosen])
    served = score_branch(truth, diagnosis.fusion_logits.numpy())
    recorded = manifest.metrics.branches[BranchName.FUSION]
    assert served.mean == pytest.approx(recorded.mean_auc, abs=1e-9)
    measured = Predictions.load(run / "predictions-validation.npz")
    np.testing.assert_allclose(measured.logits[BranchName.FUSION], diagnosis.fusion_logits, atol=1e-5)
    np.testing.assert_array_equal(measured.boxes, diagnosis.boxes)
    assert served.skipped
    assert recorded.ci_low <= recorded.mean_auc <= recorded.ci_high

    card = (request.out / "MODEL_CARD.md").read_text()
    assert "24 films of 12 patients" in card
    assert f"{recorded.mean_auc:.3f}" in card
    assert "Hernia" in card
    results = json.loads((run / "results.json").read_text())["sets"]["validation"]
    assert results["branches"]["fusion"]["mean_auc"] == recorded.mean_auc
    assert results["films"] == len(Predictions.load(run / "predictions-validation.npz")) == 10
    phases = [json.loads(line)["phase"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert phases == ["global-1", "global-1", "global-2", "local-1", "fusion-1"]


@pytest.mark.usefixtures("shallow")
def test_parts_that_train_together_end_in_a_bundle_too(request_for: Maker, quiet: Console, recipe_file: Path) -> None:
    """One stage of all three parts, on finer images and with a control region: the manifest says all of it."""
    recipe_file.write_text(
        """
        name = "tiny"
        description = "For tests."
        network.backbone = "densenet121"
        network.initial_weights = "random"
        network.attention = { region = "random", detail = 2 }
        images = { resize = 36, crop = 32 }
        split = { validation = 0.4 }
        joint = { auxiliary = ["sex"], auxiliary_weight = 0.5 }
        phase = { epochs = 1, batch_size = 8, loss = "class_balanced" }
        stages = [{ trains = ["global", "local", "fusion"] }]
        """
    )
    bundle = open_bundle(train(request_for("model"), quiet))
    manifest = bundle.manifest
    assert (manifest.attention.region, manifest.attention.detail) == (Region.RANDOM, 2)
    assert (manifest.preprocessing.resize, manifest.preprocessing.crop) == (72, 64)
    assert manifest.training.epochs == {"global+local+fusion": 1}
    diagnosis = bundle.load_model().read(torch.zeros(1, 3, 64, 64))
    assert diagnosis.heat_map.shape == (1, 1, 1)


@pytest.mark.usefixtures("shallow")
def test_one_branch_alone_ends_in_results(request_for: Maker, recipe_file: Path) -> None:
    """A recipe without fusion is measured, and says that it makes no bundle."""
    recipe_file.write_text(
        """
        name = "tiny"
        description = "For tests."
        network = { backbone = "densenet121", pooling = "avg", initial_weights = "random" }
        images = { resize = 36, crop = 32 }
        split = { validation = 0.4 }
        phase = { epochs = 1, batch_size = 8 }
        stages = [{ trains = ["global"] }]
        """
    )
    request, said = request_for("model"), io.StringIO()
    assert train(request, Console(file=said, width=200)) == request.out.with_name("model.run")
    assert "global: mean AUC" in said.getvalue()
    assert "No bundle is written" in said.getvalue()
    assert not request.out.exists()


@pytest.mark.usefixtures("shallow")
def test_a_given_branch_is_accounted_for(request_for: Maker, films: Path, tmp_path: Path) -> None:
    """What a branch from elsewhere has met is unknown: the run, its files and an evaluation say so."""
    torch.save(build_branch(Backbone.DENSENET121, pooling=Pooling.AVG).state_dict(), tmp_path / "elsewhere.pth")
    request, said = replace(request_for("model"), global_weights=tmp_path / "elsewhere.pth"), io.StringIO()
    bundle = open_bundle(train(request, Console(file=said, width=400)))
    assert "WARNING: Which films elsewhere.pth learnt from is unknown" in said.getvalue()
    assert bundle.manifest.training.epochs == {"local": 1, "fusion": 1}
    assert "elsewhere.pth learnt from is unknown" in (request.out / "MODEL_CARD.md").read_text()
    met = read_met(request.out)
    sentences = warnings(open_films(request.data, films / "images", Side.ALL, met), met, bundle.manifest)
    assert any("nobody knows what they had learnt from (elsewhere.pth)" in sentence for sentence in sentences)


def test_a_branch_that_has_met_the_validation_films_is_refused(
    request_for: Maker, quiet: Console, tmp_path: Path
) -> None:
    """The split beside another run's stage is read, and the refusal leaves nothing behind."""
    other = tmp_path / "other.run"
    other.mkdir()
    torch.save(build_branch(Backbone.DENSENET121, pooling=Pooling.AVG).state_dict(), other / "global-1.pth")
    (other / "split.csv").write_text("image,patient,side\n" + "".join(f"{i}.png,{i // 2},train\n" for i in range(24)))
    request = replace(request_for("model"), global_weights=other / "global-1.pth")
    with pytest.raises(TrainingError, match=r"global-1\.pth was trained on, or chosen by, 10 of the films"):
        train(request, quiet)
    assert not request.out.with_name("model.run").exists()


def test_an_interrupted_run_resumes(request_for: Maker, recipe_file: Path) -> None:
    """Ctrl-C in a real process leaves a checkpoint and a sentence; --resume goes on and finishes."""
    recipe_file.write_text(recipe_file.read_text().replace("epochs = 2", "epochs = 4"))
    request = request_for("model")
    command = [
        sys.executable, "-c", "from agcnn_clinic.cli.main import main; main()", "train",
        "--data", str(request.data), "--images", str(request.images),
        "--pretrain-data", str(request.pretrain_data), "--pretrain-images", str(request.pretrain_images),
        "--recipe", request.recipe, "--out", str(request.out), "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("global-1 epoch 1/4"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "--resume goes on from there" in rest
    assert "Traceback" not in rest
    assert (request.out.with_name("model.run") / "checkpoint.pt").exists()

    output = io.StringIO()
    bundle = open_bundle(train(replace(request, resume=True), Console(file=output)))
    assert "going on at epoch" in output.getvalue()
    epochs = [json.loads(line)["epoch"] for line in (bundle.folder.with_name("model.run") / "metrics.jsonl").open()]
    assert epochs == [1, 2, 3, 4, 1, 1, 1]


def test_an_epoch_is_judged_on_what_serving_sees_but_for_rounding(films: Path) -> None:
    """A film as training holds it differs from to_model_input by the rounding to eight bits alone."""
    preprocessing = Preprocessing(resize=60, crop=52)
    rows = read_table(films / "labels.csv")[:3]
    paths = [films / "images" / row.image for row in rows]
    held = evaluation_images(load_films(rows, paths, preprocessing).pixels, preprocessing, 52)
    for row, image in zip(rows, held, strict=True):
        served = to_model_input(read_picture(films / "images" / row.image), preprocessing)
        assert (served - image).abs().max() <= 0.5 / 255 / 0.224 + 1e-5


def test_the_data_are_accounted_for_before_they_are_read(
    request_for: Maker, quiet: Console, films: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """A copy of ChestX-ray14 with lists: sides, overlap and empty labels are said; its films go into the cache."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    with (films / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [
        "Image Index,Finding Labels,Patient ID",
        *(f"{r['image']},{r['finding_labels']},{r['patient']}" for r in rows),
    ]
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines))
    (root / "test_list.txt").write_text("".join(f"{row['image']}\n" for row in rows[-6:]))
    for row in rows[1:]:
        (root / "images" / row["image"]).symlink_to(films / "images" / row["image"])
    output = io.StringIO()
    recipe = changed(load_recipe(str(recipe_file)), {"compute.shards": 9})
    request = replace(
        request_for("model"), data=root, images=None, partial=True, cache=tmp_path / "cache", recipe=recipe
    )
    with pytest.raises(TrainingError, match="8 films cannot be cut into 9 parts"):  # which is seen after the data
        train(request, Console(file=output, width=400))
    said = output.getvalue()
    assert "23 films of 12 patients: " in said
    assert "6 test (the official lists" in said
    assert "No patient has films on two sides." in said
    assert "Without a positive train film: Atelectasis" in said
    assert {path.name for path in (tmp_path / "cache").rglob("*.*")} == {"pixels.u8", "journal.i64", "cache.json"}
    with (request.out.with_name("model.run") / "split.csv").open() as file:
        assert [row["side"] for row in csv.DictReader(file)][-6:] == ["test"] * 6
    with pytest.raises(TrainingError, match=r"1 are missing.*--partial"):
        train(replace(request, partial=False), quiet)


def test_a_disk_that_is_full_at_the_end_loses_nothing(request_for: Maker, quiet: Console, recipe_file: Path) -> None:
    """A bundle that the disk does not take is a sentence; with room, --resume writes it and trains nothing."""
    recipe_file.write_text(
        """
        name = "tiny"
        description = "For tests."
        network = { backbone = "densenet121", initial_weights = "random" }
        images = { resize = 36, crop = 32 }
        split = { validation = 0.4 }
        phase = { epochs = 1, batch_size = 8 }
        stages = [{ trains = ["global", "local", "fusion"] }]
        """
    )
    request = request_for("model")
    weights = train(request, quiet) / "model.safetensors"
    expected = weights.read_bytes()
    shutil.rmtree(request.out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(expected) // 2, hard))
    try:
        with pytest.raises(TrainingError, match=r"model cannot be written \(File too large\): .*--resume"):
            train(replace(request, resume=True), quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    beside = sorted(path.name for path in request.out.parent.iterdir())
    assert beside == ["model.run", "tiny.toml"]
    output = io.StringIO()
    train(replace(request, resume=True), Console(file=output))
    assert weights.read_bytes() == expected
    assert "finished earlier" in output.getvalue()


@pytest.mark.usefixtures("shallow")
def test_weights_whose_variances_leave_float16_end_in_a_bundle(
    request_for: Maker, quiet: Console, recipe_file: Path, tmp_path: Path
) -> None:
    """What begins with a first convolution for pixels of +-1024, as torchxrayvision's, is published like any other."""
    weights = build_branch(Backbone.DENSENET121).state_dict()
    weights["features.conv0.weight"] *= 20_000
    torch.save(weights, tmp_path / "wide.pth")
    recipe_file.write_text(recipe_file.read_text().replace("epochs = 2", "epochs = 1"))
    bundle = open_bundle(train(replace(request_for("model"), init=tmp_path / "wide.pth"), quiet))
    variance = bundle.load_model().global_branch.get_buffer("features.norm0.running_var")
    assert variance.max() > 65_504
