"""What the log is told of: a trouble once, and again only when it befalls more or comes back."""

from collections.abc import Mapping


class Told:
    """Remembers what was told at the last look, since what keeps a file where it is does so at every look."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def news(self, troubles: Mapping[str, int]) -> list[tuple[str, int]]:
        """Take in all troubles of a look, each with how many it befalls; returns those that are to be told."""
        news = [(what, count) for what, count in troubles.items() if count > self._known.get(what, 0)]
        self._known = dict(troubles)
        return news
