"""Weights that people already have, as a file of safetensors that `train` begins with.

Each layout is what one public program saves. Whatever it was, the result has torchvision's keys, three input
channels and, for a trained branch, one output for each of our labels; a header says where it came from and what was
changed. It gives the same outputs for the same picture as its source, classifier for classifier.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.special import logit
from torch import Tensor

from agcnn_models.backbones import (
    build_branch,
    classifier_name,
    published_by_torchvision,
    without_classifier,
    without_weights,
)
from agcnn_models.errors import ModelError
from agcnn_models.foreign import SAFETENSORS, is_counter, read_tensors, require_finite, require_fit
from agcnn_models.labels import LABELS, NO_FINDING
from agcnn_models.layouts import (
    CONV0,
    OPERATING_POINTS,
    Layout,
    backbone_of,
    meanings,
    recognised,
    spread,
    under_torchvisions_keys,
)
from agcnn_models.settings import Backbone, Pooling

HEADER: Final = "agcnn_import"
"""The one entry of the file's metadata: `Provenance` as JSON. One, since safetensors writes several in any order."""

_NIH_NO_FINDING: Final = 60_361 / 112_120
"""The share of ChestX-ray14's films that its Data_Entry_2017 calls No Finding."""

_IMAGENET_CLASSES: Final = 1000


class Role(StrEnum):
    """What the weights are wanted for."""

    INIT = "init"
    """Where both branches begin; the classifier is left out."""
    GLOBAL = "global"
    """A trained global branch, classifier included."""


@dataclass(frozen=True)
class Provenance:
    """Where a file of imported weights came from.

    Attributes:
        source: the name of the file it was made from.
        source_sha256: its SHA-256.
        layout: which program had saved it.
        role: what it may be used for.
        backbone: the network.
        pooling: Pool5 of the network that was trained; all of these programs average.
        labels: the outputs in order; none where the classifier was left out.
        lacking: those of `labels` for which the source had no output, so that theirs is constant.
        changes: what was changed, a sentence each.
    """

    source: str
    source_sha256: str
    layout: Layout
    role: Role
    backbone: Backbone
    pooling: Pooling
    labels: tuple[str, ...]
    lacking: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """Weights under torchvision's keys, float32, and where they came from."""

    weights: Mapping[str, Tensor]
    provenance: Provenance

    def content(self) -> bytes:
        """The file of safetensors; the same source gives the same bytes."""
        return save(dict(self.weights), metadata={HEADER: json.dumps(asdict(self.provenance))})


def import_weights(
    path: Path, role: Role = Role.INIT, layout: Layout | None = None, outputs: Sequence[str] = ()
) -> Imported:
    """Read weights of any layout and give them the form that this project has.

    Args:
        path: what torch.save wrote, or .safetensors.
        role: what they are for.
        layout: which program saved them; None finds it out, but not that a classifier is CheXNet's.
        outputs: what the source's outputs mean, in their order, where its layout does not say so; names that are none
            of LABELS stand for outputs that are left out.

    Raises:
        ModelError: the file cannot be read, is of another network, has keys or shapes that are not accounted for, or
            its outputs mean nothing here.
    """
    source = read_tensors(path)
    told, layout = layout is not None, layout or recognised(source)
    weights = under_torchvisions_keys(path, source, layout)
    operating_points = weights.pop(OPERATING_POINTS, None) if layout is Layout.TORCHXRAYVISION else None
    backbone = backbone_of(path, weights)
    classifier = classifier_name(backbone)
    if layout is Layout.TORCHXRAYVISION:
        weights[CONV0] = spread(path, weights.get(CONV0))

    names: tuple[str, ...] = ()
    if role is Role.GLOBAL:
        rows = _rows(path, weights.get(f"{classifier}.bias"))
        names = meanings(path, layout, outputs, operating_points, rows, told=told)
    with without_weights():
        branch = build_branch(backbone, classes=len(names) or 1)
    expected = branch.state_dict()
    if role is Role.INIT:
        weights, expected = without_classifier(weights, branch), without_classifier(expected, branch)
    require_fit(str(path), weights, expected)

    require_finite(str(path), weights)
    stored = {key: _stored(weights.get(key), like) for key, like in expected.items()}
    lacking: tuple[str, ...] = ()
    taken_for = layout if names and not outputs else None
    if role is Role.GLOBAL:
        lacking = tuple(label for label in LABELS if label not in names)
        stored |= _our_classifier(stored, classifier, names, taken_for)
    provenance = Provenance(
        source=path.name,
        source_sha256=_sha256(path),
        layout=layout,
        role=role,
        backbone=backbone,
        pooling=Pooling.AVG,
        labels=LABELS if role is Role.GLOBAL else (),
        lacking=lacking,
        changes=tuple(_changes(source, stored, layout, names, taken_for)),
    )
    return Imported(stored, provenance)


