"""Names and sentences as plain text in each format that we write: whatever is in them is shown and never obeyed."""

import html
import re

from metaseg.terminal import visible

TEX = {character: "\\" + character for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "[": "{[}",  # after a line's end it would be taken for an option, and so would a star
    "*": "{*}",
}

FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Text that spreadsheets calculate, and what is already quoted."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def to_html(text: str) -> str:
    """Text as HTML shows it, also within an attribute's quotes."""
    return html.escape(visible(text))


def to_markdown(text: str) -> str:
    """Text as Markdown shows it, within a line or a table's cell."""
    return re.sub(r"[\\|*<>`\[\]$~#]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])", r"\\\g<0>", visible(text).strip())


def to_markdown_paragraph(text: str) -> str:
    """Text as Markdown shows it, also where its beginning looks like that of a heading, a list or a rule."""
    return re.sub(r"^(\d*)([-+=.)])(?=[-=\s]|$)", r"\1\\\2", to_markdown(text))


def to_latex(text: str) -> str:
    """Text as LaTeX sets it."""
    set_plainly = "".join(TEX.get(character, character) for character in visible(text))
    return re.sub(r"([-',])(?=\1)", r"\1{}", set_plainly)  # two would be joined to another sign


def to_csv_text(text: str) -> str:
    """Text that a spreadsheet doesn't take for a formula: with a ' in front where it would. Numbers stay."""
    return "'" + text if FORMULA.match(text) and not NUMBER.fullmatch(text) else text
