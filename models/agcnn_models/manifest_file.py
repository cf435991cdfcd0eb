"""manifest.toml: written, read and checked, without torch."""

import tomllib
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from agcnn_models.errors import ModelError
from agcnn_models.labels import LABELS
from agcnn_models.manifest import EVERY_LABEL_DECIDED, FORMAT_VERSION, MANIFEST_FILE, Manifest


def to_toml(manifest: Manifest) -> str:
    """Return the manifest as TOML; read_manifest() gives the same manifest back."""
    content = manifest.model_dump(mode="json", exclude_none=True)
    first = {"format_version": content.pop("format_version")}  # what a reader must know before all else
    return tomli_w.dumps(first | content)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.toml, without touching its weights.

    Raises ModelError when it is missing, is no TOML, has an unknown format version, does not say all that
    a manifest says, or contradicts itself.
    """
    path = folder / MANIFEST_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a bundle: {MANIFEST_FILE} is missing") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid TOML: {error}") from error
    found = content.get("format_version")
    if found not in (EVERY_LABEL_DECIDED, FORMAT_VERSION):
        raise ModelError(
            f"{path} has format version {found}, expected {FORMAT_VERSION} or older: use a newer agcnn-clinic"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path} is not a valid manifest: {_differences(error)}") from error
    require_consistent(manifest)
    return manifest


def _differences(error: ValidationError) -> str:
    """Say what is wrong where, for the first three places."""
    found = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return "; ".join(found[:3]) + ("; ..." if len(found) > 3 else "")


def require_consistent(manifest: Manifest) -> None:
    """Raise ModelError where labels, thresholds or calibration are not those of the manifest's weights."""
    if manifest.labels != LABELS:
        pairs = zip([*manifest.labels, None], [*LABELS, None], strict=False)
        position, (found, expected) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        raise ModelError(f"{manifest.name}: the labels differ: number {position + 1} is {found}, expected {expected}")
    expected = manifest.weights.sha256
    for part, found in (
        *(("thresholds", one.weights_sha256) for one in (manifest.thresholds, *manifest.further_thresholds)),
        ("calibration", manifest.calibration.weights_sha256),
    ):
        if found != expected:
            raise ModelError(
                f"{manifest.name}: the {part} belong to other weights: expected {expected[:12]}, found {found[:12]}"
            )
