"""From a recipe's name or file to a recipe."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agcnn_training.errors import TrainingError
from agcnn_training.recipe.recipe import Recipe, merged

_SOURCE_RECIPES: Final = Path(__file__).resolve().parents[2] / "recipes"

_ITS_OWN: Final = ("name", "version", "description", "paper")
"""What a recipe does not inherit: it says what this one recipe is."""


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with the project."""
    return tuple(sorted(_shipped()))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe that comes with the project, by name, or any TOML file, by path, with all that it extends.

    Raises:
        TrainingError: there is no such recipe, or a key of it is unknown, missing or out of range.
    """
    path = _find(name_or_path, Path())
    return _validated(_content(path, ()), f"the recipe {path.name}")


def changed(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """The recipe with other values, by dotted key: ``{"phase.epochs": 2, "network.attention.tau": 0.5}``.

    A key that begins with ``phase.`` reaches every phase of every stage.

    Raises:
        TrainingError: a key is unknown, or a value does not fit it.
    """
    content = recipe.resolved()
    stages = [stage.model_dump(mode="json") for stage in recipe.stages]
    for key, value in settings.items():
        first, *rest = key.split(".")
        if first in ("stages", *_ITS_OWN):
            raise TrainingError(f"{key} cannot be set alone: write a recipe with extends = {recipe.name!r}.")
        table = _nested(rest, value)
        if first == "phase" and isinstance(table, Mapping):
            stages = [stage | {"phases": [merged(phase, table) for phase in stage["phases"]]} for stage in stages]
        content = merged(content, {first: table})
    return _validated(content | {"stages": stages}, f"what was set beside the recipe {recipe.name}")


def _content(path: Path, below: tuple[Path, ...]) -> dict[str, object]:
    """A recipe file's tables over those of the recipe that it extends; ``below`` are the files that extend it."""
    if path in below:
        raise TrainingError(f"The recipe {path.name} extends itself, by way of {below[-1].name}: take one extends out.")
    try:
        own: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"The recipe {path.name} is not valid TOML: {error}.") from error
    except OSError as error:
        raise TrainingError(f"The recipe {path} cannot be read ({error.strerror}): give its right path.") from error
    base = own.pop("extends", None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise TrainingError(f"Correct the recipe {path.name}: extends is the name or the path of one other recipe.")
    inherited = _content(_find(base, path.parent), (*below, path))
    return merged({key: value for key, value in inherited.items() if key not in _ITS_OWN}, own)


def _find(name_or_path: str, folder: Path) -> Path:
    """The file of a recipe; a path that is relative begins in ``folder``."""
    shipped = _shipped()
    path = shipped.get(name_or_path, folder / name_or_path)
    if not path.is_file():
        raise TrainingError(
            f"There is no recipe {name_or_path!r}: give the path of a TOML file or one of {', '.join(sorted(shipped))}."
        )
    return path.resolve()


def _shipped() -> dict[str, Path]:
    """The recipe files by name: inside the installed package, or beside it in the source tree."""
    installed = Path(str(resources.files("agcnn_training"))) / "recipes"
    return {path.stem: path for path in (installed if installed.is_dir() else _SOURCE_RECIPES).glob("*.toml")}


def _validated(content: Mapping[str, object], what: str) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise TrainingError(f"Correct {what}: {_differences(error)}.") from error


def _differences(error: ValidationError) -> str:
    """Say what is wrong where, each thing once."""
    found = [(tuple(map(str, item["loc"])), _said(item)) for item in error.errors()]
    # What is wrong in [phase] is wrong again in each phase that it is merged into: stages.0.phases.0.<key>.
    common = {place[1:] for place, _ in found if place[:1] == ("phase",)}
    own = [(place, said) for place, said in found if place[:1] != ("stages",) or place[4:] not in common]
    # A list that lost a bad item is also said to be too short.
    places = {place for place, _ in found}
    least = [
        (place, said) for place, said in own if not any(place == longer[: len(place)] for longer in places - {place})
    ]
    return "; ".join(f"{'.'.join(place) or 'recipe'}: {said}" for place, said in least)


def _said(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such setting"
    return item["msg"].removeprefix("Value error, ")


def _nested(keys: list[str], value: object) -> object:
    """The value inside tables of these names, the outermost first."""
    for key in reversed(keys):
        value = {key: value}
    return value
