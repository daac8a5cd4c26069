"""Writes `api.md`: each public name of `metaseg` and `analysis` with its signature and the summary of its docstring.

    python docs/reference/make_api.py

Everything is read from the sources: nothing is imported, so that the page is the same on every machine.
"""

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("api.md")
PACKAGES = ("metaseg", "analysis")
WIDTH = 120

INTRODUCTION = """\
# Public names

Made from the docstrings by `python docs/reference/make_api.py`; `help(name)` in Python shows all of a docstring, with
arguments, errors and an example. [As a library](../how-to/as-a-library.md) shows how they go together.

Importing a package takes milliseconds: a name is imported when it is first used.
"""


@dataclass(frozen=True)
class PublicName:
    """A name in a package's stub, and where it is defined."""

    package: str
    module: str
    """Dotted, without the package."""
    name: str
    definition: ast.stmt
    docstring: str
    """The string below a constant."""

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join(self.docstring.partition("\n\n")[0].split())


def public_names(package: str) -> Iterator[PublicName]:
    """The names that a package's `__init__.pyi` imports, in its order: by module."""
    for statement in ast.parse((ROOT / package / "__init__.pyi").read_text()).body:
        if isinstance(statement, ast.ImportFrom):
            module = statement.module or ""
            body = ast.parse((ROOT / package / f"{module.replace('.', '/')}.py").read_text()).body
            for alias in statement.names:
                yield PublicName(package, module, alias.name, *defined(body, alias.name))


def defined(body: list[ast.stmt], name: str) -> tuple[ast.stmt, str]:
    """The statement that defines a name, and its docstring, empty where there is none.

    Raises:
        LookupError: the module doesn't define the name.
    """
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name == name:
            return statement, ast.get_docstring(statement) or ""
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
            match following:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    return statement, text
            return statement, ""
    raise LookupError(f"{name} isn't defined where the stub says; expected a function, a class or a constant")


def signature(public: PublicName) -> str:
    """Signature of a name, or value of a constant."""
    match public.definition:
        case ast.FunctionDef(args=arguments, returns=returned):
            return called(public.name, parameters(arguments), f" -> {ast.unparse(returned)}" if returned else "")
        case ast.ClassDef(bases=bases) if any(ast.unparse(base).endswith("Error") for base in bases):
            return f"class {public.name}({', '.join(map(ast.unparse, bases))})"
        case ast.ClassDef(body=body):
            for statement in body:
                if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                    return called(public.name, parameters(statement.args)[1:], "")
            return called(public.name, [ast.unparse(field) for field in body if isinstance(field, ast.AnnAssign)], "")
        case ast.AnnAssign(annotation=annotation):
            return f"{public.name}: {ast.unparse(annotation)}"
    raise LookupError(f"{public.name} has no signature")


def parameters(arguments: ast.arguments) -> list[str]:
    """Each parameter with its type and default; `*` before those that are given by name only."""
    positional = arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = [parameter(each, default) for each, default in zip(positional, defaults, strict=True)]
    by_name = [parameter(*each) for each in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*found, *(["*"] if by_name else []), *by_name]


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    """A parameter as in the source."""
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")


def called(name: str, given: list[str], returned: str) -> str:
    """A call on one line where it fits, else a line a parameter."""
    line = f"{name}({', '.join(given)}){returned}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in given), f"){returned}"])


def make_page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for package in PACKAGES:
        parts.append(f"## {package}\n")
        for public in public_names(package):
            parts.append(f"### {public.name}\n\n```python\n{signature(public)}\n```\n")
            summary = textwrap.fill(public.summary, WIDTH, break_long_words=False, break_on_hyphens=False)
            parts.append(f"{summary} (`{package}.{public.module}`)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(make_page())
