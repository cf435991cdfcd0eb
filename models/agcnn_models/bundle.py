"""A bundle: a folder with weights, a manifest that vouches for them and a card for people to read."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from scipy.special import expit
from torch import Tensor

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.backbones import without_weights
from agcnn_models.errors import ModelError
from agcnn_models.foreign import is_statistic, require_finite
from agcnn_models.labels import LABELS
from agcnn_models.manifest import (
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    UNCALIBRATED,
    WEIGHTS_FILE,
    Draft,
    Manifest,
    Platt,
    Weights,
    WeightsDtype,
    bind,
)
from agcnn_models.manifest_file import read_manifest, require_consistent, to_toml
from agcnn_models.shards import one_thread


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest is consistent. Raises ModelError otherwise; `open_bundle` makes one."""

    folder: Path
    manifest: Manifest

    def __post_init__(self) -> None:
        require_consistent(self.manifest)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The calibrated fusion probability from which on a label is positive, inclusive, of each that has one."""
        return self.manifest.thresholds.values

    def calibrate(self, fusion_logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated probabilities by its own coefficients; see `calibrated`."""
        return calibrated(fusion_logits, self.manifest.calibration.coefficients)

    def load_model(self, device: str | torch.device = "cpu") -> AGCNN:
        """Return the model in eval mode and float32, from the very bytes whose hash was checked.

        Raises ModelError when the weights are not the manifest's, not those of such a network, or not finite.
        """
        content = _verified_weights(self.folder, self.manifest)
        try:
            stored = safetensors.torch.load(content)
        except SafetensorError as error:
            raise ModelError(f"{self.folder / WEIGHTS_FILE} is not a safetensors file: {error}") from error
        model = _skeleton(self.manifest)
        _require_same_tensors(self.folder, stored, model.state_dict())
        with one_thread():
            require_finite(str(self.folder / WEIGHTS_FILE), stored)
            weights = {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}
        model.load_state_dict(weights, assign=True)
        return model.to(device).eval()


def calibrated(fusion_logits: NDArray[np.floating], coefficients: Mapping[str, Platt]) -> NDArray[np.float64]:
    """Return calibrated probabilities: fusion logits [..., 15] in LABELS' order -> [..., 15].

    A label without coefficients keeps sigmoid(logit); that of one that is not assessed means nothing. A threshold is
    chosen over these probabilities and decides over them when films are read.
    """
    if fusion_logits.shape[-1] != len(LABELS):
        raise ValueError(f"the last axis must have {len(LABELS)} logits, not the shape {fusion_logits.shape}")
    platt = [coefficients.get(label, UNCALIBRATED) for label in LABELS]
    slopes, offsets = np.array([one.a for one in platt]), np.array([one.b for one in platt])
    return np.asarray(expit(fusion_logits.astype(np.float64) * slopes + offsets))


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle: read its manifest, find its three files, check the hash of its weights.

    Raises ModelError that names what is missing or differs.
    """
    manifest = read_manifest(folder)
    for name in (WEIGHTS_FILE, MODEL_CARD_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a whole bundle: {name} is missing")
    _verified_weights(folder, manifest)
    return Bundle(folder, manifest)


def verify_bundle(folder: Path) -> Bundle:
    """Open a bundle and load it: the hash first, then the weights' keys, shapes and types.

    Raises ModelError that names what differs.
    """
    bundle = open_bundle(folder)
    bundle.load_model()
    return bundle


def write_bundle(
    folder: Path,
    model: AGCNN,
    draft: Draft,
    model_card: str,
    *,
    dtype: WeightsDtype = WeightsDtype.FLOAT16,
) -> Bundle:
    """Write a bundle whole or not at all, and open it.

    Thresholds, calibration and metrics should come from a model with `stored_weights`, since rounding to
    float16 moves the logits a little. Raises ModelError when the folder exists, when the draft describes another
    network than `model`, and when weights are not finite; OSError when the disk is full or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"{folder} exists already: give another name, or remove it first")
    state = stored_weights(model, dtype)
    content = safetensors.torch.save(state, metadata={"format": "pt"})
    manifest = bind(draft, Weights(sha256=hashlib.sha256(content).hexdigest(), dtype=dtype))
    require_consistent(manifest)
    _require_same_tensors(folder, state, _skeleton(manifest).state_dict())

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        _write(fresh / WEIGHTS_FILE, content)
        _write(fresh / MANIFEST_FILE, to_toml(manifest).encode())
        _write(fresh / MODEL_CARD_FILE, model_card.encode())
        fresh.rename(folder)
    return open_bundle(folder)


def stored_weights(model: AGCNN, dtype: WeightsDtype) -> dict[str, Tensor]:
    """Return the model's state dict as a bundle stores it, on the CPU (see `WeightsDtype`).

    Raises ModelError for a weight that is not finite.
    """
    stored = {}
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelError(f"{key} is not finite: the training diverged")
        kept = value.detach().cpu()
        stored[key] = kept.to(_number_format(key, kept, dtype)).contiguous()
    return stored


def _number_format(key: str, value: Tensor, dtype: WeightsDtype) -> torch.dtype:
    """Return how a tensor is stored.

    BatchNorm's statistics are those of activations, which know no scale: a variance is a square, and where pixels lie
    in [-1024, 1024], as torchxrayvision's do, that of the first convolution's outputs is in the hundred thousands.
    float16 ends at 65,504. At most one number in eighty is a statistic, so that float32 costs next to nothing.
    """
    if not value.is_floating_point():
        return value.dtype
    if dtype is WeightsDtype.FLOAT32 or is_statistic(key) or value.abs().max() > torch.finfo(torch.float16).max:
        return torch.float32
    return torch.float16


def _skeleton(manifest: Manifest) -> AGCNN:
    """Return the network that the manifest describes, without memory for its weights."""
    with without_weights():
        return build_agcnn(manifest.backbone, manifest.pooling, manifest.attention)


def _verified_weights(folder: Path, manifest: Manifest) -> bytes:
    """Return the bytes of the weights; raise ModelError unless they are those the manifest vouches for."""
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    expected = manifest.weights.sha256
    if found != expected:
        raise ModelError(
            f"{path} is not the file that its manifest describes: expected SHA-256 {expected[:12]}, found {found[:12]}"
        )
    return content


def _require_same_tensors(folder: Path, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ModelError naming the first tensor that is missing, unknown, or of another shape or kind."""
    where = folder / WEIGHTS_FILE
    if missing := sorted(wanted.keys() - stored.keys()):
        raise ModelError(f"{where} lacks {len(missing)} tensors of this network, {missing[0]} first")
    if unknown := sorted(stored.keys() - wanted.keys()):
        raise ModelError(f"{where} has {len(unknown)} tensors unknown to this network, {unknown[0]} first")
    for key, tensor in wanted.items():
        found = stored[key]
        if found.shape != tensor.shape:
            raise ModelError(f"{where}: {key} has the shape {tuple(found.shape)}, expected {tuple(tensor.shape)}")
        if found.is_floating_point() != tensor.is_floating_point():
            raise ModelError(f"{where}: {key} is stored as {found.dtype}, expected {tensor.dtype}")


def _write(path: Path, content: bytes) -> None:
    """Write and flush to the disk, so that the rename that follows never shows an empty file."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
