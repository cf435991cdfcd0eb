"""Where model bundles lie: the ones that ship with the program, and folders of a clinic's own. Imports no torch."""

from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.errors import ModelUnavailableError

_PACKAGE = Path(__file__).resolve().parent


def shipped_bundles() -> Path:
    """The folder of the bundles that ship: inside the installed package, or models/bundles/ of the repository."""
    installed = _PACKAGE / "shipped_bundles"
    return installed if installed.is_dir() else _PACKAGE.parent / "models" / "bundles"


def bundle_folder(model: str, root: Path) -> Path:
    """The folder of a bundle that `analysis.model` or a command names.

    Args:
        model: the name of a bundle that ships, or the path of one.
        root: the folder that a relative path starts at.

    Raises:
        ModelUnavailableError: there is no such bundle.
    """
    shipped = shipped_bundles() / model
    if "/" not in model and (shipped / "manifest.toml").is_file():
        return shipped
    own = root / Path(model).expanduser()
    if (own / "manifest.toml").is_file():
        return own
    known = ", ".join(folder.name for folder in known_bundles()) or "none"
    raise ModelUnavailableError(
        f"There is no model {model!r}: give the folder of a bundle, or the name of one that ships ({known})."
    )


def known_bundles() -> list[Path]:
    """The folders of the bundles that ship, by name."""
    return sorted(path.parent for path in shipped_bundles().glob("*/manifest.toml"))


def configured_bundle(config: Config) -> Path:
    """The folder of the bundle that the clinic reads with.

    Raises:
        ModelUnavailableError: there is no such bundle.
    """
    return bundle_folder(config.analysis.model, config.root)
