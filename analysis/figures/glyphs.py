"""Letters of figures: drawn as plain text, in fonts that have them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from metaseg.terminal import revealed

SYMBOLS = "Last Resort", "STIXSize", "STIXNonUnicode", "cm"
"""How families begin whose letters aren't what they say, or are boxes."""


@dataclass(frozen=True)
class Drawing:
    """A figure as files: pixels for a page, and outlines, text included, for a paper."""

    png: bytes
    svg: bytes


def letters(texts: Iterable[str]) -> str:
    """All letters in `texts`, each once, that figures can't show, since no installed font has them."""
    wanted = sorted(set("".join(map(revealed, texts))) - {"\n"})
    return "".join(letter for letter in wanted if _family(letter) is None)


def not_drawn(unseen: str) -> str:
    """What to say of `letters`."""
    return (
        f"note: no font here has {unseen[:20]}, which figures write as {drawable(unseen[:1])} and so on: install one, "
        "e.g. Noto Sans CJK (Debian: fonts-noto-cjk), and report again"
    )


def drawable(text: str) -> str:
    """Text with what no installed font has written as `\\u4e2d`; line breaks stay."""
    return re.sub(r"[^\n -~]", _drawable, revealed(text))


def to_plain_png(figure: Figure, dpi: float) -> bytes:
    """A finished figure as a PNG, all of whose text is plain."""
    with _plain_text(figure):
        return _saved(figure, format="png", dpi=dpi)


def to_plain_drawing(figure: Figure, dpi: float) -> Drawing:
    """A finished figure in both forms, all of whose text is plain; it is laid out once. Same figure, same bytes."""
    with _plain_text(figure), mpl.rc_context({"svg.hashsalt": "metaseg", "svg.fonttype": "path"}):
        png = _saved(figure, format="png", dpi=dpi)
        figure.set_layout_engine("none")
        return Drawing(png, _saved(figure, format="svg", dpi=dpi, metadata={"Date": None, "Creator": None}))


def _saved(figure: Figure, **how: Any) -> bytes:
    content = BytesIO()
    figure.savefig(content, **how)
    return content.getvalue()


@contextmanager
def _plain_text(figure: Figure) -> Iterator[None]:
    """Makes all text of a figure plain, and whatever of it is made when it is drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter | FuncFormatter):
                axis.set_major_formatter(_plainly(formatter))
    families: dict[str, None] = {}
    texts = list(_texts(figure))
    for text in texts:
        shown = drawable(text.get_text())
        text.set_text(shown)
        text.set_parse_math(False)
        families |= dict.fromkeys(name for letter in sorted(set(shown)) if (name := _family(letter)))
    several = [*mpl.rcParams["font.family"], *families]
    for text in texts if families else ():
        text.set_fontfamily(several)
    with mpl.rc_context({"text.parse_math": False, "font.family": several}):  # of ticks' labels that are made only now
        yield


def _texts(artist: Artist) -> Iterator[Text]:
    """All within; of an axis the ticks that there are, without making those that it will have when it is laid out."""
    if isinstance(artist, Text):
        yield artist
    elif isinstance(artist, Axis):
        yield from (artist.label, artist.offsetText)
        yield from (text for tick in artist.majorTicks for text in (tick.label1, tick.label2))
    else:
        for child in artist.get_children():
            yield from _texts(child)


def _plainly(formatter: Formatter) -> FuncFormatter:
    return FuncFormatter(lambda value, position: drawable(formatter(value, position)))


def _drawable(found: "re.Match[str]") -> str:
    return found[0] if _family(found[0]) is not None else found[0].encode("unicode_escape").decode()


@cache
def _family(letter: str) -> str | None:
    """The family of a font that has the letter: empty for the usual one, None where none has it."""
    code = ord(letter)
    if letter in "\n" or code in _codes(findfont(FontProperties())):
        return ""
    # In the order of their names, so that a figure is the same on the same machine.
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        if entry.style == "normal" and not entry.name.startswith(SYMBOLS) and code in _codes(entry.fname):
            return str(entry.name)
    return None


@cache
def _codes(path: str) -> frozenset[int]:
    """Of a font's letters; none where its file is damaged, or gone since matplotlib made its list, or of bitmaps."""
    try:
        font = get_font(path)
        return frozenset(font.get_charmap() if font.scalable else ())
    except (OSError, RuntimeError):
        return frozenset()
