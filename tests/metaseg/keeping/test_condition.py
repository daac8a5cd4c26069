"""Conditions hold for the rows that Python's own evaluation picks, and nothing else is understood."""

import itertools
import re

import pytest

from metaseg.config import ConfigError
from metaseg.keeping.condition import LONGEST, Kind, parse_condition

COLUMNS: dict[str, Kind] = {"arm": "text", "seed": "number", "studies": "texts", "f1": "number"}

ROWS = [
    {"arm": arm, "seed": seed, "studies": studies, "f1": f1}
    for arm, seed, studies, f1 in itertools.product(("sme", "se", "it's"), (0, 1, 3), ((), ("wbc", "b")), (0.5, 0.91))
]

MEANT = [
    "arm == 'sme'",
    "arm != 'sme' and seed < 3",
    'arm == "it\'s" or not (seed >= 1)',
    "0 < seed <= 3",
    "arm in ('se', 'sme') and 'wbc' in studies",
    "'wbc' not in studies",
    "seed not in [0, 3]",
    "'s' in arm and f1 > 0.9",
    "seed == -1 or f1 != .5",
    "not not seed == 1",
    "arm < 'sf'",
    "3 > seed",
]


@pytest.mark.parametrize("text", MEANT)
def test_a_condition_holds_where_python_says_so(text: str) -> None:
    condition, used = parse_condition(text, COLUMNS)
    expected = [row for row in ROWS if eval(text, {}, dict(row))]
    assert [row for row in ROWS if condition(row)] == expected
    assert len(expected) > 0 or "-1" in text
    assert used == {name for name in COLUMNS if re.search(rf"\b{name}\b", text)}


REFUSED = [
    "__import__('os').system('true')",
    "seed.__class__ == 1",
    "[row for row in (1,)] == 1",
    "(lambda: 1)() == 1",
    "arm == f'{seed}'",
    "seed + 1 == 2",
    "'a' * 10 ** 9 == arm",
    "arm[0] == 's'",
    "(seed := 3) == 3",
    "seed if arm else seed",
    "arm == True",
    "arm == b'sme'",
    "seed is 1",
    "seed",
    "'sme'",
    "",
    "arm == 'sme' and",
    "arm = 'sme'",
    "seed < '3'",
    "arm == 3",
    "studies == 'wbc'",
    "arm in seed",
    "seed == 1; 1 == 1",
    "seed == ~1",
    "arm == 'a\0b'" + "\0",
    "(" * 300 + "1" + ")" * 300,
    "seed == " + "-" * 1900 + "1",
    "(" * 150 + "seed == 1",
]


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="where"):
        parse_condition(text, COLUMNS)[0](ROWS[0])


def test_an_unknown_column_lists_the_known_ones_and_text_without_quotes_is_told_so():
    with pytest.raises(ConfigError, match=r"unknown column 'sme'; known: arm, seed, studies, f1 .*quotes"):
        parse_condition("arm == sme", COLUMNS)


def test_nothing_is_smaller_or_larger_than_what_is_missing():
    row = dict.fromkeys(COLUMNS)
    for text, holds in [("f1 > 0", False), ("f1 < 9", False), ("not f1 < 9", True), ("f1 == None", True),
                        ("f1 != None", False), ("f1 == 0", False), ("'a' in arm", False)]:  # fmt: skip
        assert parse_condition(text, COLUMNS)[0](row) is holds, text


def test_a_condition_has_a_length_limit():
    with pytest.raises(ConfigError, match="characters"):
        parse_condition(" or ".join(["seed == 1"] * LONGEST), COLUMNS)
