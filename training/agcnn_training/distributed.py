"""One run in several processes (``torchrun``): each takes its share of every batch, and all move the same weights.

Gradients are summed by hand, in one transfer a step, instead of by DistributedDataParallel. That wrapper divides by
the number of processes, whatever each had to say; hides the modules through which a stage reads; and wants a backward
pass of its own for each micro-batch. What it would bring, sending while still going backward, is worth little for
the 7 to 24 million weights of these networks.

The sum is exact: with the batch cut by process and BatchNorm's statistics taken over all of them (``synchronised``),
a step is that of one process on the whole batch, to rounding.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from agcnn_training.errors import TrainingError, first_line

# The others wait while the first process reads films or judges an epoch. A process that fails ends the rest through
# torchrun, so that nobody waits this long for one that is gone.
_PATIENCE: Final = timedelta(hours=12)


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: which one this is, from 0.
        count: how many there are.
        device: where this one's tensors lie.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes, judges and speaks."""
        return self.rank == 0

    def any(self, said: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return said
        answer = torch.tensor(float(said), device=self.device)
        self.sum_([answer])
        return bool(answer)

    def told(self, value: float) -> float:
        """What the leading process says, in all of them; what the others give is ignored."""
        answer = torch.tensor(value if self.leads else 0.0, dtype=torch.float64, device=self.device)
        self.sum_([answer])
        return float(answer)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one transfer a dtype.

        Raises:
            TrainingError: another process has gone.
        """
        if self.count == 1:
            return
        for dtype in {tensor.dtype: None for tensor in tensors}:
            alike = [tensor for tensor in tensors if tensor.dtype is dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            with transfer():
                dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def wait(self) -> None:
        """Go on once every process has come here."""
        self.any(said=False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process does this before the others do: what it leaves on the disk, they find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def synchronised(self, module: nn.Module) -> None:
        """Let BatchNorm see the batch of all processes; names and values of the weights stay."""
        if self.count == 1:
            return
        if self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
            return
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(parent, name, SharedBatchNorm.like(child))


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the films of all processes, for the CPU, where torch.nn.SyncBatchNorm refuses to work."""

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> "SharedBatchNorm":
        """The same layer, with the very parameters and statistics of the other."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        return shared.train(norm.training)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise [B, K, h, w]; in training by the mean and variance over the films of every process."""
        if not self.training:
            return super().forward(images)
        values = images.float()
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)  # [K] each, of this process
        count = torch.full_like(mean, values.numel() / values.shape[1])
        # Moments add up; in float64, since a variance is a small difference of large sums.
        moments = torch.stack((torch.ones_like(mean), mean, variance + mean.square())).double() * count  # [3, K]
        with transfer():
            total, first, second = all_reduce(moments)  # type: ignore[no-untyped-call]
        mean = first / total
        variance = second / total - mean.square()
        self._remember(mean.detach(), (variance * total / (total - 1)).detach())
        shape = (1, -1, 1, 1)
        scale = torch.rsqrt(variance + self.eps).float() * self.weight
        normalised: Tensor = (values - mean.float().view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as BatchNorm does: by momentum, with the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.float(), share)
        self.running_var.lerp_(variance.float(), share)


ALONE: Final = Ranks(rank=0, count=1, device=torch.device("cpu"))


def rank() -> int:
    """Which process of a torchrun this is; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int | None:
    """Which process of this machine this is, under torchrun; None without it."""
    value = os.environ.get("LOCAL_RANK")
    return None if value is None else int(value)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that torchrun has started; alone when it has started none.

    Raises:
        TrainingError: the processes do not find each other.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"The {count} processes of this run do not find each other ({first_line(error)}): start it with torchrun."
        ) from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


@contextmanager
def transfer() -> Iterator[None]:
    """Say in a sentence that another process has gone in the middle of a transfer.

    Raises:
        TrainingError: it has.
    """
    try:
        yield
    except RuntimeError as error:  # dist.DistBackendError, and gloo's own "Connection closed by peer"
        raise TrainingError(
            f"Another process of this run has ended ({first_line(error)}): mend what it says, then use --resume."
        ) from error
