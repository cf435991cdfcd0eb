"""A gradient that is recorded and repeated is the gradient."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from agcnn_training.data.batches import Batch
from agcnn_training.errors import TrainingError
from agcnn_training.loss import binary_cross_entropy
from agcnn_training.recorded import Record, Recorder, on_gpu
from agcnn_training.shards import Shards

NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


class Bench:
    """A small network and the gradient of its batches."""

    def __init__(self, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 15)).to(
            device=device, memory_format=torch.channels_last
        )
        self.parameters, self.calls = [*self.module.parameters()], 0
        self.shards = Shards(self.module, 1)

    def gradient(self, batch: Batch) -> Tensor:
        """Of the shards, counted."""
        self.calls += 1
        return self.shards.backward(lambda module, images: module(images), binary_cross_entropy, *batch)

    def recorder(self, record: Record) -> Recorder:
        """The same, recorded."""
        return Recorder(self.gradient, self.parameters, record)

    def left_by(self, gradient: Callable[[Batch], Tensor], batches: list[Batch]) -> list[Tensor]:
        """What remains of these batches: each loss, every gradient after each, and BatchNorm's statistics."""
        kept = []
        for batch in batches:
            kept += [gradient(batch), *(parameter.grad.clone() for parameter in self.parameters)]
        return [*kept, *(buffer.clone() for buffer in self.module.buffers())]

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As a GPU records: nothing is done, what is repeated later reads and leaves its tensors where they were."""
        loss, gradients = torch.full((), torch.nan), [torch.full_like(one, torch.nan) for one in self.parameters]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

        def again() -> None:
            loss.copy_(work())
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                gradient.copy_(parameter.grad)

        return again, loss


def some_batches(count: int = 7, films: int = 6, device: str = "cpu") -> list[Batch]:
    """Random ones, the same each time."""
    torch.manual_seed(1)
    return [
        Batch(torch.randn(films, 3, 4, 4).to(device), (torch.rand(films, 15) < 0.3).float().to(device))
        for _ in range(count)
    ]


def test_what_is_repeated_is_what_would_have_been_done() -> None:
    """Seven batches, of which the last four are repeated, leave the very losses, gradients and statistics."""
    plain, recorded, batches = Bench(), Bench(), some_batches()
    expected = plain.left_by(plain.gradient, batches)
    found = recorded.left_by(recorded.recorder(recorded.record), batches)
    assert all(map(torch.equal, expected, found))
    assert len(expected) == len(found)


def test_a_loss_outlasts_the_next_step() -> None:
    """Losses are looked at many steps later: the next step does not write over them."""
    bench = Bench()
    gradient = bench.recorder(bench.record)
    losses = [gradient(batch) for batch in some_batches()]
    assert len({float(loss) for loss in losses}) == len(losses)


def test_a_batch_of_another_size_is_not_repeated() -> None:
    """After the recording a smaller batch has the gradient that it has without one, and so have those after it."""
    plain, recorded = Bench(), Bench()
    batches = [*some_batches(5), *some_batches(1, films=3), *some_batches(1)]
    expected = plain.left_by(plain.gradient, batches)
    assert all(map(torch.equal, expected, recorded.left_by(recorded.recorder(recorded.record), batches)))


def test_recording_that_fails_ends_the_process_with_advice() -> None:
    """A network that waits for the GPU in its midst cannot be recorded: what to set is said, and nothing goes on."""

    def refuse(_: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    bench, batches = Bench(), some_batches()
    recorder = bench.recorder(refuse)
    for batch in batches[:3]:
        recorder(batch)
    with pytest.raises(TrainingError) as raised:
        recorder(batches[3])
    assert str(raised.value) == (
        "The steps cannot be recorded here (operation not permitted when stream is capturing): set compute.graphs = "
        "false in the recipe and resume."
    )


@NEEDS_A_GPU
def test_a_gpu_repeats_what_it_recorded() -> None:
    """The same on a GPU, where the work is started by the driver, to the rounding of sums without an order."""
    plain, recorded, batches = Bench("cuda"), Bench("cuda"), some_batches(device="cuda")
    expected = plain.left_by(plain.gradient, batches)
    found = recorded.left_by(recorded.recorder(on_gpu), batches)
    assert recorded.calls == 4
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-5)


WAITS = """
import torch
from agcnn_training.recorded import on_gpu
ones, before = torch.ones(4, device="cuda"), torch.cuda.current_stream()
try:
    on_gpu(lambda: ones * ones.sum().item())
except RuntimeError:
    print("refused", torch.cuda.current_stream() == before)
"""


@NEEDS_A_GPU
def test_a_recording_that_is_broken_off_leaves_the_stream_as_it_was() -> None:
    """What reads a number back cannot be recorded, and the thread is on its own stream again; in another process."""
    said = subprocess.run([sys.executable, "-c", WAITS], check=True, capture_output=True, text=True).stdout
    assert said == "refused True\n"