def read_provenance(path: Path) -> Provenance | None:
    """Return where a file of imported weights came from; None for a file that `import_weights` did not make.

    Raises:
        ModelError: it is a .safetensors file that cannot be read, or its header is not ours.
    """
    if path.suffix != SAFETENSORS:
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
        return None if header is None else TypeAdapter(Provenance).validate_json(header)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error
    except ValidationError as error:
        raise ModelError(f"{path} says in a header that this version cannot read where it came from") from error


def learnt_from_imagenet(path: Path) -> bool:
    """Return whether a file of initial weights learnt from ImageNet, as far as the file itself tells.

    So do torchvision's published files, what `import_weights` made of them, and any other network that tells
    ImageNet's thousand classes apart. False where it cannot be told, and for a file that cannot be read: what loads it
    will say that.
    """
    try:
        provenance = read_provenance(path)
        if provenance is not None:
            return published_by_torchvision(provenance.source_sha256)
        weights = read_tensors(path)
    except ModelError:
        return False
    classifiers = (weights.get(f"{classifier_name(backbone)}.bias") for backbone in Backbone)
    return any(bias is not None and bias.shape == (_IMAGENET_CLASSES,) for bias in classifiers)


def _rows(path: Path, bias: Tensor | None) -> int:
    if bias is None or bias.ndim != 1:
        raise ModelError(f"{path} has no classifier, which a trained branch needs: import it as initial weights")
    return len(bias)


def _our_classifier(
    weights: Mapping[str, Tensor], classifier: str, names: Sequence[str], taken_for: Layout | None
) -> dict[str, Tensor]:
    """Return the classifier with a row for each of LABELS; a label that the source lacks gets a constant logit.

    `taken_for` is the program whose outputs these are, None where a person named them.
    """
    rows = torch.tensor([names.index(label) if label in names else -1 for label in LABELS])
    # ChestX-ray14 says how often it is; of other data nothing is known, and a half claims nothing.
    of_nih = taken_for is Layout.CHEXNET
    constant = [float(logit(_NIH_NO_FINDING if of_nih and label == NO_FINDING else 0.5)) for label in LABELS]
    weight, bias = weights[f"{classifier}.weight"], weights[f"{classifier}.bias"]
    absent = rows < 0
    return {
        f"{classifier}.weight": weight[rows].masked_fill(absent[:, None], 0.0),
        f"{classifier}.bias": torch.where(absent, torch.tensor(constant, dtype=bias.dtype), bias[rows]),
    }


def _stored(value: Tensor | None, like: Tensor) -> Tensor:
    """Return a tensor as the file holds it: float32, on the CPU; a counter that the source lacks begins at 0."""
    if value is None:
        return torch.zeros(like.shape, dtype=like.dtype)
    return value.to(like.dtype).contiguous().clone()


def _changes(
    source: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    layout: Layout,
    names: Sequence[str],
    taken_for: Layout | None,
) -> Iterator[str]:
    """Tell what was done, a sentence each."""
    if unnamed := source.keys() - stored.keys():
        yield f"{len(unnamed)} keys were renamed to torchvision's or left out."
    if layout is Layout.TORCHXRAYVISION:
        yield "The first convolution, of one channel in [-1024, 1024], was spread over three, exactly."
        yield "Operating points were left out."
    if any(value.is_floating_point() and value.dtype is not torch.float32 for value in source.values()):
        yield "Numbers were rounded to float32."
    if not any(is_counter(key) for key in source):
        yield "BatchNorm's counters of batches, which the file lacks, begin at 0."
    if not names:
        yield "The classifier was left out."
        return
    if taken_for is not None:
        yield f"Its outputs were taken for {taken_for}'s, in this order: {', '.join(name or 'none' for name in names)}."
    if dropped := [name for name in names if name and name not in LABELS]:
        yield f"Outputs that are not ours were left out: {', '.join(dropped)}."
    yield f"The classifier's rows were put into our order: {', '.join(label for label in LABELS if label in names)}."


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
