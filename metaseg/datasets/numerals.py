"""Text that may be meant as numbers, and numbers that may be meant as text: reported before either is used wrongly."""

import re
import warnings
from collections.abc import Iterable

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from metaseg.data.manifest import ManifestError

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMERAL = re.compile(
    r"([<>~\u2248\u2264\u2265]\s*=?\s*)?[+\-\u2212]?\s*"  # below, about, at most ...; a sign
    r"[\d.,'\u2019 ]*\d[\d.,'\u2019 ]*([eE][+-]?\d+)?\s*[%\u2030]?"  # digits, separated in whatever way
)
_LEADING_ZERO = re.compile(r"\s*0\d+\s*")

_SHOWN = 3


def leading_zero(name: str, written: Iterable[tuple[str, int]]) -> list[str]:
    """Report the first whole number that begins with 0, if there is one: read as a number, it would lose the 0.

    Args:
        name: name of their column, which has no declared kind.
        written: each value as written in the file, and its line.
    """
    for value, line in written:
        if _LEADING_ZERO.fullmatch(value):
            return [
                f"line {line}: {name!r} is {value.strip()!r}, which as a number loses its 0; give {name}:categorical "
                f"if it is a name, or {name}:continuous if it is a number"
            ]
    return []


def check_numerals(name: str, values: pd.Series, source: str) -> None:
    """Check that a text column without a declared kind doesn't hold numbers; warn if some of its values are numbers.

    Raises:
        ManifestError: all values are numbers in a notation that isn't read as numbers: `0,5`, `1,000`, `12%`, `<5`.
    """
    if is_numeric_dtype(values) or is_bool_dtype(values):
        return
    found = [value for value in dict.fromkeys(values.dropna()) if isinstance(value, str)]
    numerals = [value for value in found if _NUMERAL.fullmatch(value)]
    odd = [value for value in numerals if not _PLAIN.fullmatch(value)]
    if odd and len(numerals) == len(found):
        raise ManifestError(
            f"{source}: {name!r} is {_shown(odd)}; expected numbers with a decimal point and nothing else (0.5, 1000), "
            f"or {name}:categorical if each is the name of a category"
        )
    if odd or (numerals and (len(numerals) < len(found) or any("." in value for value in numerals))):
        others = [value for value in found if value not in set(numerals)]
        beside = f" beside {_shown(others)}" if others else ""
        warnings.warn(
            f"{source}: {name!r} is read as categorical, but {_shown(numerals)}{beside} look like numbers; "
            f"correct them, or give {name}:categorical",
            stacklevel=4,
        )


def _shown(values: list[str]) -> str:
    return ", ".join(map(repr, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
