"""Settings that a person lays over every recipe of an experiment, and what is said of them under its table."""

import tomllib
from collections.abc import Mapping, Sequence

from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Recipe


def parse_settings(texts: Sequence[str]) -> dict[str, object]:
    """Read ``key=value`` as a recipe would: ``phase.epochs=2``, ``network.backbone=densenet121``.

    A value that is not TOML is taken as a word.

    Raises:
        TrainingError: a text has no key or no value.
    """
    settings: dict[str, object] = {}
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        if not key or not value:
            raise TrainingError(f"{text!r} sets nothing: write key=value, as phase.epochs=2.")
        settings[key] = _value(value)
    return settings


def notes_on(settings: Mapping[str, object], recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """A sentence on what was set instead of what the recipes say; none when nothing was."""
    changes = [
        f"{key} {_text(value)} instead of {own}"
        for key, value in settings.items()
        if (own := _instead_of(key, recipes)) != _text(value)
    ]
    return (f"NOT the recipes' settings: {'; '.join(changes)}.",) if changes else ()


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _instead_of(key: str, recipes: Sequence[Recipe]) -> str:
    """What the recipes have there, each value once."""
    first, *rest = key.split(".")
    found: list[str] = []
    for recipe in recipes:
        content = recipe.resolved()
        tables = [phase.model_dump(mode="json") for stage in recipe.stages for phase in stage.phases]
        for table in tables if first == "phase" else [content.get(first)]:
            value: object = table
            for part in rest:
                value = value.get(part) if isinstance(value, Mapping) else None
            if _text(value) not in found:
                found.append(_text(value))
    return " or ".join(found)


def _text(value: object) -> str:
    return "nothing" if value is None else str(value)
