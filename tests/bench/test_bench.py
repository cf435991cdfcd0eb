"""The benchmark's own parts: what is compared must be alike, and what is written must be what is read."""

import importlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of the benchmark, which is no part of what is installed."""
    monkeypatch.syspath_prepend(BENCH)
    return lambda name: importlib.import_module(f"agcnn_bench.{name}")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The front door, as a person calls it."""
    return subprocess.run([sys.executable, BENCH / "bench.py", *words], check=False, capture_output=True, text=True)


def test_a_quick_pass_leaves_every_figure_with_its_spread(tmp_path):
    """The JSON names the machine and the versions, and holds the median and the spread of all that was timed."""
    done = run("parts", "database", "flow", "--quick", "--runs", "1", "--studies", "120", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.json")
    content = json.loads(written.read_text())
    assert content["machine"]["cores"] >= 1
    assert content["versions"]["python"]
    figures = content["figures"]
    forms = ("raw", "rle", "jpeg_ls", "jpeg_2000", "jpeg_lossless", "png")
    wanted = [f"{part}.{form}" for part in ("decode", "develop") for form in forms]
    wanted += ["database.filling", "database.findings", "database.study_summary", "database.studies_due"]
    wanted += ["database.command.findings", "flow.cores_2.rate", "flow.cores_2.busy"]
    for name in wanted:
        assert 0 < figures[name]["min"] <= figures[name]["median"] <= figures[name]["max"], name
        assert name in done.stdout
    assert figures["develop.raw"]["core_seconds"]["median"] > 0
    assert content["facts"]["database.findings"] == 15 * (120 - 2)
    assert content["ratios"] == {}


def test_cores_that_are_not_here_are_shared_by_turns(bench):
    """Four that need one for a tenth of a second each cannot be done on two within less than two tenths."""
    cores = bench("flow").Cores(2)
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(cores.work, [0.1] * 4))
    assert time.monotonic() - began >= 0.2
    assert cores.worked == pytest.approx(0.4)


def test_who_stands_back_has_no_core_before_others(bench):
    """Of two that share one, it is done last, though it came first and needs no longer."""
    cores, done = bench("flow").Cores(1), []

    def work(name: str, *, stands_back: bool) -> None:
        cores.work(0.5, stands_back=stands_back)
        done.append(name)

    with ThreadPoolExecutor(2) as threads:
        threads.submit(work, "patient", stands_back=True)
        threads.submit(work, "urgent", stands_back=False)
    assert done == ["urgent", "patient"]


def test_without_a_gpu_its_part_says_so(bench):
    """Asked for by name, the GPU's part ends with one sentence, before anything is drawn."""
    network = bench("network")
    if network.has_gpu():
        pytest.skip("there is a GPU here")
    with pytest.raises(SystemExit, match="there is no GPU"):
        network.run_gpu(None)


def test_a_disk_that_is_too_full_is_told_of_before_anything_is_timed(bench, tmp_path, monkeypatch):
    """A clinic would hold its intake there, and what waits for its reports would wait for an hour."""
    clinics = bench("clinics")
    clinic = clinics.make_clinic(tmp_path / "clinic")
    film = bench("films").draw_films(64, 1).write(tmp_path, 0)
    clinics.require_room(clinic.config, [film])
    monkeypatch.setenv("AGCNN_CLINIC_INTAKE__MIN_FREE_MB", str(10**9))
    with pytest.raises(SystemExit, match="too full"):
        clinics.require_room(clinic.config, [film])


def test_a_benchmark_that_is_ended_leaves_no_films_behind(tmp_path):
    """Its scratch folder holds gigabytes."""
    command = [sys.executable, BENCH / "bench.py", "parts", "--quick", "--output", str(tmp_path / "results")]
    (tmp_path / "scratch").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert any("drawing films" in line for line in process.stdout)
        assert list((tmp_path / "scratch").iterdir())
        process.terminate()
    assert process.returncode == 1
    assert list(tmp_path.rglob("*")) == [tmp_path / "scratch"]


