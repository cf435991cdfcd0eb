"""In which numbers a network computes, and which of them a device has instructions for."""

from enum import StrEnum

import torch

__all__ = ["Precision", "computes_bfloat16", "number_format"]


class Precision(StrEnum):
    """The number format of weights and activations."""

    AUTO = "auto"
    """bfloat16 where the device has instructions for it, else float32."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; where it has none it emulates them, far slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return any(bool(abilities.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def number_format(precision: Precision, device: torch.device) -> torch.dtype:
    """Return torch.float32 or torch.bfloat16: what `precision` stands for on this device."""
    if precision is Precision.AUTO:
        precision = Precision.BFLOAT16 if computes_bfloat16(device) else Precision.FLOAT32
    return torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
