"""The run folder: what was asked, how it goes, where it goes on."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from agcnn_training.errors import TrainingError
from agcnn_training.identity import first_difference, git_revision
from agcnn_training.metrics_log import MetricsLog
from agcnn_training.recipe import Recipe, changed
from agcnn_training.run_folder import NOTHING_YET, Best, Checkpoint, RunFolder


def record(phase: str, epoch: int) -> dict[str, object]:
    """An epoch's record."""
    return {"phase": phase, "epoch": epoch, "loss": 0.5, "mean_auc": 0.75, "auc": {"Mass": 0.7, "Hernia": 0.8}}


@contextmanager
def rewritten(run: Path) -> Iterator[dict[str, Any]]:
    """What a run's record says, to be changed."""
    file = run / "run.json"
    content = json.loads(file.read_text())
    yield content
    file.write_text(json.dumps(content))


def test_run_json_says_what_the_run_is(tmp_path: Path, tiny: Recipe) -> None:
    """Every setting of the recipe, defaults too, the data and the software; nothing of the machine."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    content = json.loads((tmp_path / "run.json").read_text())
    assert Recipe.model_validate(content["recipe"]) == tiny
    assert content["recipe"]["compute"]["checkpoint_minutes"] == 10
    assert content["data_sha256"] == "abc"
    assert content["software"]["torch"] == torch.__version__.partition("+")[0]
    assert str(tmp_path) not in json.dumps(content)


def test_a_work_tree_is_named_by_its_commit(tmp_path: Path) -> None:
    """From a git work tree run.json has its revision; from a copy outside of one it has none."""
    here = Path(__file__).parent
    if subprocess.run(["git", "-C", here, "rev-parse"], check=False, capture_output=True).returncode:
        assert git_revision() is None
        return
    head = subprocess.check_output(["git", "-C", here, "rev-parse", "HEAD"], text=True).strip()
    found = git_revision()
    assert found is not None
    assert found["revision"] == head


def test_another_recipe_is_refused_by_its_first_key(tmp_path: Path, tiny: Recipe) -> None:
    """The refusal to resume names what differs: the key, what it was, what it is."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    other = tiny.model_copy(update={"seed": 4})
    with pytest.raises(TrainingError, match=r"recipe\.seed was 3 and is 4 now"):
        RunFolder(tmp_path).prepare(other, "abc", resume=True)
    with pytest.raises(TrainingError, match="another label table or other initial weights"):
        RunFolder(tmp_path).prepare(tiny, "xyz", resume=True)
    RunFolder(tmp_path).prepare(tiny, "abc", resume=True)


def test_a_run_goes_on_that_is_older_than_a_setting(tmp_path: Path, tiny: Recipe) -> None:
    """What run.json does not know yet is what it was when nobody could set it; what it does know still counts."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    with rewritten(tmp_path) as content:
        recipe = content["recipe"]
        del recipe["compute"]["graphs"]
        for phase in (recipe["phase"], *(one for stage in recipe["stages"] for one in stage["phases"])):
            del phase["judge_every"]
    RunFolder(tmp_path).prepare(tiny, "abc", resume=True)
    with pytest.raises(TrainingError, match=r"recipe\.phase\.judge_every was 1 and is 2 now"):
        RunFolder(tmp_path).prepare(changed(tiny, {"phase.judge_every": 2}), "abc", resume=True)


def test_a_recipe_of_another_time_is_refused_by_its_first_key(tmp_path: Path, tiny: Recipe) -> None:
    """A run whose recipe is none any more is compared as it is written."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    with rewritten(tmp_path) as content:
        content["recipe"]["patience"] = 3
    with pytest.raises(TrainingError, match=r"recipe\.patience was 3 and is null now"):
        RunFolder(tmp_path).prepare(tiny, "abc", resume=True)


def test_a_run_goes_on_in_less_memory(tmp_path: Path, tiny: Recipe) -> None:
    """Where it is said to lower evaluation_batch or to set graphs = false and to resume, that can be done."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    smaller = {"compute.graphs": False, "compute.evaluation_batch": 1, "compute.checkpoint_minutes": 1.0}
    RunFolder(tmp_path).prepare(changed(tiny, smaller), "abc", resume=True)
    with pytest.raises(TrainingError, match=r"recipe\.compute\.shards was 1 and is 2 now"):
        RunFolder(tmp_path).prepare(changed(tiny, {"compute.shards": 2}), "abc", resume=True)


def test_what_a_recipe_only_says_may_change_while_a_run_is_stopped(tmp_path: Path, tiny: Recipe) -> None:
    """No weight depends on the words of its card: better ones are no other recipe."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    told = tiny.model_copy(update={"description": "For tests, really."})
    RunFolder(tmp_path).prepare(changed(told, {"card.data": "Other words."}), "abc", resume=True)


def test_newer_software_may_go_on_with_a_run(tmp_path: Path, tiny: Recipe) -> None:
    """A run that began with another version of torch is no other run."""
    RunFolder(tmp_path).prepare(tiny, "abc", resume=False)
    with rewritten(tmp_path) as content:
        content["software"]["torch"] = "2.8.0"
    RunFolder(tmp_path).prepare(tiny, "abc", resume=True)


