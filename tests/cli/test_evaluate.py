"""`evaluate`, as a person calls it."""

import csv

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.cli.training import TrainingFailedError
from agcnn_clinic.errors import ModelUnavailableError, UsageError


@pytest.fixture
def table(tmp_path):
    """Eight drawn films, half of them with a Mass."""
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "patient", "finding_labels"))
        for index in range(8):
            pixels = np.random.default_rng(index).integers(0, 255, (80, 80), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{index}.png")
            writer.writerow((f"{index}.png", index, "Mass" if index % 2 else "No Finding"))
    return tmp_path / "labels.csv"


def test_it_prints_the_page_and_leaves_five_files(run, tmp_path, table, small_bundle):
    """The last line of the output is the page's path, and the tables lie beside it."""
    outcome = run(tmp_path, "evaluate", small_bundle, "--data", table, "--out", tmp_path / "out", "--device", "cpu")
    assert outcome.stdout.splitlines()[-1] == str(tmp_path / "out" / "report.html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html", "results.json", "metrics.csv", "localisation.csv", "predictions.npz",
    }  # fmt: skip


def test_what_cannot_be_done_is_one_sentence(run, tmp_path, table, small_bundle):
    """A wrong bundle, a wrong choice and a table that is not there each say what to do."""
    with pytest.raises(ModelUnavailableError, match="There is no model"):
        run(tmp_path, "evaluate", "nothing", "--data", table)
    with pytest.raises(UsageError, match="--split is one of test, validation, all"):
        run(tmp_path, "evaluate", small_bundle, "--data", table, "--split", "most")
    # A recipe may say "auto"; here it would have to be found out what that was.
    with pytest.raises(UsageError, match="--precision is one of float32, bfloat16, not 'auto'"):
        run(tmp_path, "evaluate", small_bundle, "--data", table, "--precision", "auto", "--out", tmp_path / "out")
    with pytest.raises(TrainingFailedError, match="cannot be read"):
        run(tmp_path, "evaluate", small_bundle, "--data", tmp_path / "gone.csv", "--out", tmp_path / "out")
    with pytest.raises(TrainingFailedError, match="There is no device"):
        run(tmp_path, "evaluate", small_bundle, "--data", table, "--out", tmp_path / "out", "--device", "gpu")


def test_a_damaged_bundle_is_refused(run, tmp_path, table, small_bundle):
    """Weights that are not the manifest's are never measured."""
    import shutil

    folder = tmp_path / "damaged"
    shutil.copytree(small_bundle, folder)
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelUnavailableError, match="not the file that its manifest describes"):
        run(tmp_path, "evaluate", folder, "--data", table, "--out", tmp_path / "out")
