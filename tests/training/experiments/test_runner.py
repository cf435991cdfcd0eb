"""Every experiment, end to end: from a folder of drawn films to its table; and runs that fail or are stopped."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from agcnn_models.backbones import build_branch
from agcnn_models.settings import Backbone
from agcnn_training.errors import TrainingError
from agcnn_training.experiments.registry import EXPERIMENTS
from agcnn_training.experiments.runner import ExperimentRequest, RunsFailedError, run_experiment

pytestmark = pytest.mark.usefixtures("shallow")

SETTINGS = {
    "phase.epochs": 1,
    "phase.batch_size": 4,
    "images.resize": 72,
    "images.crop": 64,
    "network.initial_weights": "random",
    "split.validation": 0.667,
}
"""What makes an experiment small; the rest stays the paper's."""

FULL_DISK = """
import resource, sys
from pathlib import Path
from agcnn_training.errors import TrainingError
from agcnn_training.experiments.runner import ExperimentRequest, run_experiment
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    run_experiment(ExperimentRequest("table3", Path(sys.argv[1]), Path(sys.argv[2])))
except TrainingError as error:
    print(error)
"""
"""In a process of its own: the limit cannot be lifted again, and holds for every file."""

ONE_BACKBONE = {**SETTINGS, "network.backbone": "densenet121"}
"""And smaller: ResNet-50 has three times the weights. Fig. 6 below trains both."""

Ask = Callable[[str], ExperimentRequest]


@pytest.fixture(scope="session")
def ask(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks for an experiment in a folder that all of this module share, so that stages are trained once."""
    out = tmp_path_factory.mktemp("experiments")
    return lambda name: ExperimentRequest(name, small_root, out, settings=ONE_BACKBONE, device="cpu", workers=1)


def quiet() -> Console:
    """A console whose text can be read afterwards."""
    return Console(file=io.StringIO())


def said(console: Console) -> str:
    """What was printed on it."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV that hold what was measured here."""
    with path.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["source"] == "here"]


@pytest.mark.parametrize(
    ("name", "rows", "column"),
    [
        ("table1", 10, "Mean"),
        ("table2", 5, "Fusion"),
        ("table3", 3, "Fusion"),
        ("controls", 6, "Fusion"),
        ("fig5", 3, "Mean"),
        ("fig8", 9, "Fusion"),
        ("fig9", 9, "Fusion"),
    ],
)
def test_an_experiment_comes_out_in_the_papers_shape(name: str, rows: int, column: str, ask: Ask) -> None:
    """One epoch on four films: a figure in every cell, the paper's beside it, and what was set otherwise said."""
    request = ask(name)
    paths = run_experiment(request, quiet())
    assert {path.name for path in paths} >= {f"{name}{suffix}" for suffix in (".md", ".csv", ".png", ".pdf")}
    measured = rows_of(request.out / f"{name}.csv")
    assert len(measured) == rows
    assert all(0 <= float(row[column]) <= 1 for row in measured)
    assert list(dict.fromkeys(row["recipe"] for row in measured)) == list(EXPERIMENTS[name].recipes)
    text = (request.out / f"{name}.md").read_text(encoding="utf-8")
    assert "phase.epochs 1 instead of 50" in text
    assert "- Here: 4 films of 4 patients train, 8 films of 8 patients validate, 8 films of 8 patients test; no" in text
    assert f"measured on the {'validation' if name == 'fig8' else 'test'} films" in text
    with Image.open(request.out / f"{name}.png") as picture:
        assert min(picture.size) > 300
    assert (request.out / "fig8-regions.png").is_file() or name != "fig8"


def test_a_full_disk_leaves_no_note_that_would_refuse_every_later_run(small_root: Path, tmp_path: Path) -> None:
    """What an experiment is made of is noted whole or not at all: half a note had the folder refused for good."""
    said = subprocess.check_output([sys.executable, "-c", FULL_DISK, str(small_root), str(tmp_path)], text=True)
    assert said.startswith("experiment.json cannot be written in")
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_the_data_is_said_once_and_before_anything_is_written(
    small_root: Path, tmp_path: Path
) -> None:
    """A film is missing: one sentence, not one a run, and no folder that would refuse what the sentence advises."""
    root, out, console = tmp_path / "root", tmp_path / "out", quiet()
    shutil.copytree(small_root, root)
    (root / "images" / "00000007_000.png").unlink()
    request = ExperimentRequest("table3", root, out, settings=ONE_BACKBONE, device="cpu", workers=1)
    with pytest.raises(TrainingError, match=r"1 are missing, 00000007_000\.png first: .* with --partial\.$"):
        run_experiment(request, console)
    assert not out.exists()
    assert said(console) == ""


