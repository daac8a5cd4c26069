"""The terminal as an output that text can't take over: names are shown, never obeyed."""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

SPACES = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
"""Characters that would end a line, or jump within it."""

HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
"""Control characters, among them ESC; what turns the direction of writing; halves of characters."""


def visible(text: str) -> str:
    """Text on one line that nothing obeys: line breaks and tabs as spaces, what can't be seen as `\\x1b`."""
    return revealed(SPACES.sub(" ", text))


def revealed(text: str) -> str:
    """The same where line breaks are the writer's own."""
    return HIDDEN.sub(lambda found: found[0] if found[0] == "\n" else _code(found[0]), text)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Terminal(Console):
    """A console on which square brackets are text, and control characters, wherever they come from, are shown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the printed text; rich's own control sequences, which move the cursor, are kept."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(revealed(part.text), part.style)