def test_an_unknown_part_is_named():
    """A misspelt part is refused before anything is timed."""
    done = run("decoding")
    assert done.returncode == 2
    assert "no part 'decoding'" in done.stderr


def test_the_ports_loop_reads_every_film_as_agcnn_does(bench):
    """What is timed side by side finds the same boxes and the same probabilities."""
    import torch

    from agcnn_models.agcnn import build_agcnn
    from agcnn_models.settings import Backbone

    torch.manual_seed(0)
    model = build_agcnn(Backbone.DENSENET121).eval()
    images = torch.randn(4, 3, 96, 96)
    probabilities, boxes = bench("port").loop_read(model, images)
    ours = model.read(images)
    assert torch.equal(boxes, ours.boxes)
    assert torch.allclose(probabilities, ours.fusion_probabilities, atol=1e-5)


def test_the_tree_counts_what_a_grandchild_uses():
    """Processor time and memory are those of all descendants, not of the process alone."""
    burn = "import time\nx = bytearray(50_000_000)\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    outer = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    script = (
        "import subprocess, sys\n"
        "from agcnn_bench.tree import Tree\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "with Tree(child.pid) as tree:\n"
        "    child.stdout.readline()\n"
        "print(tree.core_seconds, tree.peak_mb)\n"
        "child.communicate(b'\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, outer], check=False, capture_output=True, text=True, cwd=BENCH)
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())
    assert 0.45 < seconds < 5
    assert megabytes > 50


def test_ratios_follow_from_the_figures(bench):
    """Each part's core-seconds count once; what was not measured has no ratio."""
    figures, ratios = bench("figures"), bench("ratios")
    results = figures.Results()
    ratios.derive(results)
    assert results.ratios == {}

    def add(name: str, seconds: float, cores: float = 0.0) -> None:
        results.figures[name] = figures.Figure("s", (seconds,), (cores,))

    for form in ("raw", "rle", "jpeg_ls", "jpeg_2000", "jpeg_lossless", "png"):
        add(f"develop.{form}", 9, cores=0.3)
    add("network.cpu.as_served", 9, cores=0.1)
    add("record", 9, cores=0.05)
    add("report.whole", 9, cores=0.15)
    results.figures["whole.watch.rate"] = figures.Figure("studies/s", (2.0,))
    results.facts["whole.cores"] = 2
    add("network.cpu.starter.agcnn", 0.1)
    add("network.cpu.starter.loop_crop", 0.15)
    add("network.cpu.starter.attention_and_crop", 0.004)
    add("network.cpu.densenet121.agcnn_beside", 0.1)
    add("network.cpu.one_fp32_densenet", 0.05)
    add("network.gpu.resnet50.agcnn", 0.0001)
    ratios.derive(results)
    assert results.ratios == pytest.approx(
        {
            "efficiency": 2.0 * (0.3 + 0.1 + 0.05 + 0.15) / 2,
            "batch_over_loop_crop_cpu": 1.5,
            "attention_crop_share_cpu": 0.04,
            "agcnn_over_one_fp32_densenet": 0.5,
            "films_per_second_gpu_resnet50": 10_000,
        }
    )


def test_the_rounding_of_each_precision_is_told_beside_float32(tmp_path):
    """In mixed numbers every region stays and the global branch is the same; all films are counted."""
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
    done = subprocess.run([sys.executable, BENCH / "rounding.py", tmp_path], check=True, capture_output=True, text=True)
    first, _, *rows = (line.split(" | ") for line in done.stdout.splitlines())
    assert first[0].startswith("2 films, starter")
    assert [(row[0], row[2]) for row in rows] == [
        (precision, branch) for precision in ("mixed", "bfloat16") for branch in ("global", "local", "fusion")
    ]
    assert rows[0][1:] == ["2", "global", "0.0000", "0.0000", "0.0000", "0"]
    assert float(rows[1][3]) < 0.01
