"""The board: an actor that slots tell what happens. Its process imports neither torch nor pandas."""

import gc

from metaseg.training.history import Epoch

News = Epoch | str | None
"""News of a run: an epoch that it has finished, a warning, or None when its workers have begun."""


class Board:
    """An actor that holds the runs' news since the last look."""

    def __init__(self) -> None:
        self._news: list[tuple[str, News]] = []
        gc.freeze()  # see `metaseg.engine.session`

    def post(self, run: str, news: News) -> None:
        """Add news of a run."""
        self._news.append((run, news))

    def take(self) -> list[tuple[str, News]]:
        """Remove and return all news, oldest first, each with its run id."""
        news, self._news = self._news, []
        return news
