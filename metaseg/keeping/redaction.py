"""Text and records without paths and names of machines, for others to read."""

import re
import shlex
import tomllib
from typing import Any

LEFT_OUT = "..."
"""Stands for a folder's path."""

BEGINNING = r"(?:~[\w.-]*[/\\]|\.\.[/\\]|/|\\\\|[A-Za-z]:[/\\]|(?!(?i:https?):)[A-Za-z][A-Za-z0-9+.-]*://)"
"""Beginnings of paths that lead through someone's folders, and of addresses other than pages of the web."""

WHOLE = re.compile(rf"(?:{BEGINNING}|~$).*", re.DOTALL)
BEFORE = r"(?<![\w.~/\\])(?<!(?i:http):)(?<!(?i:https):)"
"""No part of a path, nor the scheme of a page's address; another colon may be between a machine and a folder of it."""

SIGN = r"[^\s'\"<>|;,)]"
WORD = rf"(?!{BEGINNING})[^\s'\"<>|;,)/\\:]+"

IN_SENTENCE = re.compile(rf"({BEFORE}{BEGINNING}{SIGN}+)((?:(?: {WORD})?? {WORD}[/\\]{SIGN}*)*)")
"""A path up to a space, and what may be its rest: words with slashes, before each of which one may have none."""

IN_WORD = re.compile(rf"{BEFORE}{BEGINNING}[^\n'\"<>|;,)]+")
"""A path in a word of a command or in an option, where spaces are part of it."""

FILE = re.compile(
    r"[^/\\]+\.(?:csv|tsv|parquet|toml|ya?ml|json|py|ipynb|md|txt|safetensors|pth?|onnx|zip|tiff?|png)(?::\w+)?"
)
"""Names of files, which are kept; folders' names aren't, since one of them may be a person's."""

QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"')

HOST = "host"
"""Key of a configuration that names a machine."""


def without_paths(text: str) -> str:
    """Text in which paths are `.../NAME` where they end in a file's name, else `...`.

    >>> without_paths("--manifest=/home/jane/wbc/tasks.csv in /data/jane")
    '--manifest=.../tasks.csv in ...'
    """
    if WHOLE.fullmatch(text):
        return _shortened(text)
    return IN_SENTENCE.sub(_of_sentence, text)


def _of_sentence(found: re.Match[str]) -> str:
    path, rest = found[1], found[2]
    if FILE.fullmatch(_last(path)):  # it is whole
        return _shortened(path) + IN_SENTENCE.sub(_of_sentence, rest)
    return _shortened(path + rest)


def _word_without_paths(word: str) -> str:
    if WHOLE.fullmatch(word):
        return _shortened(word)
    return IN_WORD.sub(lambda found: _shortened(found[0]), word)


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _shortened(path: str) -> str:
    last = _last(path)
    return f"{LEFT_OUT}/{last}" if FILE.fullmatch(last) else LEFT_OUT


def command_without_paths(command: str) -> str:
    """A command line without paths in its words, which may have spaces."""
    try:
        words = shlex.split(command)
    except ValueError:  # quotes that don't close
        return without_paths(command)
    return shlex.join(map(_word_without_paths, words)).replace(f"'{LEFT_OUT}'", LEFT_OUT)


def options_without_paths(toml: str) -> str:
    """Options in TOML without paths in their texts; empty if it isn't TOML."""
    found = QUOTED.sub(lambda text: f'"{_word_without_paths(text[1])}"', toml)
    try:
        tomllib.loads(found)
    except (tomllib.TOMLDecodeError, RecursionError):
        return ""
    return found


def record_without_paths(value: Any) -> Any:
    """A record with `without_paths` of its texts, and without the names of machines; keys stay."""
    if isinstance(value, dict):
        return {key: record_without_paths(inner) for key, inner in value.items() if key != HOST}
    if isinstance(value, list):
        return [record_without_paths(inner) for inner in value]
    return without_paths(value) if isinstance(value, str) else value
