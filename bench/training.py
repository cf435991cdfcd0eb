"""Times training: films a second of each stage and backbone, of the data path that feeds them, and what helps.

    python bench/training.py [--quick]

One core works on the network, as one does when ``shards`` is 1; the data path is timed on one core too. On a GPU the
data path runs there. The films are random numbers: how fast a film is read from its file is not timed here.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone, Preprocessing
from agcnn_training.ahead import drawn_ahead, drawn_beside
from agcnn_training.compute import choose_device
from agcnn_training.data.batches import Batch, Batches
from agcnn_training.data.films import Films
from agcnn_training.heap import keep_freed_memory
from agcnn_training.optimise import make_optimiser
from agcnn_training.recipe import PhaseRecipe
from agcnn_training.shards import Shards
from agcnn_training.stages import Trainee, freeze, thaw

FILMS = 64


@dataclass(frozen=True)
class Setting:
    """How much is timed: the side of the images, films in a batch, and seconds for each number."""

    size: int
    batch: int
    seconds: float
    device: torch.device

    @property
    def preprocessing(self) -> Preprocessing:
        """The paper's share of the film: 224 of 256."""
        return Preprocessing(resize=self.size * 8 // 7, crop=self.size)


def main() -> None:
    """Time everything, print a table, and leave the numbers as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="images of 112 pixels, and a shorter look at each number")
    results = measure(quick=parser.parse_args().quick)
    print(json.dumps(results))  # noqa: T201


def measure(*, quick: bool) -> dict[str, object]:
    """Films a second, on the CPU and on the GPU where there is one; prints a table of each."""
    torch.set_num_threads(1)
    results: dict[str, object] = {"training_size": 112 if quick else 224}
    for device in dict.fromkeys((torch.device("cpu"), choose_device(None))):
        gpu = device.type == "cuda"
        batch = (64 if gpu else 4) if quick else (128 if gpu else 8)
        setting = Setting(112 if quick else 224, batch, 1.0 if quick else 2.5, device)
        results |= {f"training_{device.type}_{name}": value for name, value in _on_device(setting).items()}
    return results


def _on_device(setting: Setting) -> dict[str, float]:
    results: dict[str, float] = {}
    if setting.device.type == "cpu":
        results |= _heap(setting)
        keep_freed_memory()
    batches = _batches(setting)
    data = _rate(setting, lambda step: batches.batch(0, step % len(batches), setting.device))
    results["data_path"] = round(data, 1)
    table = Table(title=f"Films a second on {setting.device.type}, {setting.size} pixels, {setting.batch} a batch")
    for column in ("backbone", "stage", "network", "whole loop", "data path / network"):
        table.add_column(column, justify="left" if column in ("backbone", "stage") else "right")
    for backbone in Backbone:
        network = build_agcnn(backbone).to(setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for stage in BranchName:
            alone, whole = _stage(network, stage, batches, setting)
            results |= {f"{backbone}_{stage}_network": round(alone, 2), f"{backbone}_{stage}_loop": round(whole, 2)}
            table.add_row(backbone, stage, f"{alone:.1f}", f"{whole:.1f}", f"{data / alone:.0f}")
    Console().print(table, f"The data path alone: {data:.0f} films a second.")
    return results


def _stage(network: AGCNN, stage: BranchName, batches: Batches, setting: Setting) -> tuple[float, float]:
    """Films a second of a stage: forward and back on one batch, and batch after batch with the optimiser's steps.

    The second is what the loop does with a plain recipe on a CPU. On a GPU the loop also records its steps and repeats
    them whole, and a recipe may clip gradients and average weights: none of that is timed here.
    """
    trainee = _trainee(network, stage)
    batch = batches.batch(0, 0, setting.device)
    optimiser = make_optimiser(trainee, PhaseRecipe(batch_size=setting.batch))
    with Shards(trainee, 1) as shards:
        alone = _rate(setting, lambda _: shards.backward(_read, batches.loss, batch.images, batch.targets))
        steps = [step % len(batches) for step in range(10_000)]

        def draw(step: int) -> Batch:
            return batches.batch(0, step, setting.device)

        on_gpu = setting.device.type == "cuda"
        coming = drawn_beside(steps, draw, setting.device) if on_gpu else drawn_ahead(steps, draw)

        def step(_: int) -> None:
            _, drawn = next(coming)
            shards.backward(_read, batches.loss, drawn.images, drawn.targets)
            optimiser.step()

        whole = _rate(setting, step)
        coming.close()
    return alone, whole


def _trainee(network: AGCNN, stage: BranchName) -> Trainee:
    """What a stage of Algorithm 1 moves, all else being fixed."""
    freeze(network)
    trainee = Trainee(network, (stage,))
    thaw(trainee)
    return trainee


def _read(trainee: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = trainee(images)
    return logits


def _batches(setting: Setting) -> Batches:
    """Batches of random films with the paper's augmentation."""
    side = setting.preprocessing.resize
    count = max(FILMS, setting.batch)
    films = Films(
        torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8),
        (torch.rand(count, 15) < 0.1).float(),
        torch.empty(count, 0),
    )
    return Batches(films, np.arange(count), PhaseRecipe(batch_size=setting.batch), setting.preprocessing, (0,))


def _rate(setting: Setting, work: Callable[[int], object]) -> float:
    """Films a second, by the median of the steps that fit into the time.

    On the CPU by processor time, so that what else the machine does is left out: a second is one core's second.
    """
    gpu = setting.device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    work(0)
    times: list[float] = []
    end = time.perf_counter() + setting.seconds
    while len(times) < 2 or time.perf_counter() < end:
        began = clock()
        work(len(times))
        if gpu:
            torch.cuda.synchronize()
        times.append(clock() - began)
    return setting.batch / statistics.median(times)


def _heap(setting: Setting) -> dict[str, float]:
    """Processor time of a step with glibc's own habits, and with freed memory kept (``heap.py``).

    In processes of their own, one after the other: a heap that has grown is not as it was before.
    """
    context = multiprocessing.get_context("fork")  # nothing has been computed yet, so there are no threads to lose
    times: dict[bool, list[float]] = {False: [], True: []}
    for kept in (False, True) * 2:
        answers = context.SimpleQueue()
        child = context.Process(target=_time_steps, args=(setting, kept, answers))
        child.start()
        times[kept].append(answers.get())
        child.join()
    usual, keeping = (min(times[kept]) for kept in (False, True))
    print(f"A step's processor time: {usual:.2f} s, with freed memory kept {keeping:.2f} s.")  # noqa: T201
    return {"heap_usual_seconds": round(usual, 3), "heap_kept_seconds": round(keeping, 3)}


def _time_steps(setting: Setting, kept: bool, answers: "SimpleQueue[float]") -> None:
    if kept:
        keep_freed_memory()
    batches = _batches(setting)
    trainee = _trainee(build_agcnn(Backbone.DENSENET121), BranchName.GLOBAL)
    batch = batches.batch(0, 0)
    with Shards(trainee, 1) as shards:
        answers.put(
            setting.batch / _rate(setting, lambda _: shards.backward(_read, batches.loss, batch.images, batch.targets))
        )


if __name__ == "__main__":
    main()
