"""The loop keeps the best epoch, and stops with a sentence."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from agcnn_models.settings import Preprocessing
from agcnn_training.data.batches import Batches
from agcnn_training.data.films import Films
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.evaluation.metrics import Score
from agcnn_training.loop import Surroundings, Task, _State, run_phase
from agcnn_training.optimise import make_optimiser
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import ComputeRecipe, PhaseRecipe
from agcnn_training.run_folder import NOTHING_YET, Checkpoint, RunFolder


class Reader(nn.Module):
    """A linear reading of the mean grey: small enough to train in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 15)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 15]."""
        return self.linear(images.mean(dim=(2, 3)))


class Judge:
    """Scores from a list, and remembers the weights that it was shown."""

    def __init__(self, areas: list[float]) -> None:
        self.areas, self.seen = areas, []

    def __call__(self, trainee: nn.Module, _size: int) -> Score:
        """The next area."""
        self.seen.append(trainee.linear.weight.detach().clone())
        return Score(self.areas[len(self.seen) - 1], {}, ())


def surroundings(folder: Path, clock: Callable[[], float] = time.monotonic, **compute: object) -> Surroundings:
    """A quiet run in a folder."""
    folder.mkdir(exist_ok=True)
    journal = Journal(Console(file=io.StringIO()))
    return Surroundings(RunFolder(folder), journal, StopRequest(), ComputeRecipe(**compute), seed=0, clock=clock)


def a_task(phase: PhaseRecipe, judge: Judge) -> Task:
    """Sixteen random films for the reader."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (16, 1, 36, 36), dtype=torch.uint8)
    films = Films(pixels, (torch.rand(16, 15) < 0.3).float(), torch.empty(16, 0))
    batches = Batches(films, np.arange(16), phase, Preprocessing(resize=36, crop=32), (0,))
    return Task("global-1", Reader(), judge, batches)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path, average: float) -> None:
    """Of four epochs the second scores best: its weights are what the phase leaves."""
    phase = PhaseRecipe(epochs=4, batch_size=8, average=average)
    judge, around = Judge([0.6, 0.8, 0.7, 0.8]), surroundings(tmp_path)
    task = a_task(phase, judge)
    run_phase(task, phase, around)
    assert torch.equal(task.trainee.linear.weight, judge.seen[1])
    kept = around.folder.finished("global-1")
    assert kept is not None
    assert torch.equal(kept.weights["linear.weight"], judge.seen[1])
    assert not torch.equal(judge.seen[1], judge.seen[3])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    """An absurd learning rate ends in advice, not in a model of NaN."""
    phase = PhaseRecipe(epochs=50, batch_size=8, learning_rate=1e38)
    with pytest.raises(TrainingError, match=r"lower learning_rate.* and start anew\."):
        run_phase(a_task(phase, Judge([0.5] * 50)), phase, surroundings(tmp_path))


def test_a_stopped_phase_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Stopped after its first epoch and resumed, a phase leaves the very weights of one that ran through."""
    phase = PhaseRecipe(epochs=3, batch_size=8, average=0.5)
    through, areas = surroundings(tmp_path / "through"), [0.6, 0.7, 0.8]
    whole = a_task(phase, Judge(areas))
    run_phase(whole, phase, through)

    around = surroundings(tmp_path / "stopped")

    class Stopping(Judge):
        def __call__(self, trainee: nn.Module, size: int) -> Score:
            around.stop.made = True
            return super().__call__(trainee, size)

    with pytest.raises(TrainingStopped, match="--resume"):
        run_phase(a_task(phase, Stopping(areas)), phase, around)
    around.stop.made = False
    resumed = a_task(phase, Judge(areas[1:]))
    run_phase(resumed, phase, around)
    assert torch.equal(resumed.trainee.linear.weight, whole.trainee.linear.weight)
    assert not (tmp_path / "stopped" / "checkpoint.pt").exists()


def test_a_stage_keeps_its_best_over_all_phases(tmp_path: Path) -> None:
    """A second phase begins from the first one's best epoch, and keeps that when it finds nothing better."""
    phase, around = PhaseRecipe(epochs=2, batch_size=8), surroundings(tmp_path)
    first = Judge([0.6, 0.8])
    task = a_task(phase, first)
    best = run_phase(task, phase, around)
    assert (best.area, best.phase, best.epoch) == (0.8, "global-1", 2)

    second = replace(task, name="global-2", score=Judge([0.7, 0.75]))
    best = run_phase(second, phase, around, best)
    assert (best.area, best.phase, best.epoch) == (0.8, "global-1", 2)
    assert torch.equal(task.trainee.linear.weight, first.seen[1])
    kept = around.folder.finished("global-2")
    assert kept is not None
    assert (kept.area, kept.phase) == (0.8, "global-1")

    third = replace(task, name="global-3", score=Judge([0.9, 0.85]))
    best = run_phase(third, phase, around, kept)
    assert (best.area, best.phase, best.epoch) == (0.9, "global-3", 1)