def test_a_folder_in_which_no_run_has_begun_is_free(finished: ExperimentRequest, tmp_path: Path) -> None:
    """A first try that came to nothing, as without the weights that --init then names, binds no second one."""
    request = replace(finished, out=tmp_path / "free")
    request.out.mkdir()
    note = json.loads((finished.out / "experiment.json").read_text())
    (request.out / "experiment.json").write_text(json.dumps(note | {"initial_weights": {}, "partial": True}))
    run_experiment(request, quiet())
    assert json.loads((request.out / "experiment.json").read_text()) == note


def test_stages_that_recipes_share_are_trained_once(ask: Ask) -> None:
    """The other statistics of Table III begin with the stage I of the first."""
    request = ask("table3")
    run_experiment(request, quiet())
    trained = [
        {json.loads(line)["phase"] for line in (request.out / "runs" / name / "seed-0.run/metrics.jsonl").open()}
        for name in ("table3-l1", "table3-l2")
    ]
    assert trained == [{"local-1", "fusion-1"}] * 2


def test_fig_7_shows_the_films_that_are_named(ask: Ask) -> None:
    """A test film can be chosen; one that was not measured is a sentence."""
    request = ask("fig7")
    names = [row["image"] for row in csv.DictReader((request.data / "test_list.txt").open(), fieldnames=["image"])]
    paths = run_experiment(replace(request, films=tuple(names[:2])), quiet())
    assert [path.name for path in paths] == ["fig7.png", "fig7.pdf"]
    with pytest.raises(TrainingError, match=r"00000001_000\.png is not among the films that were measured"):
        run_experiment(replace(request, films=("00000001_000.png",)), quiet())


def test_fig_6_trains_both_backbones(small_root: Path, tmp_path: Path) -> None:
    """ResNet-50 and DenseNet-121, a panel each, from recipes that differ in nothing else but the batch."""
    request = ExperimentRequest("fig6", small_root, tmp_path, settings=SETTINGS, device="cpu", workers=1)
    assert {path.name for path in run_experiment(request, quiet())} >= {"fig6.png", "fig6.md"}
    manifests = [
        (tmp_path / "runs" / name / "seed-0" / "manifest.toml").read_text()
        for name in ("table1-resnet50", "table1-densenet121")
    ]
    assert 'backbone = "resnet50"' in manifests[0]
    assert 'backbone = "densenet121"' in manifests[1]


def test_what_has_finished_is_not_trained_again(ask: Ask) -> None:
    """The second time nothing is trained and the same table is written; a further seed is added to it."""
    request = ask("table3-max")
    run_experiment(request, quiet())
    before = (request.out / "table3-max.csv").read_bytes()
    console = quiet()
    run_experiment(request, console)
    assert "finished earlier" in said(console)
    assert "epoch" not in said(console)
    assert (request.out / "table3-max.csv").read_bytes() == before
    run_experiment(replace(request, seeds=2), quiet())
    with (request.out / "table3-max.csv").open() as file:
        sources = [row["source"] for row in csv.DictReader(file)]
    assert sources == ["paper", "here", "seed 0", "seed 1"] * 3


def test_a_run_that_was_killed_before_its_bundle_writes_it(ask: Ask) -> None:
    """Results without a bundle are of a run that did not end: nothing is trained again, and the bundle is written."""
    request = ask("table3-max")
    run_experiment(request, quiet())
    bundle = request.out / "runs" / "table3-max" / "seed-0"
    shutil.rmtree(bundle)
    console = quiet()
    run_experiment(request, console)
    assert "epoch" not in said(console)
    assert (bundle / "manifest.toml").is_file()


def test_settings_and_data_do_not_mix_in_one_folder(ask: Ask, tmp_path: Path) -> None:
    """A table never compares one epoch with fifty."""
    request = ask("table3-max")
    run_experiment(request, quiet())
    with pytest.raises(TrainingError, match="were made with other settings: give another --out"):
        run_experiment(replace(request, settings={**ONE_BACKBONE, "phase.epochs": 3}), quiet())
    with pytest.raises(TrainingError, match="were made with other data"):
        run_experiment(replace(request, data=tmp_path), quiet())


@pytest.fixture
def finished(small_root: Path, tmp_path: Path) -> ExperimentRequest:
    """An experiment of one short run, finished, on a copy of the films and with weights that a test may change."""
    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    torch.manual_seed(0)
    weights = tmp_path / "densenet121.pth"
    torch.save(build_branch(Backbone.DENSENET121).state_dict(), weights)
    settings = {key: value for key, value in SETTINGS.items() if key != "network.initial_weights"}
    request = ExperimentRequest(
        "chexnet", root, tmp_path / "out", settings=settings, init={Backbone.DENSENET121: weights}, device="cpu",
        workers=1,
    )  # fmt: skip
    run_experiment(request, quiet())
    return request


