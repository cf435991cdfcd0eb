"""Who has read what: show, findings, models list and models use, over a clinic with two models' readings."""

import json
import random
import shutil

import pytest

from agcnn_clinic.bundles import known_bundles
from agcnn_clinic.config import load_config
from agcnn_clinic.database.readings import let_count
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import Model
from agcnn_models.manifest import digest
from agcnn_models.manifest_file import read_manifest


@pytest.fixture
def two_models(tmp_path, factories, new_clinic):
    """Three studies of an image each, read by the model that ships; one also by another one, beside."""
    config = new_clinic(tmp_path)
    starter = read_manifest(known_bundles()[0])
    with open_database(config.database_url) as database, database.write() as session:
        own = factories.make_model(session, starter.name, starter.version)
        own.manifest_sha256 = digest(starter)
        other = factories.make_model(session, "large", "2.1")
        for number in range(3):
            study = factories.make_study(session, number, accession_number=f"CANARY{number}")
            file = factories.make_file(session, study, number)
            factories.make_inference(session, file, own, random.Random(number))
        factories.make_inference(session, file, other, random.Random(9), beside=True)
        factories.make_report(session, study, 1)
        factories.make_report(session, study, 2).model = other
    return tmp_path


def test_show_tells_who_read_and_what_counts(two_models, run):
    """Each model with its images, the reading that stands beside, and the report by request; JSON says the same."""
    printed = run(two_models, "show", "CANARY2").stdout
    assert "1 image: 1 counting" in printed
    assert "1 image: 1 beside" in printed
    assert "no: it stands beside the reading that does" in printed
    assert "(by request, with large 2.1)" in printed
    (instance,) = json.loads(run(two_models, "show", "CANARY2", "-f", "json").stdout)["instances"]
    assert [one["beside"] for one in instance["files"][0]["inferences"]] == [False, True]


def test_findings_of_one_model(two_models, run):
    """`--model` takes a name, name@version or the beginning of a hash; what stands beside is marked."""
    for model in ("large", "large@2.1"):
        found = json.loads(run(two_models, "findings", "--model", model, "-f", "json").stdout)
        assert {(row["model_name"], row["beside"]) for row in found} == {("large", True)}
        assert len(found) == 15
    heading, *lines = run(two_models, "findings", "--model", "large").stdout.splitlines()
    place = heading.index("beside")
    assert all(line[place:].startswith("\u25cf") for line in lines[1:16])


def test_models_are_listed_with_what_they_have_read(two_models, run):
    """The shipped model with its three images, and one whose bundle is gone with the one that it read beside."""
    lines = run(two_models, "models", "list").stdout.splitlines()
    starter, large = (next(line for line in lines if name in line) for name in ("starter", "large"))
    assert starter.startswith("*")
    assert " 3  " in starter
    assert "1 (1 beside)" in large


def test_a_folder_is_listed_as_it_is_called(two_models, run, small_bundle, tmp_path):
    """What stands in brackets in its name is no style of the terminal's."""
    run(two_models, "models", "use", shutil.copytree(small_bundle, tmp_path / "[3]" / "[/old]"))
    assert "/[3]/[/old]" in "".join(run(two_models, "models", "list").stdout.split())


def test_a_folder_can_be_copied_from_any_terminal(two_models, run, small_bundle, on_terminals, tmp_path):
    """It is whole in one line, beside its model where there is room and else below it, and so is the model's name."""
    folder = shutil.copytree(small_bundle, tmp_path / "models of the house" / "of a name that fills a line of its own")
    run(two_models, "models", "use", folder)
    for (width, _), lines in on_terminals(two_models, (30, 80, 120, 400), [["models", "list"]]):
        at = next(at for at, line in enumerate(lines) if line.startswith("*  untrained  0.0.1"))
        assert (lines[at] if width == 400 else lines[at + 1]).rstrip().endswith(f"  {folder}"), width
        shown = " ".join(lines)
        assert all(title in shown for title in ("backbone", "mean AUC", "images read", "folder")), width


def test_using_another_model_says_what_there_is_to_read_again(two_models, run, small_bundle, tmp_path):
    """What was read by another model is counted, by studies; nothing is said where the model's readings count."""
    said = run(two_models, "models", "use", "starter").stdout
    assert "reanalyse" not in said
    said = run(two_models, "models", "use", small_bundle).stdout
    assert "until `agcnn-clinic reanalyse --all`: untrained 0.0.1 would read 3 images of 3 studies" in said
    with open_database(load_config(two_models / "config.toml").database_url) as database, database.write() as session:
        other = session.query(Model).filter_by(name="large").one()
        let_count(session, 3, other.id)
    said = run(two_models, "models", "use", "starter").stdout
    assert "would read 0 images of 1 study (and has read 1 image of them before)" in said


def test_a_model_is_written_into_a_config_that_begins_with_a_byte_order_mark(two_models, run, small_bundle):
    """As editors of Windows write it; the mark goes."""
    file = two_models / "config.toml"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    run(two_models, "models", "use", small_bundle)
    assert load_config(file).analysis.model == str(small_bundle.resolve())


def test_a_config_that_is_a_link_stays_one(two_models, run, small_bundle):
    """`models use` writes into the file that it leads to."""
    link, file = two_models / "config.toml", two_models / "clinic.toml"
    link.rename(file)
    link.symlink_to(file.name)
    run(two_models, "models", "use", small_bundle)
    assert link.is_symlink()
    assert load_config(file).analysis.model == str(small_bundle)


@pytest.mark.sqlite_only("every byte of its file")
def test_a_dry_run_writes_nothing_and_says_no_patient(two_models, run, small_bundle):
    """Only what would be done is printed, limited to as many studies as asked for."""
    before = (two_models / "clinic.sqlite").read_bytes()
    done = run(two_models, "reanalyse", "--all", "--model", small_bundle, "--limit", "2", "--dry-run")
    assert "would read 2 images of 2 studies; its readings would stand beside" in done.stdout
    assert "CANARY" not in done.output
    assert (two_models / "clinic.sqlite").read_bytes() == before