def test_phases_are_compared_at_one_size(tmp_path: Path) -> None:
    """What was best on smaller images is judged once more before a phase on larger ones looks for better."""
    small, large = (PhaseRecipe(epochs=1, batch_size=8, size=size) for size in (32, 36))
    around, judge = surroundings(tmp_path), Judge([0.9, 0.5, 0.6])
    task = a_task(small, judge)
    best = run_phase(task, small, around)
    second = replace(a_task(large, judge), name="global-2", trainee=task.trainee)
    assert run_phase(second, large, around, best).phase == "global-2"
    assert torch.equal(judge.seen[1], judge.seen[0])


def test_epochs_between_judgings_are_trained_and_not_judged(tmp_path: Path) -> None:
    """Of five epochs every second is judged, and the last; training goes the same way whoever looks at it."""
    every = PhaseRecipe(epochs=5, batch_size=8, average=0.5)
    seldom, always, sometimes = every.model_copy(update={"judge_every": 2}), Judge([0.5] * 5), Judge([0.6, 0.8, 0.7])
    run_phase(a_task(every, always), every, surroundings(tmp_path / "always"))
    around = surroundings(tmp_path / "sometimes")
    task = a_task(seldom, sometimes)
    best = run_phase(task, seldom, around)
    assert (best.area, best.epoch) == (0.8, 4)
    judged = [always.seen[index] for index in (1, 3, 4)]
    assert all(map(torch.equal, sometimes.seen, judged))
    lines = (around.folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [2, 4, 5]


def test_a_phase_that_is_judged_seldom_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stopped in an epoch after which nobody judges, a phase leaves the weights of one that ran through."""
    phase = PhaseRecipe(epochs=4, batch_size=8, average=0.5, judge_every=2)
    whole = a_task(phase, Judge([0.6, 0.7]))
    run_phase(whole, phase, surroundings(tmp_path / "whole"))
    around = surroundings(tmp_path / "stopped")
    task, reads = a_task(phase, Judge([0.6])), []

    def note(*_: object) -> None:
        reads.append(1)
        around.stop.made = len(reads) == 5

    task.trainee.register_forward_pre_hook(note)
    with pytest.raises(TrainingStopped, match="epoch 3/4"):
        run_phase(task, phase, around)
    around.stop.made = False
    resumed = a_task(phase, Judge([0.7]))
    run_phase(resumed, phase, around)
    assert torch.equal(resumed.trainee.linear.weight, whole.trainee.linear.weight)


class Killed(BaseException):
    """What no handler catches, as SIGKILL."""


def test_a_killed_run_loses_ten_minutes_at_most(tmp_path: Path) -> None:
    """With four minutes a step every third is followed by a checkpoint: killed in the eighth, a run goes on there."""
    phase = PhaseRecipe(epochs=1, batch_size=2, average=0.5)
    whole = a_task(phase, Judge([0.6]))
    run_phase(whole, phase, surroundings(tmp_path / "whole"))

    task, reads = a_task(phase, Judge([])), []
    around = surroundings(tmp_path / "killed", clock=lambda: 240.0 * len(reads))

    def note(*_: object) -> None:
        reads.append(1)
        if len(reads) > 7:
            raise Killed

    task.trainee.register_forward_pre_hook(note)
    with pytest.raises(Killed):
        run_phase(task, phase, around)
    kept = around.folder.load("global-1")
    assert kept is not None
    assert (kept.step, kept.seconds) == (6, 24 * 60)
    resumed, around = a_task(phase, Judge([0.6])), surroundings(tmp_path / "killed", clock=lambda: 1000.0)
    around.journal.keep(tmp_path / "log.txt")
    run_phase(resumed, phase, around)
    assert torch.equal(resumed.trainee.linear.weight, whole.trainee.linear.weight)
    assert "going on at epoch 1, step 7." in (tmp_path / "log.txt").read_text()
    assert json.loads((tmp_path / "killed" / "metrics.jsonl").read_text())["seconds"] == 24 * 60


def test_a_run_killed_between_two_phases_begins_from_the_best_epoch(tmp_path: Path) -> None:
    """The next process has random weights: what the finished phase kept takes their place."""
    phase, weights = PhaseRecipe(epochs=2, batch_size=8), []
    for name, killed in (("whole", False), ("killed", True)):
        around = surroundings(tmp_path / name)
        task = a_task(phase, Judge([0.8, 0.6]))
        best = run_phase(task, phase, around)
        if killed:
            task, kept = replace(task, trainee=Reader()), around.folder.finished("global-1")
            assert kept is not None
            best = kept
        run_phase(replace(task, name="global-2", score=Judge([0.85, 0.9])), phase, around, best)
        weights.append(task.trainee.linear.weight)
    assert torch.equal(*weights)


def test_an_epoch_is_recorded_once_where_its_checkpoint_was_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the second epoch's line was written, a run goes on from the first and writes that line anew."""
    phase, around = PhaseRecipe(epochs=3, batch_size=8), surroundings(tmp_path)
    save, kept = RunFolder.save, []

    def killed(folder: RunFolder, checkpoint: Checkpoint) -> None:
        if kept:
            raise Killed
        kept.append(checkpoint)
        save(folder, checkpoint)

    monkeypatch.setattr(RunFolder, "save", killed)
    with pytest.raises(Killed):
        run_phase(a_task(phase, Judge([0.6, 0.7])), phase, around)
    monkeypatch.setattr(RunFolder, "save", save)
    run_phase(a_task(phase, Judge([0.7, 0.8])), phase, around)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["mean_auc"]) for record in records] == [(1, 0.6), (2, 0.7), (3, 0.8)]


