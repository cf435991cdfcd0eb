"""The one failure of this package that a person has to act on."""


class ModelError(Exception):
    """A model, its weights or its bundle cannot be used; the message is one sentence that says why."""
