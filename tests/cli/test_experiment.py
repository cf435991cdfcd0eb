"""The command `experiment`: what it lists, and how it says what is wrong."""

import pytest
from typer.testing import CliRunner

from agcnn_clinic.cli.experiment import ExperimentIncompleteError
from agcnn_clinic.cli.main import app
from agcnn_clinic.cli.training import TrainingFailedError
from agcnn_clinic.errors import ExitCode, UsageError


def test_the_list_names_every_experiment_and_recipe_that_can_be_run():
    """A person sees what can be asked for without reading the documents, and nothing else."""
    from agcnn_training.experiments.registry import EXPERIMENTS
    from agcnn_training.recipe import recipe_names

    result = CliRunner().invoke(app, ["experiment", "--list"], env={"COLUMNS": "200"})
    assert result.exit_code == ExitCode.DONE
    for name in (*EXPERIMENTS, *recipe_names()):
        assert (name in result.output) is (name != "starter")


def test_the_list_breaks_no_name_of_a_recipe(on_terminals, tmp_path):
    """On a terminal of any usual width each experiment is followed by all its recipes, whole, and fits."""
    from agcnn_training.experiments.registry import EXPERIMENTS

    for (width, _), lines in on_terminals(tmp_path, (60, 80, 120, 200), [["experiment", "--list"]]):
        assert max(map(len, lines)) <= width
        words = " ".join(lines).split()
        for name, known in EXPERIMENTS.items():
            own = words[words.index(name) :]
            first = own.index(known.recipes[0])
            assert tuple(own[first : first + len(known.recipes)]) == known.recipes, (width, name)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (["table2"], UsageError, "on what data"),
        (["--data", "films"], UsageError, "--list names them"),
        (["table9", "--data", "films"], TrainingFailedError, "no experiment 'table9'"),
        (["starter", "--data", "films"], TrainingFailedError, "`agcnn-clinic train --recipe starter` with --pretrain-"),
        (["table2", "--data", "films", "--set", "epochs"], TrainingFailedError, "write key=value"),
        (["table2", "--data", "films", "--set", "phase.epoch=2"], TrainingFailedError, "epoch"),
        (["table2", "--data", "films", "--init", "resnet18=file"], UsageError, "one of resnet50, densenet121"),
        (["table2", "--data", "gone.csv"], TrainingFailedError, "gone.csv cannot be read"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(tmp_path, arguments, error, sentence):
    """Names, settings, weights and data are checked before anything is made."""
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["experiment", *arguments, "--out", str(out)])
    assert isinstance(result.exception, error)
    assert sentence in str(result.exception)
    assert not out.exists()


def test_runs_that_fail_are_told_of_and_end_with_code_1(tmp_path):
    """Each run says why it failed, here for weights that are none; the table is written with dashes."""
    rows = [f"{film}.png,{film},{'Mass' if film % 2 else 'No Finding'}" for film in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,patient,finding_labels", *rows]) + "\n")
    for name in (*(f"{film}.png" for film in range(20)), "weights.pth"):
        (tmp_path / name).write_bytes(b"never read as a film")
    out, init = tmp_path / "out", f"resnet50={tmp_path / 'weights.pth'}"
    arguments = ["experiment", "table3", "--data", str(tmp_path / "labels.csv"), "--out", str(out), "--epochs", "1"]
    result = CliRunner().invoke(app, [*arguments, "--init", init])
    assert isinstance(result.exception, ExperimentIncompleteError)
    assert result.exception.exit_code == ExitCode.NOT_ALL
    assert "3 of 3 runs failed" in str(result.exception)
    text = (out / "table3.md").read_text(encoding="utf-8")
    assert "| table3-l1 | here | \u2013 | \u2013 | \u2013 |" in text
    assert "phase.epochs 1 instead of 50" in text