def test_checkpoints_are_kept_between_judgings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With epochs of four minutes, of which the twentieth is judged, no more than fourteen pass between checkpoints."""
    phase = PhaseRecipe(epochs=20, batch_size=8, judge_every=20)
    task, reads, kept = a_task(phase, Judge([0.6])), [], [0.0]
    around = surroundings(tmp_path, clock=lambda: 120.0 * len(reads))
    save = RunFolder.save

    def noting(folder: RunFolder, checkpoint: Checkpoint) -> None:
        kept.append(around.clock() / 60)
        save(folder, checkpoint)

    task.trainee.register_forward_pre_hook(lambda *_: reads.append(1))
    monkeypatch.setattr(RunFolder, "save", noting)
    run_phase(task, phase, around)
    assert kept[-1] == 80
    *between, last = (later - earlier for earlier, later in pairwise(kept))
    assert all(10 <= minutes <= 14 for minutes in between)
    assert last <= 14


def test_losses_that_were_not_awaited_are_summed_and_named_by_their_step() -> None:
    """Three losses come in at once, each once; of those of steps 6 to 8 the second that is no number is step 7's."""
    phase = PhaseRecipe(epochs=1, batch_size=8)
    task = a_task(phase, Judge([]))
    state = _State(task, task.trainee, make_optimiser(task.trainee, phase), NOTHING_YET, step=8, loss=1.0)
    state.coming = [torch.tensor(value) for value in (0.5, 0.25, 2.0)]
    state.await_losses("global-1 epoch 1/1")
    assert (state.loss, state.coming) == (3.75, [])
    state.await_losses("global-1 epoch 1/1")
    assert state.loss == 3.75
    state.coming = [torch.tensor(value) for value in (0.5, torch.nan, 2.0)]
    with pytest.raises(TrainingError, match=r"not a number in global-1 epoch 1/1, step 7:"):
        state.await_losses("global-1 epoch 1/1")


