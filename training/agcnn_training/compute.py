"""Where the arithmetic of a run is done, and in which numbers."""

from contextlib import AbstractContextManager, nullcontext

import torch

from agcnn_training.distributed import local_rank
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Precision


def choose_device(name: str | None) -> torch.device:
    """The device that was asked for; else a GPU when there is one. Under torchrun each process takes its own GPU.

    Raises:
        TrainingError: there is no such device here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        rank = local_rank()
        if device == torch.device("cuda") and rank is not None:
            device = torch.device("cuda", rank)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"There is no device {name!r} here: give cpu, cuda, or leave --device out.") from error
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which forward passes run."""
    if precision is Precision.BFLOAT16:
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