JSON = st.recursive(
    st.integers() | st.text(max_size=3),  # a setting that is null is as good as none
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_difference_is_found_where_there_is_one(one: object, other: object) -> None:
    """Nothing differs from itself, and two documents differ exactly where JSON says so."""
    assert first_difference(one, one) is None
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (first_difference({"a": one}, {"a": other}) is None) == same


def test_a_difference_is_named_by_its_path() -> None:
    """Through tables and arrays, to the value; a table that is new or shorter is not printed."""
    before = {"stages": [{"name": "global", "phases": [{"epochs": 50}]}]}
    now = {"stages": [{"name": "global", "phases": [{"epochs": 2}]}]}
    assert first_difference(before, now) == "stages[0].phases[0].epochs was 50 and is 2 now"
    assert first_difference(before, {"stages": []}) == "stages was 1 entries and is 0 entries now"
    assert first_difference({}, {"seed": 1}) == "seed was null and is 1 now"


def test_csv_and_lines_say_the_same(tmp_path: Path) -> None:
    """metrics.csv has a row an epoch and a column a label; metrics.jsonl has the same numbers."""
    log = MetricsLog(tmp_path)
    log.append(record("global-1", 1))
    log.append(record("global-1", 2) | {"auc": {"Mass": 0.9}})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [line["auc"]["Mass"] for line in lines] == [float(row["auc_Mass"]) for row in rows] == [0.7, 0.9]
    assert [row["auc_Hernia"] for row in rows] == ["0.8", ""]
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_epochs_that_are_trained_again_are_recorded_once(tmp_path: Path) -> None:
    """A run killed after it recorded an epoch and before it kept it takes that line back."""
    log = MetricsLog(tmp_path)
    for phase, epoch in (("global-1", 1), ("global-2", 1), ("global-2", 2)):
        log.append(record(phase, epoch))
    log.rewind("global-2", 1)
    log.append(record("global-2", 2))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [("global-1", 1), ("global-2", 1), ("global-2", 2)]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 4


def test_tensorboard_reads_what_was_recorded(tmp_path: Path) -> None:
    """Where TensorBoard is installed each phase is a run with the loss and every label's area."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = MetricsLog(tmp_path)
    for epoch in (1, 2):
        log.append(record("global-1", epoch))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "global-1"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.5)]
    assert [round(event.value, 3) for event in events.Scalars("auc/Hernia")] == [0.8, 0.8]


def test_events_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    """A file in the place of their folder, as a full disk, ends in what to do."""
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(TrainingError, match=r"^tensorboard cannot be written in .* --resume\.$"):
        MetricsLog(tmp_path).append(record("global-1", 1))


def test_without_tensorboard_there_are_no_event_files(tmp_path: Path) -> None:
    """It is optional: where it cannot be imported the other files are written all the same."""
    program = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from pathlib import Path\n"
        "from agcnn_training.metrics_log import MetricsLog\n"
        "MetricsLog(Path(sys.argv[1])).append({'phase': 'global-1', 'epoch': 1, 'loss': 1.0, 'auc': {}})\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.jsonl"]


def test_a_phase_remembers_where_its_weights_come_from(tmp_path: Path) -> None:
    """A finished phase keeps the best of its stage, to the last bit of its area, and needs no checkpoint."""
    folder = RunFolder(tmp_path)
    best = Best({"weight": torch.randn(3), "count": torch.tensor(5)}, 1 / 3, "global-1", 7, 32)
    folder.save(Checkpoint("global-2", 0, 3, 1.5, 2.5, {}, {}, {"state": {}}, best))
    kept = folder.load("global-2")
    assert kept is not None
    assert (kept.loss, kept.seconds, kept.best.area) == (1.5, 2.5, 1 / 3)
    assert folder.load("local-1") is None
    folder.finish("global-2", best)
    found = folder.finished("global-2")
    assert found is not None
    assert (found.area, found.phase, found.epoch, found.size) == (1 / 3, "global-1", 7, 32)
    assert torch.equal(found.weights["weight"], best.weights["weight"])
    assert folder.load("global-2") is None
    assert folder.finished("global-1") is None
    assert NOTHING_YET.area < 0


class _Mischief:
    """An object whose unpickling makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """A run's folder may come from somebody else: to go on with it must not run what it brings."""
    torch.save({"phase": "global-1", "model": _Mischief(tmp_path / "ran")}, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is no checkpoint of this program"):
        RunFolder(tmp_path).load("global-1")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    """What to take away, in place of a traceback."""
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="take it away"):
        RunFolder(tmp_path).load("global-1")


def test_a_checkpoint_of_another_shape_is_a_sentence(tmp_path: Path) -> None:
    """One that lacks what ours has, as an older program's, is none of ours."""
    folder = RunFolder(tmp_path)
    folder.save(Checkpoint("global-1", 0, 3, 1.5, 2.5, {}, {}, {}, NOTHING_YET))
    content = torch.load(tmp_path / "checkpoint.pt")
    del content["seconds"]
    for other in (content, [content]):
        torch.save(other, tmp_path / "checkpoint.pt")
        with pytest.raises(TrainingError, match="no checkpoint of this program"):
            folder.load("global-1")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.95])
def test_a_copy_that_was_broken_off_is_a_sentence(tmp_path: Path, share: float) -> None:
    """Of a finished phase, or of the record of epochs, a part came to the other machine: the file is named."""
    folder = RunFolder(tmp_path)
    folder.finish("global-1", Best({"weight": torch.randn(500)}, 0.5, "global-1", 1, 32))
    folder.metrics.append(record("global-1", 1))
    for name in ("global-1.safetensors", "metrics.jsonl"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content))] or b"{")
    with pytest.raises(TrainingError, match=r"global-1\.safetensors is no finished phase .*copy it anew"):
        folder.finished("global-1")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl is damaged .*copy it anew"):
        folder.metrics.rewind("global-1", 0)


def test_weights_without_a_record_are_no_finished_phase(tmp_path: Path) -> None:
    """A file of weights that somebody put there does not say what it is the best of."""
    save_file({"weight": torch.zeros(2)}, tmp_path / "global-1.safetensors")
    with pytest.raises(TrainingError, match="no finished phase of this program"):
        RunFolder(tmp_path).finished("global-1")
