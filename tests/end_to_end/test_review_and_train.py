"""The circle: films are read, a physician corrects what was found, and a model learns from that."""

import csv

from agcnn_clinic.demo.phantom import draw
from agcnn_models.bundle import open_bundle


def test_a_model_learns_from_what_physicians_confirmed_and_corrected(clinic, write_film, write_recipe, tmp_path):
    """Seven films are read, six of three patients are reviewed, and those six make a bundle; no name leaves."""
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
    assert training.films_train + training.films_validation == 6
    run = tmp_path / "model.run"
    with (run / "reviewed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["patient"] for row in rows}) == 3
    assert [row["Mass"] for row in rows] == ["0", "1", "0", "1", "0", "1"]
    assert {row["Nodule"] for row in rows[:5]} <= {"0", "1"}
    assert (rows[5]["Nodule"], rows[5]["Effusion"], rows[5]["No Finding"]) == ("-1", "-1", "0")
    for path in (*run.rglob("*"), *out.iterdir()):
        assert path.is_dir() or b"SECRET" not in path.read_bytes().upper(), path