def test_what_has_changed_at_the_same_path_is_not_mixed_in(finished: ExperimentRequest) -> None:
    """Other labels, films or initial weights under the names of those that the run began with are refused."""
    weights = finished.init[Backbone.DENSENET121]
    note = json.loads((finished.out / "experiment.json").read_text())
    assert note["initial_weights"] == {"densenet121": hashlib.sha256(weights.read_bytes()).hexdigest()}
    page = (finished.out / "chexnet.md").read_text(encoding="utf-8")
    assert "Which films densenet121.pth learnt from is unknown" in page
    table = finished.data / "Data_Entry_2017_v2020.csv"
    film = finished.data / "images" / "00000001_000.png"
    for file, content in ((table, table.read_bytes().replace(b",21,", b",22,")), (film, film.read_bytes() + b"more")):
        before = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(TrainingError, match=r"chexnet, seed 0, was trained with other films.*: give another --out"):
            run_experiment(finished, quiet())
        file.write_bytes(before)
    torch.save(build_branch(Backbone.DENSENET121).state_dict(), weights)
    with pytest.raises(TrainingError, match="were made with other initial weights: give another --out"):
        run_experiment(finished, quiet())
    with pytest.raises(TrainingError, match="were made with other initial weights"):
        run_experiment(replace(finished, init={}), quiet())
    # A note of before it named weights: the run knows of them by itself.
    del note["initial_weights"]
    (finished.out / "experiment.json").write_text(json.dumps(note))
    with pytest.raises(TrainingError, match="was trained with other films, another label table or other initial"):
        run_experiment(finished, quiet())


def test_a_run_by_another_recipe_is_not_mixed_in(finished: ExperimentRequest) -> None:
    """A recipe that ships otherwise than it did is refused by its first setting that differs; its texts may change."""
    file = finished.out / "runs" / "chexnet" / "seed-0.run" / "run.json"
    content = json.loads(file.read_text())
    content["recipe"]["description"] = "As it was described before."
    file.write_text(json.dumps(content))
    console = quiet()
    run_experiment(finished, console)
    assert "finished earlier" in said(console)
    content["recipe"]["images"]["resize"] = 80
    file.write_text(json.dumps(content))
    with pytest.raises(TrainingError, match=r"recipe\.images\.resize was 80 and is 72 now"):
        run_experiment(finished, quiet())
    file.write_text("no JSON")
    with pytest.raises(TrainingError, match=r"run\.json cannot be read"):
        run_experiment(finished, quiet())


def test_a_recipe_that_fails_does_not_keep_the_others(ask: Ask, tmp_path: Path) -> None:
    """Something lies where its bundle should: a sentence, the other is written, and it can be repeated."""
    run_experiment(ask("fig6"), quiet())
    request = replace(ask("fig6"), out=tmp_path)
    (tmp_path / "stages").symlink_to(ask("fig6").out / "stages")
    (tmp_path / "runs" / "table1-resnet50" / "seed-0").mkdir(parents=True)
    console = quiet()
    with pytest.raises(RunsFailedError, match=r"1 of 2 runs failed \(table1-resnet50, seed 0\)"):
        run_experiment(request, console)
    assert "table1-resnet50, seed 0 failed: " in said(console)
    ours = {row["recipe"]: row["Mean"] for row in rows_of(tmp_path / "fig6.csv")}
    assert ours["table1-resnet50"] == ""
    assert float(ours["table1-densenet121"]) >= 0
    (tmp_path / "runs" / "table1-resnet50" / "seed-0").rmdir()
    run_experiment(request, quiet())
    assert all(row["Mean"] for row in rows_of(tmp_path / "fig6.csv"))


def test_an_interrupted_experiment_goes_on(small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a real process leaves a checkpoint and a sentence; the same call goes on and writes the table."""
    monkeypatch.undo()  # the process that is interrupted has the whole network
    settings = {**ONE_BACKBONE, "phase.epochs": 3}
    program = (
        "import sys, torch; from pathlib import Path\n"
        "from agcnn_training.errors import TrainingStopped\n"
        "from agcnn_training.experiments.runner import ExperimentRequest, run_experiment\n"
        "torch.set_num_threads(1)\n"
        f"request = ExperimentRequest('chexnet', Path({str(small_root)!r}), Path({str(tmp_path)!r}), "
        f"settings={settings!r}, device='cpu', workers=1)\n"
        "try:\n    run_experiment(request)\n"
        "except TrainingStopped as stopped:\n    sys.exit(str(stopped))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("global-1 epoch 1/3"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "Stopped in run 1 of 1, chexnet, seed 0: the same command goes on from there." in rest
    console = quiet()
    request = ExperimentRequest("chexnet", small_root, tmp_path, settings=settings, device="cpu", workers=1)
    run_experiment(request, console)
    assert "going on at epoch" in said(console)
    assert json.loads((tmp_path / "runs/chexnet/seed-0.run/results.json").read_text())["recipe"] == "chexnet"
    assert len(rows_of(tmp_path / "chexnet.csv")) == 1