def test_gradients_end_with_their_phase(tmp_path: Path) -> None:
    """The next phase, and what judges, has the memory that this one's gradients took."""
    phase = PhaseRecipe(epochs=1, batch_size=8)
    task = a_task(phase, Judge([0.6]))
    run_phase(task, phase, surroundings(tmp_path))
    assert [parameter.grad for parameter in task.trainee.parameters()] == [None, None]


def test_memory_that_is_too_small_to_judge_is_one_sentence(tmp_path: Path) -> None:
    """Judging that does not fit ends with the setting that makes it smaller."""

    def score(_trainee: nn.Module, _size: int) -> Score:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    phase = PhaseRecipe(epochs=1, batch_size=8)
    task = replace(a_task(phase, Judge([])), score=score)
    with pytest.raises(TrainingError, match=r"judge global-1 with 7 films at a time: lower compute\.evaluation_batch"):
        run_phase(task, phase, surroundings(tmp_path, evaluation_batch=7))


def test_memory_that_is_too_small_is_one_sentence(tmp_path: Path) -> None:
    """A batch that does not fit ends with the two settings that make it smaller."""
    phase = PhaseRecipe(epochs=1, batch_size=8, accumulate=2)
    task = a_task(phase, Judge([]))
    task.trainee.register_forward_pre_hook(lambda _, images: (images[0].new_empty(2**55),))
    with pytest.raises(TrainingError, match=r"too small for 8 films in 2 part\(s\): raise accumulate or lower batch"):
        run_phase(task, phase, surroundings(tmp_path))


def test_a_batch_cannot_be_cut_finer_than_films(tmp_path: Path) -> None:
    """More parts than films is refused before anything is trained."""
    phase = PhaseRecipe(epochs=1, batch_size=8, accumulate=4)
    with pytest.raises(TrainingError, match="a batch of 8 films cannot be cut into 16 parts"):
        run_phase(a_task(phase, Judge([])), phase, surroundings(tmp_path, shards=4))


def test_compilation_that_fails_is_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler torch.compile does not work: the run says so once, and trains as it would without."""
    phase = PhaseRecipe(epochs=2, batch_size=8)
    plain = a_task(phase, Judge([0.6, 0.7]))
    run_phase(plain, phase, surroundings(tmp_path / "plain"))

    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/nonexistent/compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    around = surroundings(tmp_path / "compiled", compile=True)
    around.journal.keep(tmp_path / "log.txt")
    task = a_task(phase, Judge([0.6, 0.7]))
    run_phase(task, phase, around)
    assert (tmp_path / "log.txt").read_text().count("going on without it") == 1
    assert torch.equal(task.trainee.linear.weight, plain.trainee.linear.weight)


class Dropping(Reader):
    """A reader that draws at random itself."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 15] of half of what it sees."""
        return self.linear(nn.functional.dropout(images.mean(dim=(2, 3)), 0.5, self.training))


def test_what_a_network_draws_does_not_depend_on_the_past(tmp_path: Path) -> None:
    """Dropout takes the same units away whatever was drawn from torch's generator before."""
    phase, weights = PhaseRecipe(epochs=1, batch_size=8), []
    for drawn_before in (1, 2):
        task = replace(a_task(phase, Judge([0.6])), trainee=Dropping())
        for parameter in task.trainee.parameters():
            nn.init.ones_(parameter)
        torch.rand(drawn_before)
        run_phase(task, phase, surroundings(tmp_path / str(drawn_before)))
        weights.append(task.trainee.linear.weight)
    assert torch.equal(*weights)
