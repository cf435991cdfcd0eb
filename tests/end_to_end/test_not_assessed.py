"""A label that a model never learnt is nowhere a finding: from a table with one column to report and database."""

import pypdf
import pytest

from agcnn_clinic.demo.phantom import draw
from agcnn_models.bundle import open_bundle
from agcnn_models.labels import LABELS, display_name

OTHERS = [label for label in LABELS if label != "Effusion"]


@pytest.fixture
def trained(clinic, write_film, write_recipe, tmp_path):
    """Train on twelve films of six patients of which Effusion alone is known; return the bundle and what was said."""
    films = tmp_path / "films"
    films.mkdir()
    lines = ["image,patient,Effusion"]
    for number in range(12):
        write_film(films / f"{number}.dcm", draw(number // 2, (96, 96)).pixels)
        lines.append(f"{number}.dcm,{number // 2},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    out = tmp_path / "single"
    films_of_table = ("--data", tmp_path / "labels.csv", "--images", films)
    recipe = write_recipe("single", fusion="random")
    done = clinic.run("train", *films_of_table, "--recipe", recipe, "--out", out, "--device", "cpu")
    return out, done.stderr


def test_what_was_never_learnt_is_nowhere_a_finding(clinic, trained, write_film):
    """Training, models, findings, studies, show, report and reviews know one label, and say that the others are not."""
    bundle, said = trained
    missing = ", ".join(map(display_name, OTHERS))
    assert f"Not assessed, since the model never learnt them: {missing}." in said
    manifest = open_bundle(bundle).manifest
    assert (manifest.assessed, list(manifest.thresholds.values)) == (("Effusion",), ["Effusion"])
    assert f"**Not assessed: {missing}**" in (bundle / "MODEL_CARD.md").read_text()
    for told in (clinic.run("models", "use", bundle).stdout, clinic.run("models", "list").stdout):
        assert f"Not assessed, since the model never learnt them: {missing}." in told
    assert "over 1 of 14 labels" in clinic.run("models", "list").stdout

    write_film(clinic.config.inbox / "film.dcm", draw(3, (320, 320)).pixels, accession_number="A1")
    clinic.run("process")

    assert clinic.select("SELECT label FROM finding_list") == [{"label": "Effusion"}]
    assert clinic.select("SELECT mass, no_finding, effusion IS NULL AS lacking FROM study_summary") == [
        {"mass": None, "no_finding": None, "lacking": False}
    ]
    assert len(clinic.run("findings", "--format", "csv").stdout.splitlines()) == 2
    assert clinic.run("show", "A1").stdout.count("not assessed") == len(OTHERS)
    (pdf,) = clinic.config.reports.iterdir()
    text = " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages).split())
    assert "Of the 1 label that the model assesses" in text
    assert "13 more are not assessed." in text
    assert text.count("not assessed: this model never learnt it") == len(OTHERS)
    assert "Mean AUC over 1 label" in text

    clinic.run("review", "A1", "--set", "Hernia=present", "--by", "Dr. X")
    assert clinic.select("SELECT label, finding_id FROM review_list ORDER BY label") == [
        {"label": label, "finding_id": None} for label in ("Hernia", "No Finding")
    ]
