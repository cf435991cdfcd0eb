"""Weights from elsewhere: the one reader of files that this project did not write, and the check that they fit."""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from agcnn_models.errors import ModelError

SAFETENSORS: Final = ".safetensors"
_WRAPPERS: Final = ("state_dict", "model_state_dict")
"""Under these names a training checkpoint holds the state dict, beside the optimiser's and the like."""
_OLD_DENSENET_KEY: Final = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
_COUNTER: Final = "num_batches_tracked"
_NO_WEIGHTS: Final = "it is not a file that torch.save wrote, or it is damaged"
_STATISTICS: Final = ("running_mean", "running_var")
_FORBIDDEN_GLOBAL: Final = re.compile(r"GLOBAL (\S+)")

_SCALAR: Final = np.float64(0).__reduce__()[0]
_NUMPY_NUMBERS: Final[list[Any]] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]
"""What unpickling a NumPy number needs: checkpoints carry one as their best AUC or loss. It is data, not code."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file or from what torch.save wrote, never running what it may carry.

    A training checkpoint is taken for the state dict inside it.

    Raises:
        ModelError: the file is missing, damaged, holds Python objects, or is no state dict.
    """
    try:
        if path.suffix == SAFETENSORS:
            return load_file(path)
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} cannot be read as weights: {_why_refused(error)}") from error
    except (OSError, SafetensorError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path} cannot be read as weights: {_first_sentence(error)}") from error
    except Exception as error:  # the unpickler takes any file at its word: /etc/passwd ends in an IndexError
        raise ModelError(f"{path} cannot be read as weights: {_NO_WEIGHTS}") from error
    if isinstance(content, dict):
        content = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ModelError(f"{path} is not a state dict, which maps names to tensors as torchvision's files do")
    return {key: value.detach() for key, value in content.items()}


def modern_densenet_key(key: str) -> str:
    """Return today's name of a DenseNet's tensor: files of before PyTorch 0.4 say "norm.1" for "norm1".

    torchvision's own published file still does (`torchvision.models.densenet._load_state_dict`).
    """
    return _OLD_DENSENET_KEY.sub(r"\1", key)


def require_fit(source: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless `found` has the keys, shapes and kinds of number of `expected`, no more and no less.

    Only BatchNorm's counters of batches may be missing: files of before PyTorch 0.4.1 have none, and they change
    no output. The sentence counts what does not fit and names the first; the exception's notes list every key.
    """
    shared = found.keys() & expected.keys()
    misfits = {
        "missing": [key for key in expected.keys() - found.keys() if not is_counter(key)],
        "unknown": list(found.keys() - expected.keys()),
        "of another shape": [key for key in shared if found[key].shape != expected[key].shape],
        "of another kind of number": [
            key for key in shared if found[key].is_floating_point() != expected[key].is_floating_point()
        ],
    }
    if not any(misfits.values()):
        return
    listed = "; ".join(_counted(what, keys) for what, keys in misfits.items() if keys)
    error = ModelError(f"{source} does not fit this backbone: {listed}")
    for what, keys in misfits.items():
        for key in sorted(keys):
            error.add_note(f"{what}: {key}")
    raise error


def require_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    """Raise ModelError, which names the tensor, when a number among the weights is infinite or none at all."""
    for key, value in weights.items():
        if not torch.isfinite(value).all():
            raise ModelError(f"{source} has values that are not finite in {key}: its training diverged, give others")


def is_counter(key: str) -> bool:
    """Whether a tensor only counts the batches that a BatchNorm has seen."""
    return key.endswith(_COUNTER)


def is_statistic(key: str) -> bool:
    """Whether a tensor is what a BatchNorm has measured of the numbers that came through it."""
    return key.endswith(_STATISTICS)


def _why_refused(error: pickle.UnpicklingError) -> str:
    """Turn torch's page of advice, which includes loading with the safety off, into one sentence of ours."""
    if forbidden := _FORBIDDEN_GLOBAL.search(str(error)):
        return (
            f"it holds Python objects ({forbidden[1]}) and not tensors alone, and reading those can run code; "
            "where you trust it, open it with the program that made it and save model.state_dict() instead"
        )
    return _NO_WEIGHTS


def _first_sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "TorchScript" in str(error):
        return "it is a TorchScript program and not tensors alone; save the model's state_dict() instead"
    return re.split(r"\n|\. ", str(error).strip() or "it is empty")[0]


def _counted(what: str, keys: Iterable[str]) -> str:
    """Count the keys and name the first five, so that the sentence stays one."""
    names = sorted(keys)
    return f"{len(names)} keys {what} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
