"""In which numbers a network computes, and which of them a device has instructions for."""

from enum import StrEnum
from typing import Final, NamedTuple

import torch

__all__ = [
    "FLOAT32",
    "NumberFormats",
    "Precision",
    "compute_float32_as_such",
    "computes_bfloat16",
    "number_formats",
]


class Precision(StrEnum):
    """The number format of weights and activations of the two branches."""

    AUTO = "auto"
    """MIXED where the device has instructions for bfloat16, else FLOAT32."""
    FLOAT32 = "float32"
    MIXED = "mixed"
    """The global branch in float32, the local branch in bfloat16.

    Where the global branch attends decides what the local branch sees at all: a rounding there may move the region and
    with it everything that follows, while a rounding in the local branch stays one.
    """
    BFLOAT16 = "bfloat16"
    """Both branches in bfloat16."""


class NumberFormats(NamedTuple):
    """The number format of each branch; Pool5, classifiers, attention and crop compute in float32 in any case."""

    global_branch: torch.dtype
    local_branch: torch.dtype

    @property
    def precision(self) -> Precision:
        """What they are called together: never AUTO."""
        return next(name for name, formats in _FORMATS.items() if formats == self)


FLOAT32: Final = NumberFormats(torch.float32, torch.float32)
_FORMATS: Final = {
    Precision.FLOAT32: FLOAT32,
    Precision.MIXED: NumberFormats(torch.float32, torch.bfloat16),
    Precision.BFLOAT16: NumberFormats(torch.bfloat16, torch.bfloat16),
}


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; where it has none it emulates them, far slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return any(bool(abilities.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def compute_float32_as_such() -> None:
    """Keep GPUs from rounding the factors of float32 convolutions to 10 bits (TF32), as torch has them do by default.

    For the whole process. What the global branch attends to is then what it attends to on a CPU.
    """
    torch.backends.cudnn.allow_tf32 = False


def number_formats(precision: Precision, device: torch.device) -> NumberFormats:
    """Return what `precision` stands for on this device."""
    if precision is Precision.AUTO:
        precision = Precision.MIXED if computes_bfloat16(device) else Precision.FLOAT32
    return _FORMATS[precision]
