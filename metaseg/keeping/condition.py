"""Conditions on rows, such as `arm == 'sme' and seed < 3`: parsed and checked, never evaluated as Python."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from metaseg.config import ConfigError

Kind = Literal["text", "number", "texts"]
"""Kind of a column: text, numbers, or several texts."""

Value = str | float | tuple[str, ...] | None
Row = Mapping[str, Value]
Condition = Callable[[Row], bool]

LONGEST = 2000
"""Characters of a condition; nobody types more, and a deeply nested one would exhaust the parser."""

ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip

EXAMPLE = "arm == 'sme' and seed < 3"


def parse_condition(text: str, columns: Mapping[str, Kind]) -> tuple[Condition, frozenset[str]]:
    """A condition from text, and the columns that it asks for.

    Comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`) of columns, numbers, texts in quotes, None and lists
    of them; joined by `and`, `or`, `not` and parentheses. Nothing else is understood, and nothing is executed. A
    comparison of size with a missing value doesn't hold.

    Args:
        text: what the user typed.
        columns: kinds of the columns by name.

    Raises:
        ConfigError: it is something else, names an unknown column, or compares a number with a text.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"where has {len(text)} characters; expected at most {LONGEST}, such as {EXAMPLE}")
    used: set[str] = set()
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _Parser(text, columns, used).condition(tree), frozenset(used)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).partition("(")[0].strip()
        raise ConfigError(f"where is {text!r:.200}, which can't be read ({reason}); expected {EXAMPLE}") from None


class _Parser:
    """Turns nodes of Python's grammar into functions; refuses all that aren't listed here."""

    def __init__(self, text: str, columns: Mapping[str, Kind], used: set[str]) -> None:
        self._text, self._columns, self._used = text, columns, used

    def condition(self, node: ast.expr) -> Condition:
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(part) for part in node.values]
            every = all if isinstance(node.op, ast.And) else any
            return lambda row: every(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            links = [
                self._comparison(left, link, right)
                for left, link, right in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return lambda row: all(link(row) for link in links)
        raise self._refused(node, "a comparison")

    def _comparison(self, left: ast.expr, link: ast.cmpop, right: ast.expr) -> Condition:
        (one, kind), (other, kinds) = self._operand(left), self._operand(right)
        if isinstance(link, ast.In | ast.NotIn):
            among = ("list", "texts") if kind == "number" else ("list", "texts", "text")
            if kinds not in among or kind in ("list", "texts"):
                raise self._refused(right, f"`in` with a list, such as {ast.unparse(left)} in ('a', 'b')")
            found = self._membership(left, one, other)
            return found if isinstance(link, ast.In) else lambda row: not found(row)
        if {kind, kinds} & {"list", "texts"}:
            raise self._refused(left if kind in ("list", "texts") else right, "`in`, such as 'mine' in studies")
        self._require_alike(left, kind, right, kinds)
        if isinstance(link, ast.Eq):
            return lambda row: one(row) == other(row)
        if isinstance(link, ast.NotEq):
            return lambda row: one(row) != other(row)
        if (order := ORDERS.get(type(link))) is None:
            raise self._refused(left, "==, !=, <, <=, >, >=, in or not in")

        def ordered(row: Row) -> bool:
            a, b = one(row), other(row)
            return a is not None and b is not None and order(a, b)

        return ordered

    @staticmethod
    def _membership(left: ast.expr, one: Callable[[Row], object], other: Callable[[Row], object]) -> Condition:
        def found(row: Row) -> bool:
            value, among = one(row), other(row)
            if isinstance(among, str):
                return isinstance(value, str) and value in among
            return isinstance(among, tuple) and value in among

        return found

    def _require_alike(self, left: ast.expr, kind: str, right: ast.expr, kinds: str) -> None:
        if kind != kinds and "none" not in (kind, kinds):
            number = left if kind == "number" else right
            text = right if kind == "number" else left
            raise ConfigError(
                f"where is {self._text!r}: {ast.unparse(number)} is a number and {ast.unparse(text)} is text; expected "
                "both of one kind (texts are in quotes)"
            )

    def _operand(self, node: ast.expr) -> tuple[Callable[[Row], object], str]:
        """The value of a column or constant, and its kind: one of `Kind`, `none` or `list`."""
        if isinstance(node, ast.Name):
            name = node.id
            if name not in self._columns:
                raise ConfigError(
                    f"where is {self._text!r}: unknown column {name!r}; known: {', '.join(self._columns)} (texts are "
                    "in quotes)"
                )
            self._used.add(name)
            return (lambda row: row[name]), self._columns[name]
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            values = tuple(self._constant(item) for item in node.elts)
            return (lambda row: values), "list"
        value = self._constant(node)
        return (lambda row: value), "none" if value is None else "text" if isinstance(value, str) else "number"

    def _constant(self, node: ast.expr) -> str | float | None:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if isinstance(inner, ast.Constant):
            value = inner.value
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if negative else value
            if value is None or (isinstance(value, str) and not negative):
                return value
        raise self._refused(node, "a column, a number, a text in quotes, or a list of these")

    def _refused(self, node: ast.AST, expected: str) -> ConfigError:
        return ConfigError(f"where is {self._text!r}: found {ast.unparse(node)!r:.60}; expected {expected}")


def require_columns(option: str, names: Sequence[str], known: Mapping[str, Kind]) -> None:
    """Raise a `ConfigError` that lists the known columns if one of the names isn't among them."""
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{option} has unknown column {unknown[0]!r}; known: {', '.join(known)}")
