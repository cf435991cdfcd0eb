"""What a run is: its settings, its data, and the software that it began with."""

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Recipe

RUN_FILE: Final = "run.json"

_FREE: Final = ("graphs", "evaluation_batch", "checkpoint_minutes")
"""Of ``compute``: what may change while a run is stopped, since it decides how fast and in how much memory it goes."""

_FOR_PEOPLE: Final = ("description", "card", "paper")
"""What a recipe only says: no weight and no figure of a run depends on it."""

_PACKAGES: Final = ("agcnn-clinic", "torch", "torchvision", "numpy", "pillow")


def identify(recipe: Recipe, data_sha256: str) -> dict[str, Any]:
    """The content of run.json; nothing in it depends on the machine or the day.

    Args:
        recipe: with every setting, those that its file left out too.
        data_sha256: of the films, the label tables and the weights that it is given, each under what it is given for.
    """
    return {
        "recipe": recipe.resolved(),
        "data_sha256": data_sha256,
        "software": software(),
        "git": git_revision(),
    }


def read_identity(run: Path) -> dict[str, Any]:
    """What ``identify`` said of the run in a folder; nothing where the folder does not say it.

    Settings that have come since the run began are given as what they are by default: as it was before there were any.

    Raises:
        TrainingError: its run.json cannot be read.
    """
    file = run / RUN_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} cannot be read ({error}): take {run} away to start anew.") from error
    if not isinstance(content, dict):
        return {}
    try:
        return content | {"recipe": Recipe.model_validate(content.get("recipe")).resolved()}
    except ValidationError:
        return content  # a recipe of another time: its first difference is named


def what_differs(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What a run was asked that it is not asked now, as "another recipe (...)"; None when it is the same.

    Another version of the software makes no other run of it, nor does what ``_FREE`` and ``_FOR_PEOPLE`` list.
    """
    if changed := first_difference(_bound(before.get("recipe")), _bound(now["recipe"]), "recipe"):
        return f"another recipe ({changed})"
    if before.get("data_sha256") != now["data_sha256"]:
        return "other films, another label table or other initial weights (--init, --init-global)"
    return None


def software() -> dict[str, str]:
    """The versions that can change a result."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def git_revision() -> dict[str, str | bool] | None:
    """The commit that this code was checked out from, and whether it was changed since; None when it was installed."""
    file, git = Path(__file__).resolve(), shutil.which("git")
    if git is None:
        return None

    def answer(*arguments: str) -> str:
        command = [git, "-C", str(file.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()  # noqa: S603 - git, with no argument from outside

    try:
        answer("ls-files", "--error-unmatch", file.name)  # another project's work tree may lie around an installation
        changed = answer("status", "--porcelain", "--untracked-files=no", "--", ":/")
        return {"revision": answer("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def first_difference(before: object, now: object, key: str = "") -> str | None:
    """The first setting that is not what it was, as "recipe.seed was 1 and is 2 now"; None when all are."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = [(f"{key}.{name}" if key else name, before.get(name), now.get(name)) for name in [*before, *now]]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{key}[{index}]", *pair) for index, pair in enumerate(zip(before, now, strict=True))]
    elif before == now:
        return None
    else:
        return f"{key} was {_brief(before)} and is {_brief(now)} now"
    return next((found for name, one, other in pairs if (found := first_difference(one, other, name))), None)


def _bound(recipe: object) -> object:
    """A recipe without what may change while a run is stopped."""
    if not isinstance(recipe, Mapping):
        return recipe
    bound = {key: value for key, value in recipe.items() if key not in _FOR_PEOPLE}
    if isinstance(compute := recipe.get("compute"), Mapping):
        bound["compute"] = {key: value for key, value in compute.items() if key not in _FREE}
    return bound


def _brief(value: object) -> str:
    """A value as JSON, unless it is a whole table."""
    return f"{len(value)} entries" if isinstance(value, Mapping | list) else json.dumps(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
