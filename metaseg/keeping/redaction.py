"""Text and records without paths and names of machines, for others to read."""

import re
import shlex
import tomllib
from typing import Any

LEFT_OUT = "..."
"""Stands for a folder's path."""

BEGINNING = r"(?:~[\w.-]*[/\\]|\.\.[/\\]|/|\\\\|[A-Za-z]:[/\\]|(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://)"
"""Beginnings of paths that lead through someone's folders, and of addresses other than pages of the web."""

WHOLE = re.compile(rf"(?:{BEGINNING}|~$).*", re.DOTALL)
WITHIN = re.compile(rf"(?<![\w.~/\\:])({BEGINNING})[^\s'\"<>|;,)]+")

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
    return WITHIN.sub(lambda found: _shortened(found[0]), text)


def _shortened(path: str) -> str:
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return f"{LEFT_OUT}/{last}" if FILE.fullmatch(last) else LEFT_OUT


def command_without_paths(command: str) -> str:
    """A command line with `without_paths` of each word, so that paths with spaces are found, too."""
    try:
        words = shlex.split(command)
    except ValueError:  # quotes that don't close
        return without_paths(command)
    return shlex.join(map(without_paths, words)).replace(f"'{LEFT_OUT}'", LEFT_OUT)


def options_without_paths(toml: str) -> str:
    """Options in TOML with `without_paths` of each text; empty if it isn't TOML."""
    found = QUOTED.sub(lambda text: f'"{without_paths(text[1])}"', toml)
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
