"""What a device offers beyond torch's own operations: `agcnn_models.kernels`, and cuDNN's fused convolutions."""

import importlib
from functools import cache
from types import ModuleType

import torch

__all__ = ["fuses_convolutions", "kernels_for", "kernels_on", "why_no_kernels"]


def kernels_on(device: torch.device) -> ModuleType | None:
    """Return `agcnn_models.kernels` where they run, which is a GPU that Triton compiles for; else None.

    The first call for a GPU tries all of them. That takes seconds where Triton has not kept them from an earlier time.
    While torch.compile looks on it is None: that makes kernels of torch's own operations.
    """
    return None if device.type != "cuda" or torch.compiler.is_compiling() else _tried(device)[0]


def kernels_for(weight: torch.Tensor, dtype: torch.dtype) -> ModuleType | None:
    """Return them where a network whose weight this is can compute in `dtype` by them: their products are of bfloat16.

    In float32 a GPU computes by torch's operations, which do not round factors to 10 bits unless they are told to.
    """
    return kernels_on(weight.device) if dtype is torch.bfloat16 else None


def why_no_kernels(device: torch.device) -> str:
    """Say in a few words why a GPU's `kernels_on` is None; empty where it is not."""
    return _tried(device)[1]


def fuses_convolutions(device: torch.device) -> bool:
    """Whether a convolution with its bias, a sum and a ReLU is one operation of cuDNN's there."""
    return device.type == "cuda" and torch.version.hip is None and bool(torch.backends.cudnn.is_available())  # type: ignore[no-untyped-call]


@cache
def _tried(device: torch.device) -> tuple[ModuleType | None, str]:
    with torch.cuda.device(device):
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            return None, "it has no instructions for bfloat16"
    # Imported late: Triton comes with torch for Linux only, and takes half a second.
    try:
        kernels = importlib.import_module("agcnn_models.kernels")
        kernels.try_all(device)
    except Exception as error:  # noqa: BLE001 (whatever Triton or a compiler raises: the network runs without)
        return None, f"{type(error).__name__}: {(str(error).strip() or 'no more is said').splitlines()[0][:200]}"
    return kernels, ""
