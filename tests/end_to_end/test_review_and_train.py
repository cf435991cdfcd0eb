"""The circle: films are read, a physician corrects what was found, a model learns from that and is measured by it."""

import csv
import json

from agcnn_clinic.demo.phantom import draw
from agcnn_models.bundle import open_bundle


def test_a_model_learns_from_what_physicians_confirmed_and_corrected(clinic, write_film, write_recipe, tmp_path):
    """Seven films are read, six of three patients reviewed; those six make a bundle and measure it; no name leaves."""
    for number in range(7):
        film = clinic.config.inbox / f"film{number}.dcm"
        patient = {"patient_id": f"SECRET{number // 2}", "patient_name": "Secret^Name", "patient_sex": "F"}
        write_film(film, draw(number, (320, 320)).pixels, accession_number=f"A{number}", **patient)
    clinic.run("process")
    for number in range(5):
        # Every patient has a film with a mass and one without: whoever validates, there is something to select by.
        verdict = "Mass=present" if number % 2 else "Mass=absent"
        clinic.run("review", f"A{number}", "--confirm", "--set", verdict, "--by", "Dr. X")
    clinic.run("review", "A5", "--set", "Mass=present", "--set", "Nodule=uncertain", "--by", "Dr. X")
    out = tmp_path / "model"
    options = ("--out", out, "--recipe", write_recipe("tiny", fusion="branches"), "--device", "cpu")
    trained = clinic.run("train", "--from-database", *options, check=False)
    assert trained.returncode == 0, trained.stderr

    training = open_bundle(out).manifest.training
    assert training.data == "Chest films of a clinic, with the verdicts of those who reviewed them there."
    assert training.films_train + training.films_validation == 6
    run = tmp_path / "model.run"
    with (run / "reviewed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["patient"] for row in rows}) == 3
    assert [row["Mass"] for row in rows] == ["0", "1", "0", "1", "0", "1"]
    assert {row["Nodule"] for row in rows[:5]} <= {"0", "1"}
    assert (rows[5]["Nodule"], rows[5]["Effusion"], rows[5]["No Finding"]) == ("-1", "-1", "0")

    measured = tmp_path / "measured"
    clinic.run("evaluate", out, "--from-database", "--split", "all", "--out", measured, "--device", "cpu")
    assert (measured / "reviewed.csv").read_bytes() == (run / "reviewed.csv").read_bytes()
    results = json.loads((measured / "results.json").read_text())
    assert results["sets"]["all"]["films"] == 6
    reviewed, *_ = results["warnings"]
    assert reviewed.startswith("These films are from the 6 that were reviewed in this clinic until ")
    trained_on = f"The model was trained on {training.films_train} of these 6 films"
    assert any(warning.startswith(trained_on) for warning in results["warnings"])
    taken = json.loads(clinic.run("audit", "list", "--event", "exported", "--format", "json").stdout)
    told = [json.loads(row["details"]) for row in taken]
    assert sorted((one["command"], one["rows"]) for one in told) == [("evaluate", 6), ("train", 6)]

    for path in (*run.rglob("*"), *out.iterdir(), *measured.iterdir()):
        assert path.is_dir() or b"SECRET" not in path.read_bytes().upper(), path
