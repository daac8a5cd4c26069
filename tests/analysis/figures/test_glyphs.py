"""Text of figures: a dollar is a dollar, and what no font has is written so that it can be read."""

import warnings
from io import BytesIO
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text
from PIL import Image

from analysis.figures import glyphs
from analysis.figures.glyphs import drawable, letters, not_drawn, to_plain_png
from analysis.figures.scores import MOST_PIXELS, Title, to_drawing, to_png

NASTY = ["$\\frac$", "$a_b$", "100 $", "中文", "\x1b[31m", "_x", "é ± ≤"]


def figure_of(names: list[str], height: float = 3) -> Figure:
    figure = Figure(figsize=(5, height), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.plot(range(len(names)), label=names[0])
    panel.set_xticks(range(len(names)), names, rotation=30)
    panel.set(title=names[0], xlabel=names[1], ylabel=names[-1])
    panel.annotate(names[0], (0, 0))
    panel.legend()
    return figure


def drawn(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}


@pytest.fixture
def no_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fonts this machine has."""
    family = glyphs._family
    monkeypatch.setattr(glyphs, "_family", lambda letter: None if letter in "中文" else family(letter))


@pytest.mark.usefixtures("no_chinese")
def test_names_are_no_mathematics_and_have_no_boxes() -> None:
    figure = figure_of(NASTY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a letter that it draws as a box
        content = to_png(figure, Title("$\\frac$ 中", "about $x"))
    Image.open(BytesIO(content)).verify()
    assert {"$\\frac$", "$a_b$", "\\u4e2d\\u6587", "\\x1b[31m", "_x", "é ± ≤"} <= drawn(figure)
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if isinstance(text, Text))


@pytest.mark.usefixtures("no_chinese")
def test_what_no_font_has_is_told_once() -> None:
    assert letters(["a中", "文b", "中"]) == "中文"
    assert letters(["plain", "é ± ≤", "\x1b\n"]) == ""
    assert drawable("中x\n\x07") == "\\u4e2dx\n\\x07"
    assert not_drawn("中文").count("\n") == 0
    assert "\\u4e2d" in not_drawn("中文")


def test_a_font_that_has_a_letter_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its usual font taken away a letter, an installed one serves for it."""
    usual = findfont(FontProperties())
    codes = glyphs._codes
    monkeypatch.setattr(glyphs, "_codes", lambda path: codes(path) - {ord("é")} if path == usual else codes(path))
    monkeypatch.setattr(glyphs, "_family", glyphs._family.__wrapped__)
    family = glyphs._family("é")
    assert family
    figure = figure_of(["é", "b"])
    Image.open(BytesIO(to_plain_png(figure, 80))).verify()
    families = {tuple(text.get_fontfamily()) for text in figure.findobj(Text) if "é" in text.get_text()}
    assert families == {(*mpl.rcParams["font.family"], family)}


def test_a_figure_of_any_height_is_drawn() -> None:
    content = to_png(figure_of(["a", "b"], height=500), Title("t"))
    assert Image.open(BytesIO(content)).size[1] == pytest.approx(MOST_PIXELS, abs=1)


@pytest.mark.usefixtures("no_chinese")
def test_an_svg_is_the_same_again_and_has_any_name_as_outlines() -> None:
    """Outlines need no font where they are read; comments, which matplotlib makes of names, stay comments."""
    names = [*NASTY, "--><script>alert(1)</script>", "a]]>b--", "<text>&amp;"]
    one, two = (to_drawing(figure_of(names), Title("$\\frac$ 中 -->", "about")) for _ in range(2))
    assert one == two
    Image.open(BytesIO(one.png)).verify()
    parsed = ElementTree.fromstring(one.svg)
    kinds = {element.tag.rpartition("}")[2] for element in parsed.iter()}
    assert "path" in kinds
    assert not kinds & {"script", "text", "image", "foreignObject"}
    assert b"<dc:date>" not in one.svg


def test_a_png_beside_an_svg_is_the_png_alone() -> None:
    assert to_drawing(figure_of(["a", "b"]), Title("t")).png == to_png(figure_of(["a", "b"]), Title("t"))
