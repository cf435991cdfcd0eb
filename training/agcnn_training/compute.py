"""Where the arithmetic of a run is done, and in which numbers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from agcnn_models.cores import usable_cores
from agcnn_models.precision import compute_float32_as_such, computes_bfloat16
from agcnn_models.shards import Shards, one_thread
from agcnn_training.distributed import local_rank
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Precision, Recipe

EMULATED = (
    "This processor has no instructions for bfloat16 and emulates it, which can take thirty times as long: "
    'set compute.precision to "auto" or "float32" in the recipe.'
)
"""What a person is told whose recipe insists on bfloat16 here."""


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


@contextmanager
def shared(device: torch.device) -> Iterator[Shards]:
    """What reads batches without gradient: on a CPU several threads share each, a core to each; else this one alone.

    Whether gradients and autocast are on is each thread's own affair: the work says it.
    """
    with one_thread():
        yield Shards(usable_cores() if device.type == "cpu" else 1)


@contextmanager
def as_served() -> Iterator[None]:
    """Compute float32 as the clinic does; a GPU that trains may round the factors of its convolutions (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    compute_float32_as_such()
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def settle_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with the number format that "auto" stands for on this device: from here on it is one of the two."""
    if recipe.compute.precision is not Precision.AUTO:
        return recipe
    precision = Precision.BFLOAT16 if computes_bfloat16(device) else Precision.FLOAT32
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"precision": precision})})
